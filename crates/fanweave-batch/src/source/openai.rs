//! Lines of an OpenAI batch input, as read by `/v1/batches` and `vllm run-batch`.

use fanweave_core::Prompt;
use serde::Deserialize;

use super::chat::Body;

/// The only supported endpoint.
const CHAT: &str = "/v1/chat/completions";

#[derive(Deserialize)]
struct Line {
    custom_id: String,
    method: Option<String>,
    url: Option<String>,
    body: Body,
}

/// Reads a line. Returns its `custom_id`, and its prompt or an error message.
pub(super) fn read(line: &str) -> (Option<String>, Result<Prompt, String>) {
    match serde_json::from_str::<Line>(line) {
        Ok(Line { custom_id, method, url, body }) => {
            let prompt = check(method.as_deref(), url.as_deref()).and_then(|()| body.into_prompt());
            (Some(custom_id), prompt)
        }
        // Report the id even if the body is malformed.
        Err(e) => (custom_id(line), Err(format!("expected an OpenAI batch line: {}", super::json_error(&e)))),
    }
}

fn check(method: Option<&str>, url: Option<&str>) -> Result<(), String> {
    match (method, url) {
        (Some(method), _) if !method.eq_ignore_ascii_case("post") => {
            Err(format!("`method` is {method}: only POST is supported"))
        }
        (_, Some(url)) if url != CHAT => Err(format!("`url` is {url}: only {CHAT} is supported")),
        _ => Ok(()),
    }
}

fn custom_id(line: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Id {
        custom_id: String,
    }
    serde_json::from_str::<Id>(line).ok().map(|line| line.custom_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(rest: &str) -> String {
        format!(r#"{{"custom_id":"a",{rest}"body":{{"messages":[{{"role":"user","content":"hi"}}]}}}}"#)
    }

    #[test]
    fn a_line_has_an_id_and_a_prompt() {
        let (id, prompt) = read(&line(r#""method":"POST","url":"/v1/chat/completions","#));
        assert_eq!((id.as_deref(), prompt.unwrap()), (Some("a"), Prompt::from("hi")));
        assert!(read(&line("")).1.is_ok());
    }

    #[test]
    fn an_unsupported_endpoint_is_rejected_with_the_supported_one() {
        let (id, prompt) = read(&line(r#""url":"/v1/embeddings","#));
        assert_eq!(id.as_deref(), Some("a"));
        assert_eq!(prompt.unwrap_err(), "`url` is /v1/embeddings: only /v1/chat/completions is supported");
    }

    #[test]
    fn a_line_with_a_malformed_body_keeps_its_id() {
        let (id, prompt) = read(r#"{"custom_id":"a","body":{"messages":"hi"}}"#);
        assert_eq!(id.as_deref(), Some("a"));
        let error = prompt.unwrap_err();
        assert!(error.starts_with("expected an OpenAI batch line: column "), "{error}");
    }
}
