//! Checks of the library against a real server. Run by `tests/real/run.sh`.

use fanweave_core::{
    Context, Delta, ErrorKind, FinishReason, Message, Model, Parameters, Part, Prompt, ResponseFormat,
    Result, Role, Tool, ToolChoice, ToolSpec, Tools, Transcript, chain,
};
use fanweave_models::ModelBuilder;
use serde_json::{Value, json};
use tokio::task::JoinSet;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let origin = std::env::args().nth(1).expect("the origin of the server, as in http://127.0.0.1:8080");
    let url = format!("{origin}/v1");
    let tiny = model("llamacpp/tiny", &url)?;

    a_stream_says_what_a_plain_answer_says(&tiny).await?;
    a_schema_is_kept_to(&tiny).await?;
    a_tool_is_called_and_its_result_goes_back(&tiny).await?;
    many_calls_at_once_are_all_answered(&tiny).await?;
    a_dropped_stream_does_not_disturb_the_next(&tiny).await?;
    a_refusal_has_the_message_of_the_server(&url).await?;

    // The same server speaks other dialects at the same address.
    for (dialect, url) in [("anthropic", &origin), ("openai-responses", &url)] {
        a_stream_says_what_a_plain_answer_says(&model(&format!("{dialect}/tiny"), url)?).await?;
        println!("{dialect}: plain and streamed");
    }
    Ok(())
}

fn model(name: &str, url: &str) -> Result<Model> {
    // With the default retries: this server sometimes closes a connection just before it is reused.
    let model = ModelBuilder::new(name).base_url(url).api_key("none-needed");
    Ok(model.build()?.with(Parameters::new().max_tokens(60)))
}

/// With a temperature of nothing the model has no choice.
fn cold(prompt: &str) -> Prompt {
    let mut prompt = Prompt::from(prompt);
    prompt.parameters.temperature = Some(0.0);
    prompt
}

fn check_reply(message: &Message) {
    let reply = message.reply.as_ref().expect("the reply of the server");
    assert!(reply.usage.input_tokens > 0 && reply.usage.output_tokens > 0, "{:?}", reply.usage);
    let reason = reply.finish_reason.as_ref();
    assert!(matches!(reason, Some(FinishReason::Stop | FinishReason::Length)), "{reason:?}");
}

async fn a_stream_says_what_a_plain_answer_says(model: &Model) -> Result<()> {
    let plain = model.invoke(cold("Name a bear.")).await?;
    check_reply(&plain);
    let mut run = chain(model.clone()).stream(cold("Name a bear."));
    let (mut pieces, mut text) = (0, String::new());
    while let Some(piece) = run.next().await {
        if let Delta::Text { text: piece, .. } = piece? {
            pieces += 1;
            text += &piece;
        }
    }
    let streamed = run.output().await?;
    check_reply(&streamed);
    assert_eq!((text, streamed.text()), (plain.text(), plain.text()));
    assert!(!plain.text().is_empty() && pieces > 0, "{plain:?}");
    Ok(())
}

async fn a_schema_is_kept_to(model: &Model) -> Result<()> {
    let schema = json!({
        "type": "object",
        "properties": { "colour": { "enum": ["brown", "white"] }, "sure": { "type": "boolean" } },
        "required": ["colour", "sure"],
        "additionalProperties": false,
    });
    let mut prompt = cold("Which colour has a polar bear?");
    prompt.parameters.max_tokens = Some(400);
    prompt.parameters.format = Some(ResponseFormat::JsonSchema { name: "bear".into(), schema, strict: true });
    let text = model.invoke(prompt).await?.text();
    let answer: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {text:?}"));
    assert!(["brown", "white"].iter().any(|colour| answer["colour"] == *colour), "{text}");
    assert!(answer["sure"].is_boolean(), "{text}");
    Ok(())
}

/// Says what a bear of a colour is called.
struct NameBear;

#[derive(serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Colour {
    Brown,
    White,
}

#[derive(serde::Deserialize)]
struct Bear {
    colour: Colour,
}

impl Tool for NameBear {
    type Arguments = Bear;

    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "name_bear".into(),
            description: "Says what a bear of a colour is called.".into(),
            parameters: json!({
                "type": "object",
                "properties": { "colour": { "type": "string", "enum": ["brown", "white"] } },
                "required": ["colour"],
                "additionalProperties": false,
            }),
        }
    }

    async fn call(&self, bear: Bear, _: &Context) -> Result<String> {
        Ok(match bear.colour {
            Colour::Brown => "grizzly".to_owned(),
            Colour::White => "polar bear".to_owned(),
        })
    }
}

/// The server constrains the arguments to their schema. The model may do anything with the result, even call
/// the tool a second time.
async fn a_tool_is_called_and_its_result_goes_back(model: &Model) -> Result<()> {
    let mut prompt = cold("Name a bear.");
    prompt.parameters.max_tokens = Some(400);
    prompt.parameters.tool_choice = Some(ToolChoice::Required);
    // A model that must call a tool may emit text first, and random letters would never end.
    prompt.parameters.extra.insert("logit_bias".into(), json!([["<tool_call>", 100]]));
    let agent = model.with_tools(Tools::new().tool(NameBear)).run_tools(2).transcript();
    for is_streamed in [false, true] {
        let result = match is_streamed {
            true => agent.events(prompt.clone()).output().await,
            false => agent.invoke(prompt.clone()).await,
        };
        let said = match &result {
            Ok(transcript) => transcript,
            Err(error) if error.kind() == ErrorKind::RecursionLimit => {
                Transcript::of(error).expect("the loop has left it")
            }
            Err(error) => return Err(error.clone()),
        };
        let [_, asks, results, last] = said.messages.as_slice() else { panic!("{said:?}") };
        let calls = asks.tool_calls().count();
        assert!(calls > 0 && results.parts.len() == calls && last.role == Role::Assistant, "{said:?}");
        for result in &results.parts {
            let Part::ToolResult(result) = result else { panic!("{said:?}") };
            assert!(!result.is_error && ["grizzly", "polar bear"].contains(&&*result.text()), "{said:?}");
        }
    }
    Ok(())
}

async fn many_calls_at_once_are_all_answered(model: &Model) -> Result<()> {
    let mut calls = JoinSet::new();
    for n in 0..64 {
        let model = model.clone();
        calls.spawn(async move { model.invoke(format!("Bear number {n}?")).await });
    }
    for answer in calls.join_all().await {
        check_reply(&answer?);
    }
    Ok(())
}

async fn a_dropped_stream_does_not_disturb_the_next(model: &Model) -> Result<()> {
    for n in 0..20 {
        let mut run = chain(model.clone()).stream(format!("Bear {n}?"));
        run.next().await.expect("a first piece")?;
        drop(run);
    }
    check_reply(&model.invoke("And the last bear?").await?);
    Ok(())
}

async fn a_refusal_has_the_message_of_the_server(url: &str) -> Result<()> {
    let tiny = model("llamacpp/tiny", url)?;
    let long = "bear ".repeat(4000);
    let error = tiny.invoke(long.as_str()).await.expect_err("the context holds 2,048 tokens");
    assert!(
        matches!(error.kind(), ErrorKind::ContextLength | ErrorKind::BadRequest) && !error.is_retryable(),
        "{error:?}"
    );
    let nowhere = model("llamacpp/tiny", &format!("{url}/no/such/path"))?;
    let error = nowhere.invoke("x").await.expect_err("nothing lives there");
    assert_eq!((error.kind(), error.status()), (ErrorKind::NotFound, Some(404)));
    Ok(())
}
