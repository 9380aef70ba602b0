use fanweave_core::{Error, ErrorKind};

use super::Facts;
use super::refusal::Refused;
use crate::protocol::HttpRequest;

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
        // A value that is too large, a field that the request does not have, and a word of the sentence.
        ("max_tokens is too large: 5. This model supports at most 4 completion tokens", plain, None),
        ("temperature must be between 0 and 1", plain, None),
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
}
