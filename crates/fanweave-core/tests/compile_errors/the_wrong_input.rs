use fanweave_core::{model::fake::Fake, prompt, text};

async fn run() {
    let joke = prompt("Tell a joke about {{ topic }}.") | Fake::echo() | text();
    let _ = joke.invoke(42).await;
}

fn main() {
    drop(run());
}
