use fanweave_core::{model::fake::Fake, prompt, text};

struct Joke {
    topic: String,
}

async fn run() {
    let joke = prompt("Tell a joke about {{ topic }}.") | Fake::echo() | text();
    let _ = joke.invoke(Joke { topic: "bears".to_owned() }).await;
}

fn main() {
    drop(run());
}
