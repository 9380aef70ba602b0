//! Prompts: chats, few-shot examples, partial variables, prompt files.
//!
//!     cargo run --release -p fanweave --example prompts
//!
//! No model is called: each prompt is printed as it would be sent.

use fanweave::prompts::{ByLength, FewShot, fstring};
use fanweave::{
    Chain, Prompt, Result, Vars, chain, chat,
    prompts::{PromptFile, Template},
    vars,
};

const FILE: &str = "\
---
model: openai/gpt-5-mini
config: { temperature: 0.2 }
---
{{role \"system\"}}
You sum up for {{audience}}.
{{role \"user\"}}
{{#each points}}
- {{this}}
{{/each}}
";

async fn show(title: &str, prompt: &Chain<Vars, Prompt>, vars: Vars) -> Result<()> {
    println!("== {title}");
    for message in prompt.invoke(vars).await?.messages {
        println!("{:?}: {}", message.role, message.text().trim());
    }
    println!();
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let question = chat()
        .system("You are {{ role }}. Answer in {{ language }}.")
        .history("history")
        .user("{{ question }}")
        .partial("language", "English");
    let history = vars! {
        role: "a guide",
        history: [["user", "Where am I?"], ["assistant", "In Bergen."]],
        question: "Does it rain here {{ often }}?",
    };
    show("a chat with its history; braces in a value stay text", &chain(question), history).await?;

    let examples = [("hot", "cold"), ("up", "down"), ("big", "small")];
    let examples = examples.map(|(word, opposite)| vars! { word: word, opposite: opposite });
    let few = FewShot::new("{{ word }}", "{{ opposite }}", examples)?.select(ByLength(20));
    let opposites = chat().system("Give the opposite.").examples(few).user("{{ word }}");
    show("examples, as many as fit", &chain(opposites), vars! { word: "early" }).await?;

    show("an f-string", &fstring("Tell a {kind} joke as {{json}}."), vars! { kind: "short" }).await?;

    let dated = Template::parse("It is {{ now }}. {{ question }}")?.partial_with("now", || "noon");
    show("a variable that is computed for every call", &chain(dated), vars! { question: "Lunch?" }).await?;

    let file = PromptFile::parse("summary.prompt", FILE)?;
    println!(
        "(the file asks for {} at {:?})",
        file.model().unwrap_or("any model"),
        file.parameters().temperature
    );
    let points = vars! { audience: "sailors", points: ["springs", "neaps"] };
    show("a prompt file", &chain(file), points).await?;

    let missing = chain(Template::parse("About {{ topic }}.")?).invoke(vars! { tpoic: "tides" }).await;
    println!("a missing variable: {}", missing.expect_err("it is missing"));
    Ok(())
}
