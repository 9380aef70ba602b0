//! Lines of an OpenAI batch input, as read by `/v1/batches` and `vllm run-batch`.

use fanweave_core::Prompt;
use fanweave_core::prompt::{Endpoint, RequestBody};
use serde::Deserialize;
use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::chat;
use crate::key::Key;

/// A line that was read.
pub(super) struct Line {
    pub(super) id: Option<String>,
    /// The request and its content key, if that is wanted, or an error message.
    pub(super) request: Result<(Prompt, Option<Key>), String>,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    custom_id: Option<&'a RawValue>,
    method: Option<String>,
    url: Option<String>,
    #[serde(borrow)]
    body: &'a RawValue,
}

pub(super) fn read(line: &str, has_key: bool) -> Line {
    // A list would be read as the fields in their order.
    let wire = match line.trim_ascii_start().starts_with('{') {
        true => serde_json::from_str::<Wire<'_>>(line).map_err(|e| super::json_error(&e, line)),
        false => Err("expected an object".to_owned()),
    };
    match wire {
        Ok(wire) => match wire.custom_id.map(id).transpose() {
            Ok(id) => Line { request: request(&wire, id.as_deref().unwrap_or_default(), has_key), id },
            Err(why) => Line { id: None, request: Err(why) },
        },
        // Report the id even if the line is malformed.
        Err(why) => Line { id: id_in(line), request: Err(format!("expected an OpenAI batch line: {why}")) },
    }
}

fn request(wire: &Wire<'_>, id: &str, has_key: bool) -> Result<(Prompt, Option<Key>), String> {
    let endpoint = endpoint(wire.method.as_deref(), wire.url.as_deref())?;
    let json = wire.body.get();
    if endpoint != Endpoint::ChatCompletions {
        return other(endpoint, json, id, has_key);
    }
    let chat = chat::parse(json)?;
    let is_lossy = chat.is_lossy;
    let prompt = chat.with_body(json)?;
    // The key of a prompt is that of earlier versions, which could not read the others.
    let content = || match &prompt.body {
        Some(body) if is_lossy => Key::of(&[b"body", body.canonical().as_bytes()]),
        _ => Key::of_prompt(&prompt),
    };
    let key = has_key.then(|| Key::of(&[id.as_bytes()]).and(&content()));
    Ok((prompt, key))
}

/// A request for another endpoint than that of chats: a prompt that has only a body.
fn other(endpoint: Endpoint, json: &str, id: &str, has_key: bool) -> Result<(Prompt, Option<Key>), String> {
    #[derive(Deserialize)]
    struct Fields {
        model: Option<String>,
    }
    let fields: Fields =
        serde_json::from_str(json).map_err(|e| format!("`body`: {}", super::json_error(&e, json)))?;
    let body = RequestBody::new(endpoint, json).map_err(|e| format!("`body`: {}", e.message()))?;
    let content =
        has_key.then(|| Key::of(&[b"body", endpoint.path().as_bytes(), body.canonical().as_bytes()]));
    let mut prompt = Prompt::new(Vec::new());
    prompt.parameters.model = fields.model;
    let key = content.map(|content| Key::of(&[id.as_bytes()]).and(&content));
    Ok((prompt.with_body(body), key))
}

fn endpoint(method: Option<&str>, url: Option<&str>) -> Result<Endpoint, String> {
    match (method, url) {
        (Some(method), _) if !method.eq_ignore_ascii_case("post") => {
            Err(format!("`method` is {method}: only POST is supported"))
        }
        (_, Some(url)) => Endpoint::of_url(url).ok_or_else(|| {
            format!(
                "`url` is {url}: only /v1/chat/completions, /v1/responses, /v1/completions and /v1/embeddings are \
                 supported"
            )
        }),
        _ => Ok(Endpoint::ChatCompletions),
    }
}

/// An id as text: a string, or a number or boolean as it is written.
fn id(json: &RawValue) -> Result<String, String> {
    match json.get().as_bytes() {
        [b'"', ..] => serde_json::from_str(json.get())
            .map_err(|e| format!("`custom_id`: {}", super::json_error(&e, json.get()))),
        [b'{' | b'[', ..] => Err("`custom_id`: expected a string or a number".to_owned()),
        _ => Ok(json.get().to_owned()),
    }
}

