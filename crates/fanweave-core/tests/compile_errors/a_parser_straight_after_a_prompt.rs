use fanweave_core::{prompt, text};

fn main() {
    let _chain = prompt("Tell a joke about {{ topic }}.") | text();
}
