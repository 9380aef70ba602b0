#[derive(serde::Serialize)]
struct Joke {
    topic: String,
}

fn main() {
    let _ = fanweave::prompt!(Joke => "Tell a {{ tone }} joke about {{ topic }}.");
}