/// The id in a line that is not JSON.
fn id_in(line: &str) -> Option<String> {
    const NAME: &str = "\"custom_id\"";
    let value = line[line.find(NAME)? + NAME.len()..].trim_ascii_start().strip_prefix(':')?;
    let value = Deserializer::from_str(value).into_iter::<Box<RawValue>>().next()?.ok()?;
    (value.get() != "null").then(|| id(&value).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(rest: &str) -> String {
        format!(r#"{{"custom_id":"a",{rest}"body":{{"messages":[{{"role":"user","content":"hi"}}]}}}}"#)
    }

    fn read(line: &str) -> Line {
        super::read(line, true)
    }

    fn prompt(line: &str) -> Result<Prompt, String> {
        read(line).request.map(|(prompt, _)| prompt)
    }

    fn key(line: &str) -> Key {
        read(line).request.expect("a request").1.expect("it is wanted")
    }

    #[test]
    fn a_line_has_an_id_and_a_prompt_with_its_body() {
        let Line { id, request } = read(&line(r#""method":"POST","url":"/v1/chat/completions","#));
        let (prompt, _) = request.unwrap();
        assert_eq!((id.as_deref(), &prompt.messages), (Some("a"), &Prompt::from("hi").messages));
        assert_eq!(prompt.body.unwrap().json(), r#"{"messages":[{"role":"user","content":"hi"}]}"#);
        assert!(read(&line("")).request.is_ok());
    }

    #[test]
    fn the_url_of_every_server_is_accepted_and_another_endpoint_rejected() {
        for url in ["/chat/completions", "/openai/v1/chat/completions", "https://x/v1/chat/completions/?a=b"]
        {
            assert!(prompt(&line(&format!(r#""url":"{url}","#))).is_ok(), "{url}");
        }
        let Line { id, request } = read(&line(r#""url":"/v1/images","#));
        assert_eq!(id.as_deref(), Some("a"));
        let why = request.unwrap_err();
        assert!(why.starts_with("`url` is /v1/images: only /v1/chat/completions, /v1/responses,"), "{why}");
    }

    #[test]
    fn requests_for_other_endpoints_are_kept_as_they_are_with_a_key_of_their_own() {
        let line = |url: &str, body: &str| format!(r#"{{"custom_id":"a","url":"{url}","body":{body}}}"#);
        let body = r#"{"model":"m","input":["x"],"n":1.0}"#;
        let (embedding, key) = read(&line("/v1/embeddings", body)).request.unwrap();
        let own = embedding.body.as_deref().unwrap();
        assert_eq!((own.endpoint(), own.json()), (Endpoint::Embeddings, body));
        assert_eq!(embedding.parameters.model.as_deref(), Some("m"));
        let (_, other) = read(&line("/v1/responses", body)).request.unwrap();
        assert!(key.is_some() && key != other);
        assert!(read(&line("/v1/embeddings", "[1]")).request.is_err());
    }

    #[test]
    fn an_id_that_is_not_a_string_is_text_as_it_is_written() {
        for (json, id) in [
            ("0", Some("0")),
            ("1.0", Some("1.0")),
            ("12345678901234567890123", Some("12345678901234567890123")),
            ("true", Some("true")),
            ("null", None),
            (r#""\u0061""#, Some("a")),
        ] {
            let line = line("").replace(r#""custom_id":"a""#, &format!(r#""custom_id": {json}"#));
            let read = read(&line);
            assert_eq!((read.id.as_deref(), read.request.is_ok()), (id, true), "{json}");
        }
    }

    #[test]
    fn an_id_survives_a_malformed_line() {
        for rest in [
            r#""body":{"messages":"hi"}}"#,
            r#""body":{"messages":[{"role":"user","content":NaN}]}}"#,
            r#""body":{"messages":[{"role":"user","content":"\ud83d"}]}}"#,
            r#""body":[]}"#,
            r#""body":{"mess"#,
        ] {
            let Line { id, request } = read(&format!(r#"{{"custom_id":7,{rest}"#));
            assert_eq!(id.as_deref(), Some("7"), "{rest}");
            assert!(request.is_err(), "{rest}");
        }
        assert!(read(r#"["a","POST","/v1/chat/completions",{"messages":[]}]"#).request.is_err());
    }

    /// Written by the last version whose prompts had no bodies.
    #[test]
    fn keys_are_those_of_earlier_versions() {
        let body = r#"{"model":"m","messages":[{"role":"developer","content":"Be brief."},{"role":"user","name":"ann","content":[{"type":"text","text":"hi"},{"type":"image_url","image_url":{"url":"http://x","detail":"low"}}]}],"temperature":0,"max_tokens":5,"n":2,"stream":true,"tools":[{"type":"function","function":{"name":"f","strict":true}}],"stop":null,"seed":null,"user":null}"#;
        let line = format!(r#"{{"custom_id":"a","url":"/v1/chat/completions","body":{body}}}"#);
        assert_eq!(key(&line).to_string(), "6fdc1c690946da90d4e874799cd7d55a");
    }

    #[test]
    fn a_number_beyond_a_double_is_in_the_body_as_it_is_written() {
        let line = |number: &str| {
            format!(
                r#"{{"custom_id":"a","body":{{"messages":[{{"role":"user","content":"x"}}],"x":{number}}}}}"#
            )
        };
        let prompt = prompt(&line("1e400")).unwrap();
        assert!(prompt.body.as_ref().unwrap().json().ends_with(r#""x":1e400}"#));
        assert_eq!(prompt.body.as_ref().unwrap().unmapped(), ["a number out of range"]);
        assert_ne!(key(&line("1e400")), key(&line("1e401")));
    }

    #[test]
    fn the_key_of_a_body_that_no_prompt_represents_depends_on_all_of_it() {
        let line = |message: &str| format!(r#"{{"custom_id":"a","body":{{"messages":[{message}]}}}}"#);
        let keys = [
            r#"{"role":"function","name":"f","content":"x"}"#,
            r#"{"role":"function","name":"g","content":"x"}"#,
            r#"{"role":"bot","content":"x"}"#,
            r#"{"role":"user","content":"x"}"#,
        ]
        .map(|message| key(&line(message)).to_string());
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
