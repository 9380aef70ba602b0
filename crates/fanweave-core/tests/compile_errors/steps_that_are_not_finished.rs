use fanweave_core::model::fake::Fake;
use fanweave_core::{Error, ErrorKind, Model, Result, branch, parallel, prompt, text};

fn model(_: &str) -> Result<Model> {
    Err(Error::new(ErrorKind::Config, "no key"))
}

fn main() {
    let joke = || prompt("{{ x }}") | Fake::echo() | text();
    let _no_question_mark = prompt("{{ x }}") | model("openai/gpt-5-mini");
    let _no_default = joke() | branch::<String, String>();
    let _too_many = parallel((joke(), joke(), joke(), joke(), joke(), joke(), joke()));
}
