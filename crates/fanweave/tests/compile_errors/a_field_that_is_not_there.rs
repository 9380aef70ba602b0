#[derive(fanweave::crates::serde::Serialize)]
#[serde(crate = "fanweave::crates::serde")]
struct Joke {
    topic: String,
}

fn main() {
    let _ = fanweave::prompt!(Joke => "Tell a {{ tone }} joke about {{ topic }}.");
}
