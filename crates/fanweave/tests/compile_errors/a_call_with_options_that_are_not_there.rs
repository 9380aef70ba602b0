#[fanweave::call(model = "sim/writer", temprature = 0.2)]
async fn misspelt() -> String {
    String::new()
}

#[fanweave::call(model = "sim/writer", stream = true)]
async fn streamed() -> String {
    String::new()
}

#[fanweave::call(temperature = 0.2)]
async fn no_model() -> String {
    String::new()
}

#[fanweave::call(model = "sim/writer", model = "sim/echo")]
async fn twice() -> String {
    String::new()
}

#[fanweave::call(model)]
async fn no_value() -> String {
    String::new()
}

#[fanweave::call(model = "sim/writer", tools = [now])]
async fn tools() -> String {
    String::new()
}

#[fanweave::call(model = "sim/writer", run_tools = 3)]
async fn no_tools() -> String {
    String::new()
}

#[fanweave::call(model = fanweave::model("sim/writer"), provider = "sim")]
async fn provider() -> String {
    String::new()
}

#[fanweave::call(model = "sim/writer", tools(look_up), response = String)]
async fn unseen() -> String {
    String::new()
}

#[fanweave::call(crate = fanweave, model = "sim/writer")]
async fn no_text() -> String {
    String::new()
}

#[fanweave::call(crate = "::fanweave", crate = "::fanweave", model = "sim/writer")]
async fn twice_the_crate() -> String {
    String::new()
}

fn main() {
    let _ = misspelt();
}
