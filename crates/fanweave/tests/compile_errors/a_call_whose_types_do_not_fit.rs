struct Book;

#[fanweave::call(model = "sim/writer")]
async fn number() -> u32 {
    7
}

#[fanweave::call(model = 7)]
async fn model_that_is_none() -> String {
    String::new()
}

#[fanweave::call(model = "sim/writer", temperature = "hot")]
async fn warm() -> String {
    String::new()
}

#[fanweave::call(model = "sim/writer", tools(Book))]
async fn no_tool() -> String {
    String::new()
}

fn main() {}
