#[fanweave::call(model = "sim/writer")]
async fn no_prompt(topic: &str) {
    let _ = topic;
}

#[fanweave::call(model = "sim/writer")]
async fn generic<T: ToString>(topic: T) -> String {
    topic.to_string()
}

#[fanweave::call(model = "sim/writer")]
async fn lifetime<'a>(topic: &'a str) -> String {
    topic.to_owned()
}

#[fanweave::call(model = "sim/writer")]
async fn pattern((a, b): (u8, u8)) -> String {
    format!("{a} {b}")
}

#[fanweave::call(model = "sim/writer")]
async fn changes(topic: &mut String) -> String {
    topic.clone()
}

#[fanweave::call(model = "sim/writer")]
async fn any(topic: impl ToString) -> String {
    topic.to_string()
}

struct Reader;

impl Reader {
    #[fanweave::call(model = "sim/writer")]
    async fn method(&self) -> String {
        String::new()
    }
}

#[fanweave::call(model = "sim/writer")]
struct Thing;

#[fanweave::call(model = "sim/writer")]
unsafe fn promises(at: usize) -> String {
    at.to_string()
}

#[fanweave::call(model = "sim/writer")]
const fn early() -> &'static str {
    "x"
}

#[fanweave::call(model = "sim/writer")]
extern "C" fn foreign() -> String {
    String::new()
}

#[fanweave::call(model = "sim/writer")]
async fn sometimes(#[cfg(unix)] path: String) -> String {
    path
}

fn main() {}
