use serde_json::json;

use super::*;
use crate::{ResponseFormat, chain, vars};

async fn rendered(file: &PromptFile, vars: Vars) -> Vec<String> {
    let prompt = chain(file.clone()).invoke(vars).await.unwrap();
    prompt.messages.iter().map(|m| format!("{:?}: {}", m.role, m.text())).collect()
}

const DOTPROMPT: &str = r#"---
model: googleai/gemini-2.5-flash
config:
  temperature: 0.9
  maxOutputTokens: 64
input:
  default: { style: plain }
output:
  format: json
---
{{role "system"}}
You are a {{style}} guide. {{! once }}
{{history}}
{{#if city}}Tell me about {{city.name}}.{{else}}Where to?{{/if}}
{{#each stops}}
- {{this}}
{{/each}}
{% stays text %}
"#;

#[tokio::test]
async fn a_dotprompt_becomes_messages_with_its_model_and_parameters() {
    let file = PromptFile::parse("guide.prompt", DOTPROMPT).unwrap();
    assert_eq!(file.model(), Some("googleai/gemini-2.5-flash"));
    assert_eq!((file.parameters().temperature, file.parameters().max_tokens), (Some(0.9), Some(64)));
    assert_eq!(file.parameters().format, Some(ResponseFormat::JsonObject));
    let vars = vars! {
        history: [["user", "Hello"], ["assistant", "Hi"]],
        city: json!({ "name": "Bergen" }),
        stops: ["the fish market", "the {{ funicular }}"],
    };
    let messages = rendered(&file, vars).await;
    assert_eq!(messages[..3], ["System: You are a plain guide.", "User: Hello", "Assistant: Hi"]);
    assert_eq!(
        messages[3],
        "User: Tell me about Bergen.\n\n- the fish market\n\n- the {{ funicular }}\n\n{% stays text %}"
    );
    assert_eq!(
        rendered(&file, vars! { style: "grim", stops: Vec::<u8>::new() }).await[..2],
        ["System: You are a grim guide.", "User: Where to?\n\n{% stays text %}"]
    );
}

#[tokio::test]
async fn a_file_of_github_models_is_read_with_its_schema() {
    let text = r#"
name: Summary
description: One line
model: openai/gpt-4o-mini
modelParameters: { temperature: 0.5, maxTokens: 99 }
responseFormat: json_schema
jsonSchema: '{"name": "summary", "strict": true, "schema": {"type": "object"}}'
messages:
  - role: system
    content: Be brief.
  - role: user
    content: "Summarise: {{input}}"
testData:
  - input: x
evaluators: []
"#;
    let file = PromptFile::parse("summary.prompt.yml", text).unwrap();
    assert_eq!((file.name(), file.variables()), (Some("Summary"), vec!["input".to_owned()]));
    let Some(ResponseFormat::JsonSchema { name, schema, strict: true }) = &file.parameters().format else {
        panic!("no schema");
    };
    assert_eq!((name.as_str(), schema), ("summary", &json!({ "type": "object" })));
    assert_eq!(rendered(&file, "tides".into()).await, ["System: Be brief.", "User: Summarise: tides"]);
}

#[test]
fn wrong_files_are_refused_with_place_and_advice() {
    let files = [
        ("a.prompt.yml", "messages: []\n"),
        ("a.prompt.yml", "model: x\n"),
        ("a.prompt.yml", "messages:\n  - role: boss\n    content: x\n"),
        ("a.prompt.yml", "messages:\n  - rol: user\n    content: x\n"),
        ("a.prompt.yml", "messages:\n  - role: user\n    content: 'Hello {{ x'\n"),
        ("a.prompt.yml", "modelParameters: { temprature: 1 }\nmessages: [{ role: user, content: x }]\n"),
        ("a.prompt.yml", "responseFormat: json_schema\nmessages: [{ role: user, content: x }]\n"),
        ("a.prompt", "---\nmodel: x\nHello\n"),
        ("a.prompt", "---\nmodle: x\n---\nHello\n"),
        ("a.prompt", "---\nmodel: x\n---\nHello {{>partial}}\n"),
        ("a.prompt", "Hello {{#if x}}you\n"),
        ("a.prompt", "Hello {{/if}}\n"),
        ("a.prompt", "{{role \"boss\"}}\n"),
        ("a.prompt", "Hello {{x\n"),
        ("a.prompt", "Hello {{media url=x}}\n"),
        ("a.txt", "Hello\n"),
    ];
    let rendered: Vec<_> =
        files.iter().map(|(name, text)| PromptFile::parse(name, text).expect_err(text).to_string()).collect();
    insta::assert_snapshot!(rendered.join("\n\n----\n"));
}
