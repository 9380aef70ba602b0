//! Images in messages of a template and in the result of a tool, and a last answer at the limit of rounds.
//!
//!     cargo run --release -p fanweave --example images

use fanweave::crates::serde_json::{Value, json};
use fanweave::messages::{Part, Role};
use fanweave::prompts::{Template, chat};
use fanweave::testing::{Answer, Fake};
use fanweave::tools::{AtLimit, Tool, ToolSpec};
use fanweave::{Context, Result, Tools, chain, text, vars};

/// Draws a chart: its result is a text and an image.
struct Chart;

impl Tool for Chart {
    type Arguments = Value;

    fn spec(&self) -> ToolSpec {
        let parameters = json!({ "type": "object", "properties": { "of": { "type": "string" } } });
        ToolSpec { name: "chart".into(), description: "Draws a chart.".into(), parameters }
    }

    async fn call(&self, arguments: Value, _: &Context) -> Result<String> {
        Ok(format!("The chart of {}:", arguments["of"]))
    }

    async fn call_parts(&self, arguments: Value, cx: &Context) -> Result<Vec<Part>> {
        let text = Part::text(self.call(arguments, cx).await?);
        Ok(vec![text, Part::image_url("https://charts.test/1.png")])
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    // The images of a variable, in a message from an f-string.
    let question = chat()
        .system("You know birds.")
        .template(Role::User, Template::fstring("Which {animal} is this?")?)
        .image("photos");
    let photos = json!(["https://photos.test/1.jpg", "data:image/png;base64,aGk="]);
    let prompt = question.render(&vars! { animal: "bird", photos: photos }).await?;
    println!("{} and {} images", prompt.messages[1].text(), prompt.messages[1].parts.len() - 1);

    // A script instead of a model, so that the example needs no key. It calls the tool in every round.
    let call = || Answer::calls([("chart", json!({ "of": "tides" }))]);
    let model = Fake::script([call(), call(), Answer::text("High tide is at noon.")]).model();
    let agent = model.with_tools(Tools::new().tool(Chart)).run_tools(3);
    // In the last round, the model is asked for an answer, and may not call a tool. The default is an error.
    let agent = agent.at_limit(AtLimit::Answer);
    let transcript = agent.transcript().invoke("When is high tide?").await?;
    for result in transcript.messages.iter().flat_map(|message| message.parts.iter()) {
        if let Part::ToolResult(result) = result {
            println!("{:?}", result.parts);
        }
    }
    println!("{} (ended at the limit: {})", transcript.answer().text(), transcript.ended_at_limit);

    let answer = chain(Fake::echo()) | text();
    println!("{}", answer.invoke(prompt).await?);
    Ok(())
}
