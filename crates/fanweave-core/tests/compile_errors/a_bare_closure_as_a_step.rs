use fanweave_core::{model::fake::Fake, prompt, text};

fn main() {
    let _chain = prompt("{{ x }}") | Fake::echo() | text() | |text: String| text.to_uppercase();
}
