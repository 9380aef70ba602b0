use fanweave_core::{Error, ErrorKind};

use serde_json::{Value, json};

use super::Facts;
use super::refusal::Refused;
use super::schema::loosen;
use crate::protocol::HttpRequest;
use crate::providers::splice::Splice;

fn refused(status: u16, message: &str, request: &str) -> Option<(&'static str, Facts)> {
    let error = Error::new(ErrorKind::BadRequest, message).with_status(status);
    let streams = request.contains("\"stream\":true");
    let request = HttpRequest::post("/chat/completions", request.to_owned()).streamed(streams);
    Refused::by(&error, &request).map(|refused| (refused.field, refused.fact))
}

#[test]
fn refused_fields_are_recognised_in_the_sentences_of_servers() {
    let streamed = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
    let plain = r#"{"model":"m","max_tokens":5,"temperature":0.2}"#;
    let completion = r#"{"model":"m","max_completion_tokens":5,"stop":["x"]}"#;
    let schema = r#"{"model":"m","response_format":{"type":"json_schema","json_schema":{"schema":{}}}}"#;
    let temperature = Facts::sampling(0);
    for (message, request, expected) in [
        (
            "[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options'), 'msg': 'Extra inputs are not permitted'}]",
            streamed,
            Some(("stream_options", Facts::NO_STREAM_OPTIONS)),
        ),
        (
            "Unknown name \"max_completion_tokens\": Cannot find field.",
            completion,
            Some(("max_completion_tokens", Facts::MAX_TOKENS)),
        ),
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            plain,
            Some(("max_tokens", Facts::MAX_COMPLETION_TOKENS)),
        ),
        (
            "Unsupported value: 'temperature' does not support 0.2 with this model.",
            plain,
            Some(("temperature", temperature)),
        ),
        (
            "litellm.UnsupportedParamsError: openai does not support parameters: ['temperature'], for model=o3",
            plain,
            Some(("temperature", temperature)),
        ),
        (
            "Unsupported value: 'reasoning.effort' does not support 'minimal' with this model.",
            r#"{"model":"m","reasoning":{"effort":"minimal"}}"#,
            Some(("reasoning", Facts::sampling(8))),
        ),
        (
            "adaptive thinking is not supported on this model",
            r#"{"model":"m","thinking":{"type":"adaptive"}}"#,
            Some(("thinking", Facts::sampling(9))),
        ),
        (
            "\"gemma3\" does not support thinking",
            r#"{"model":"m","think":true}"#,
            Some(("think", Facts::sampling(10))),
        ),
        (
            "This model only support stream mode, please enable the stream parameter",
            plain,
            Some(("stream", Facts::STREAMED)),
        ),
        (
            "Unsupported value: 'stream' does not support true with this model.",
            streamed,
            Some(("stream", Facts::NOT_STREAMED)),
        ),
        (
            "This response_format type is unavailable now",
            schema,
            Some(("response_format", Facts::JSON_OBJECT)),
        ),
        (
            "max_tokens: 8192 > 4096, which is the maximum allowed number of output tokens",
            plain,
            Some(("max_tokens", Facts::MAX_OUTPUT)),
        ),
        ("invalid field stream_options", streamed, Some(("stream_options", Facts::NO_STREAM_OPTIONS))),
        ("stream_options is not recognized", streamed, Some(("stream_options", Facts::NO_STREAM_OPTIONS))),
        (
            "body.stream_options: Unexpected property",
            streamed,
            Some(("stream_options", Facts::NO_STREAM_OPTIONS)),
        ),
        (
            "Invalid field: max_completion_tokens",
            completion,
            Some(("max_completion_tokens", Facts::MAX_TOKENS)),
        ),
        (
            "max_completion_tokens is not a valid parameter",
            completion,
            Some(("max_completion_tokens", Facts::MAX_TOKENS)),
        ),
        ("stream must be true", plain, Some(("stream", Facts::STREAMED))),
        ("`stream` must be enabled for this model", plain, Some(("stream", Facts::STREAMED))),
        (
            "parameter.enable_thinking must be set to false for non-streaming calls",
            plain,
            Some(("stream", Facts::STREAMED)),
        ),
        ("stream=true is not supported", streamed, Some(("stream", Facts::NOT_STREAMED))),
        ("stream mode is unsupported by this endpoint", streamed, Some(("stream", Facts::NOT_STREAMED))),
        ("invalid temperature: only 1 is allowed for this model", plain, Some(("temperature", temperature))),
        ("This model only supports temperature = 1", plain, Some(("temperature", temperature))),
        (
            "`temperature` may only be set to 1 when thinking is enabled.",
            plain,
            Some(("temperature", temperature)),
        ),
        ("temperature: Input should be 1 for reasoning models", plain, Some(("temperature", temperature))),
        ("The parameter temperature cannot be set for this model", plain, Some(("temperature", temperature))),
        (
            "temperature is not supported for this model",
            r#"{"contents":[],"generationConfig":{"temperature":0.2}}"#,
            Some(("temperature", temperature)),
        ),
        (
            "topP is not supported",
            r#"{"contents":[],"generationConfig":{"topP":0.2}}"#,
            Some(("top_p", Facts::sampling(1))),
        ),
        (
            "option temperature is not supported",
            r#"{"model":"m","options":{"temperature":0.3}}"#,
            Some(("temperature", temperature)),
        ),
        (
            "'response_format.type' must be one of 'text', 'json_object'",
            schema,
            Some(("response_format", Facts::JSON_OBJECT)),
        ),
        (
            "response_format.type: Input should be 'text' or 'json_object'",
            schema,
            Some(("response_format", Facts::JSON_OBJECT)),
        ),
        (
            "response_format: Unsupported type json_schema",
            schema,
            Some(("response_format", Facts::JSON_OBJECT)),
        ),
        (
            "only json_object is supported for response_format",
            schema,
            Some(("response_format", Facts::JSON_OBJECT)),
        ),
        ("value of response_format.type is invalid", schema, Some(("response_format", Facts::JSON_OBJECT))),
        // A value that is too large, a field that the request does not have, and a word of the sentence.
        ("max_tokens is too large: 5. This model supports at most 4 completion tokens", plain, None),
        ("temperature must be between 0 and 1", plain, None),
        ("temperature: Input should be less than or equal to 2", plain, None),
        ("temperature: Input should be 1.5 or less", plain, None),
        ("Unsupported parameter: 'stream_options'", plain, None),
        ("stop it: this model is not supported", completion, None),
        ("the prompt is not allowed", plain, None),
    ] {
        assert_eq!(refused(400, message, request), expected, "{message}");
    }
}

