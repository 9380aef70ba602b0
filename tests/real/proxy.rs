//! Checks of the library against a gateway that translates between dialects. Run by `tests/real/proxy.sh`.

use fanweave_core::{
    Context, Error, ErrorKind, FinishReason, Message, Model, Parameters, Prompt, ResponseFormat, Result,
    Tool, ToolSpec, Tools, chain,
};
use fanweave_models::{ModelBuilder, RetryPolicy};
use serde_json::{Value, json};

/// Dialects in which the proxy is called: a vendor, and whether its base URL has a version.
const DIALECTS: [(&str, bool); 3] = [("litellm", true), ("anthropic", false), ("openai-responses", true)];

/// Dialects in which the proxy calls its providers.
const UPSTREAMS: [&str; 3] = ["openai", "anthropic", "gemini"];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let origin = std::env::args().nth(1).expect("the origin of the proxy, as in http://127.0.0.1:4000");
    for dialect in DIALECTS {
        for upstream in UPSTREAMS {
            let model = model(&origin, dialect, upstream, "sk-proxy-1234")?;
            let route = format!("{} in front of {upstream}", dialect.0);
            both(&model, "Name a bear.", &route).await?;
            a_tool_is_called_and_its_result_goes_back(&model, &route).await?;
            if dialect.0 == "litellm" {
                a_schema_is_kept_to(&model, &route).await?;
            }
            println!("{route}: plain, streamed and with tools");
        }
        let failed = |name: &str, key: &str| {
            let model = model(&origin, dialect, name, key);
            async move { errors(&model?).await }
        };
        for error in failed("no-such-model", "sk-proxy-1234").await? {
            let is_known = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::BadRequest);
            assert!(is_known && !error.is_retryable(), "{}: {error:?}", dialect.0);
            assert!(error.message().contains("no-such-model"), "{}: {error}", dialect.0);
        }
        for error in failed("openai", "sk-wrong-5678").await? {
            assert_eq!(error.kind(), ErrorKind::Authentication, "{}: {error:?}", dialect.0);
            assert!(!format!("{error:?}").contains("sk-wrong-5678"), "{error:?}");
        }
        for error in failed("failing", "sk-proxy-1234").await? {
            let is_known = matches!(error.kind(), ErrorKind::Server | ErrorKind::Overloaded);
            assert!(is_known && error.is_retryable(), "{}: {error:?}", dialect.0);
        }
        println!("{}: an unknown model, a wrong key and a failing provider", dialect.0);
    }
    Ok(())
}

fn model(origin: &str, (vendor, has_version): (&str, bool), name: &str, key: &str) -> Result<Model> {
    let url = if has_version { format!("{origin}/v1") } else { origin.to_owned() };
    let model = ModelBuilder::new(format!("{vendor}/{name}")).base_url(url).api_key(key);
    Ok(model.retry(RetryPolicy::never()).build()?.with(Parameters::new().max_tokens(200)))
}

/// The answer, plain and streamed.
async fn both(model: &Model, prompt: impl Into<Prompt>, route: &str) -> Result<()> {
    let prompt = prompt.into();
    let plain = model.invoke(prompt.clone()).await?;
    let streamed = chain(model.clone()).stream(prompt).output().await?;
    for message in [&plain, &streamed] {
        let usage = message.usage();
        assert!(usage.input_tokens > 0 && usage.output_tokens > 0, "{route}: {usage:?}");
        assert_eq!(message.finish_reason(), Some(&FinishReason::Stop), "{route}");
    }
    assert!(!plain.text().is_empty() && plain.text() == streamed.text(), "{route}: {plain:?} {streamed:?}");
    Ok(())
}

/// The errors of a plain and of a streamed call.
async fn errors(model: &Model) -> Result<[Error; 2]> {
    let plain = model.invoke("Name a bear.").await.expect_err("the call must fail");
    let streamed = chain(model.clone()).stream("Name a bear.").output().await;
    Ok([plain, streamed.expect_err("the stream must fail")])
}

async fn a_schema_is_kept_to(model: &Model, route: &str) -> Result<()> {
    let schema = json!({
        "type": "object",
        "properties": { "colour": { "type": "string", "enum": ["brown", "white"] } },
        "required": ["colour"],
        "additionalProperties": false,
    });
    let mut prompt = Prompt::from("Which colour has a polar bear?");
    prompt.parameters.format = Some(ResponseFormat::JsonSchema { name: "bear".into(), schema, strict: true });
    let text = model.invoke(prompt).await?.text();
    let answer: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{route}: {e} in {text:?}"));
    assert!(["brown", "white"].iter().any(|colour| answer["colour"] == *colour), "{route}: {text}");
    Ok(())
}

/// Returns the weather of a city.
struct Weather;

#[derive(serde::Deserialize)]
struct City {
    city: String,
}

impl Tool for Weather {
    type Arguments = City;

    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "get_weather".into(),
            description: "Current weather of a city".into(),
            parameters: json!({
                "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"],
            }),
        }
    }

    async fn call(&self, City { city }: City, _: &Context) -> Result<String> {
        Ok(format!("18 degrees in {city}"))
    }
}

async fn a_tool_is_called_and_its_result_goes_back(model: &Model, route: &str) -> Result<()> {
    let agent = chain(model.with_tools(Tools::new().tool(Weather)).run_tools(3));
    // From responses, the proxy passes on one of several results to providers of other dialects.
    let passes_all = !route.starts_with("openai-responses") || route.ends_with("openai");
    let (question, cities) = match passes_all {
        true => ("What is the weather in both Paris and Rome?", &["Paris", "Rome"][..]),
        false => ("What is the weather in Paris?", &["Paris"][..]),
    };
    let is_answered = |answer: &Message| {
        let text = answer.text();
        cities.iter().all(|city| text.contains(&format!("18 degrees in {city}")))
    };
    let plain = agent.invoke(question).await?;
    assert!(is_answered(&plain), "{route}: {plain:?}");
    let streamed = agent.stream(question).output().await;
    if route == "anthropic in front of gemini" {
        // The proxy writes the arguments of both calls into one: no call is made of them.
        let error = streamed.expect_err("arguments that are two values");
        assert_eq!(error.kind(), ErrorKind::StreamIncomplete, "{route}: {error:?}");
        return Ok(());
    }
    let streamed = streamed?;
    assert!(is_answered(&streamed), "{route}, streamed: {streamed:?}");
    Ok(())
}
