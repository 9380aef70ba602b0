//! Contents of a row.

use fanweave_core::prompt::{Endpoint, RequestBody};
use fanweave_core::{Prompt, Vars};
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

pub(crate) use crate::field::field;
use crate::key::Key;
use crate::source::{parse_chat, parse_vendor, read_json};

/// Contents of a row.
///
/// As JSON, an object with one field: `vars`, `row`, `text`, `prompt`, or, for a prompt that was read from a
/// request, `body` with its `endpoint` and its `json`.
///
/// ```
/// use fanweave::batch::{Input, Render};
///
/// let prompt = Render::default().render(Input::Text("Name a bear.".into()))?;
/// assert_eq!(prompt.last_user_text(), "Name a bear.");
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Wire")]
#[non_exhaustive]
pub enum Input {
    /// A complete request: messages and parameters, and the [body](Prompt::body) that they were read from.
    Prompt(Box<Prompt>),
    /// Named values: the fields of a JSON object or of a CSV record.
    Vars(Vars),
    /// Text: a line of a text file, or a JSON string.
    Text(String),
}

impl Input {
    /// Its key, before equal rows are distinguished.
    pub(crate) fn key(&self) -> Key {
        match self {
            Input::Prompt(prompt) => Key::of_request(prompt),
            Input::Vars(vars) => Key::of_object(vars.as_map()),
            Input::Text(text) => Key::of(&[text.as_bytes()]),
        }
    }
}

/// An input as JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wire<P = Box<Prompt>, V = Vars, T = String, J = Box<RawValue>> {
    Prompt(P),
    Vars(V),
    /// The JSON of variables, some of which are numbers that a value does not represent exactly.
    Row(J),
    Text(T),
    Body {
        endpoint: Endpoint,
        json: J,
        /// The prompt, if it was changed since it was read.
        #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
        prompt: Option<P>,
    },
}

impl Serialize for Input {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let wire = match self {
            Self::Vars(vars) => match vars.json() {
                None => Wire::Vars(vars),
                Some(json) => Wire::Row(serde_json::from_str::<&RawValue>(json).map_err(S::Error::custom)?),
            },
            Self::Text(text) => Wire::Text(text),
            Self::Prompt(prompt) => match prompt.body.as_deref() {
                None => Wire::Prompt(prompt),
                Some(body) => Wire::Body {
                    endpoint: body.endpoint(),
                    json: serde_json::from_str::<&RawValue>(body.json()).map_err(S::Error::custom)?,
                    prompt: (!body.is_read_as(prompt)).then_some(prompt),
                },
            },
        };
        wire.serialize(to)
    }
}

impl TryFrom<Wire> for Input {
    type Error = String;

    fn try_from(wire: Wire) -> Result<Self, String> {
        Ok(match wire {
            Wire::Vars(vars) => Self::Vars(vars),
            Wire::Row(json) => match read_json(json.get()).map_err(|e| e.to_string())? {
                (Value::Object(map), _) => Self::Vars(Vars::from(map).with_json(json.get())),
                _ => return Err("a row is not an object".to_owned()),
            },
            Wire::Text(text) => Self::Text(text),
            Wire::Prompt(prompt) => Self::Prompt(prompt),
            Wire::Body { endpoint: Endpoint::ChatCompletions, json, prompt } => {
                let mut read = parse_chat(json.get())?.with_body(json.get())?;
                if let Some(prompt) = prompt {
                    read.messages = prompt.messages;
                    read.parameters = prompt.parameters;
                }
                Self::from(read)
            }
            Wire::Body {
                endpoint: endpoint @ (Endpoint::Messages | Endpoint::GenerateContent),
                json,
                prompt,
            } => {
                let mut read = parse_vendor(endpoint, json.get())?;
                if let Some(prompt) = prompt {
                    read.messages = prompt.messages;
                    read.parameters = prompt.parameters;
                }
                Self::from(read)
            }
            Wire::Body { endpoint, json, .. } => {
                let body = RequestBody::new(endpoint, json.get()).map_err(|e| e.message().to_owned())?;
                Self::from(Prompt::new(Vec::new()).with_body(body))
            }
        })
    }
}

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Input {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vars> for Input {
    fn from(vars: Vars) -> Self {
        Self::Vars(vars)
    }
}

impl From<Prompt> for Input {
    fn from(prompt: Prompt) -> Self {
        Self::Prompt(Box::new(prompt))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_prompt_with_a_body_keeps_it_as_json() {
        let json =
            r#"{"messages":[{"role":"user","name":"ann","content":"hi"}],"seed":12345678901234567890123}"#;
        let read = parse_chat(json).unwrap().with_body(json).unwrap();
        let wire = |input: &Input| serde_json::to_string(input).unwrap();
        let parsed = |input: &Input| serde_json::from_str::<Input>(&wire(input)).unwrap();
        let input = Input::from(read.clone());
        assert_eq!(wire(&input), format!(r#"{{"body":{{"endpoint":"/chat/completions","json":{json}}}}}"#));
        assert_eq!(parsed(&input), input);
        let changed = Input::from(read.with_system("Be brief."));
        assert_eq!(parsed(&changed), changed);
        for (input, json) in [
            (Input::from("a"), json!({"text": "a"})),
            (Input::from(Prompt::from("a")), json!({"prompt": Prompt::from("a")})),
        ] {
            assert_eq!(serde_json::to_value(&input).unwrap(), json);
            assert_eq!(parsed(&input), input);
        }
    }
    #[test]
    fn a_row_keeps_the_numbers_of_its_request_as_they_are_written() {
        let json = r#"{"messages":[{"role":"user","content":"hi"}],"seed":12345678901234567890123,"x":1e400,"y":0.1000000000000000055}"#;
        let rows = crate::Source::from_reader("rows", std::io::Cursor::new(json), None).unwrap();
        let input = rows.map(|row| row.unwrap().input.unwrap()).next().unwrap();
        let wire = serde_json::to_string(&input).unwrap();
        assert_eq!(wire, format!(r#"{{"row":{json}}}"#));
        assert_eq!(serde_json::from_str::<Input>(&wire).unwrap(), input);
        let Input::Vars(vars) = &input else { panic!("{input:?}") };
        assert_eq!(vars.get("seed").unwrap(), "12345678901234567890123", "for a template");
        let sent = |json: &str| {
            let rows =
                crate::Source::from_reader("rows", std::io::Cursor::new(json.to_owned()), None).unwrap();
            let input = rows.map(|row| row.unwrap().input.unwrap()).next().unwrap();
            let prompt = crate::Render::new().render(input).unwrap();
            prompt.body.unwrap().json().to_owned()
        };
        assert_eq!(
            sent(&json.replace("\"x\"", "\"min_p\"").replace("\"y\"", "\"label\"")),
            r#"{"messages":[{"role":"user","content":"hi"}],"min_p":1e400,"seed":12345678901234567890123}"#
        );
        let params =
            r#"{"messages":[{"role":"user","content":"hi"}],"top_k":12345678901234567890123,"x":1e400}"#;
        assert_eq!(sent(&format!(r#"{{"custom_id":"a","params":{params}}}"#)), params);
        let input = r#"{"anthropic_version":"v","messages":[{"role":"user","content":"hi"}],"x":0.1000000000000000055}"#;
        assert_eq!(
            sent(&format!(r#"{{"recordId":"a","modelInput":{input}}}"#)),
            r#"{"messages":[{"role":"user","content":"hi"}],"x":0.1000000000000000055}"#
        );
    }
}