#[test]
fn only_refusals_of_requests_are_looked_at() {
    let request = r#"{"model":"m","max_tokens":5}"#;
    let sentence = "Unsupported parameter: 'max_tokens'";
    assert!(refused(422, sentence, request).is_some());
    for status in [401, 403, 429, 503] {
        assert_eq!(refused(status, sentence, request), None);
    }
    assert_eq!(refused(400, sentence, "not JSON"), None);
    // Gateways that call an SDK answer with an internal error.
    let keyword = "create() got an unexpected keyword argument 'max_tokens'";
    assert!(refused(500, keyword, request).is_some());
    assert_eq!(refused(500, sentence, request), None);
}

#[test]
fn the_schema_is_recognised_and_loosened_in_every_dialect() {
    let schema = r#"{"type":"object","title":"CANARY"}"#;
    let in_prompt = format!("Answer only with a JSON object that matches this JSON schema:\n{schema}");
    let system = json!({ "role": "system", "content": in_prompt });
    let user = json!({ "role": "user", "content": "x" });
    let part = json!({ "role": "user", "parts": [{ "text": in_prompt }] });
    for (sentence, field, request, loosened) in [
        (
            "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
            "response_format",
            format!(
                r#"{{"messages":[{user}],"response_format":{{"type":"json_schema","json_schema":{{"schema":{schema}}}}}}}"#
            ),
            json!({ "messages": [system, user], "response_format": { "type": "json_object" } }),
        ),
        (
            "Invalid parameter: 'text.format' of type 'json_schema' is not supported with this model.",
            "text",
            format!(
                r#"{{"input":[{user}],"text":{{"format":{{"type":"json_schema","schema":{schema}}},"verbosity":"low"}}}}"#
            ),
            json!({
                "input": [system, user],
                "text": { "format": { "type": "json_object" }, "verbosity": "low" },
            }),
        ),
        (
            "text.format.type must be one of 'text', 'json_object'",
            "text",
            format!(r#"{{"input":"x","text":{{"format":{{"type":"json_schema","schema":{schema}}}}}}}"#),
            json!({ "input": [system, user], "text": { "format": { "type": "json_object" } } }),
        ),
        (
            "JSON mode is not enabled for models/gemma-3-27b-it",
            "generationConfig",
            format!(
                r#"{{"contents":[1],"generationConfig":{{"topP":1,"responseMimeType":"application/json","responseJsonSchema":{schema}}}}}"#
            ),
            json!({ "contents": [part, 1], "generationConfig": { "topP": 1 } }),
        ),
        (
            "Unknown name \"responseSchema\" at 'generation_config': Cannot find field.",
            "generationConfig",
            format!(
                r#"{{"contents":[1],"generationConfig":{{"responseMimeType":"application/json","responseSchema":{schema}}}}}"#
            ),
            json!({ "contents": [part, 1] }),
        ),
        (
            "output_config.format: Extra inputs are not permitted",
            "output_config",
            format!(
                r#"{{"system":"Be short.","output_config":{{"effort":"low","format":{{"type":"json_schema","schema":{schema}}}}}}}"#
            ),
            json!({ "system": format!("Be short.\n\n{in_prompt}"), "output_config": { "effort": "low" } }),
        ),
        (
            "'claude-3-haiku' does not support output format.",
            "output_config",
            format!(
                r#"{{"system":[1],"output_config":{{"format":{{"type":"json_schema","schema":{schema}}}}}}}"#
            ),
            json!({ "system": [1, { "type": "text", "text": in_prompt }] }),
        ),
        (
            "output_config: Extra inputs are not permitted",
            "output_config",
            format!(r#"{{"output_config":{{"format":{{"type":"json_schema","schema":{schema}}}}}}}"#),
            json!({ "system": in_prompt }),
        ),
        (
            "format must be one of 'json'",
            "format",
            format!(r#"{{"messages":[{user}],"format":{schema}}}"#),
            json!({ "messages": [system, user], "format": "json" }),
        ),
    ] {
        assert_eq!(refused(400, sentence, &request), Some((field, Facts::JSON_OBJECT)), "{sentence}");
        assert_eq!(refused(400, "the input is too long", &request), None, "{request}");
        let mut body = Splice::new(&request).unwrap();
        loosen(&mut body).unwrap();
        let body: Value = serde_json::from_slice(&body.finish()).unwrap();
        assert_eq!(body, loosened, "{sentence}");
        assert_eq!(refused(400, sentence, &body.to_string()), None, "{body}");
    }
}
