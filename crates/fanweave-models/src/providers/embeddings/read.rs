//! Decoding of responses.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fanweave_core::{Embedded, Error, ErrorKind, Result, Usage};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Dialect;
use crate::providers::failure;
use crate::providers::json::{self, count};

/// The answers of all dialects, with separate fields for each. Unknown fields are skipped, null counts as
/// missing.
#[derive(Deserialize)]
struct Answer {
    /// OpenAI's.
    data: Option<Vec<Datum>>,
    usage: Option<Value>,
    /// Gemini's and Ollama's.
    embeddings: Option<Vec<Vector>>,
    prompt_eval_count: Option<Value>,
    /// Of Ollama's older API, for a single text.
    embedding: Option<Vector>,
}

#[derive(Deserialize)]
struct Datum {
    index: Option<usize>,
    embedding: Vector,
}

/// A list of numbers, base64 of little-endian ones, or an object that holds the list.
struct Vector(Vec<f32>);

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Numbers(Vec<f32>),
            Object { values: Vec<f32> },
            Base64(String),
        }
        match Form::deserialize(json)? {
            Form::Numbers(values) | Form::Object { values } => Ok(Self(values)),
            Form::Base64(text) => from_base64(&text).map(Self).map_err(serde::de::Error::custom),
        }
    }
}

/// The vectors, one per text, of finite numbers and all of one length.
///
/// # Errors
/// [`ErrorKind::Decode`], not retryable: the answer is complete, and the same request would be billed again.
fn checked(vectors: Vec<Vec<f32>>, texts: usize) -> Result<Vec<Vec<f32>>> {
    let unusable = |message: String| Error::new(ErrorKind::Decode, message).with_retryable(false);
    if vectors.len() != texts {
        return Err(unusable(wrong_number(vectors.len(), texts)));
    }
    let first = vectors.first().map(Vec::len).unwrap_or_default();
    for (at, vector) in vectors.iter().enumerate() {
        let name = format_args!("embedding {} of {texts}", at + 1);
        if vector.is_empty() {
            return Err(unusable(format!("{name} has no numbers")));
        }
        if vector.iter().any(|number| !number.is_finite()) {
            return Err(unusable(format!("{name} has a number that is too large")));
        }
        if vector.len() != first {
            let length = vector.len();
            return Err(unusable(format!("{name} has {length} numbers, and the first one {first}")));
        }
    }
    Ok(vectors)
}

fn wrong_number(vectors: usize, texts: usize) -> String {
    format!("expected {texts} embeddings, got {vectors}")
}

/// Vectors in the shapes of other servers, slowly.
mod tolerant {
    use fanweave_core::{Error, ErrorKind, Result};
    use serde_json::Value;

    use crate::providers::json::count;

    /// The vectors anywhere in a body. `None` for a body without vectors.
    pub(super) fn vectors(body: &Value, texts: usize) -> Option<Result<Vec<Vec<f32>>>> {
        let list = match body {
            Value::Array(list) => list,
            Value::Object(_) => {
                let found = ["data", "embeddings", "vectors"].iter().find_map(|name| body.get(name))?;
                // Cohere has a list for each type of number.
                found.get("float").unwrap_or(found).as_array()?
            }
            _ => return None,
        };
        let mut list: Vec<_> = list.iter().collect();
        let is_vector = |value: &&Value| value.is_array() || value.is_null() || inner(value).is_some();
        if !list.iter().all(is_vector) {
            return None;
        }
        list.sort_by_key(|value| count(&value["index"]));
        Some(list.into_iter().enumerate().map(|(at, value)| vector(value, at, texts)).collect())
    }

    /// The vector in an object.
    fn inner(value: &Value) -> Option<&Value> {
        ["embedding", "values", "float", "vector"].iter().find_map(|name| value.get(name))
    }

    fn vector(value: &Value, at: usize, texts: usize) -> Result<Vec<f32>> {
        let unusable = |what: &str| {
            let message = format!("embedding {} of {texts} {what}", at + 1);
            Error::new(ErrorKind::Decode, message).with_retryable(false)
        };
        let mut value = value;
        // An object within an object, and a list of a single vector.
        for _ in 0..3 {
            value = match value {
                Value::Object(_) => inner(value).ok_or_else(|| unusable("has no numbers"))?,
                Value::Array(list) => match list.as_slice() {
                    [only] if only.is_array() => only,
                    _ => break,
                },
                _ => break,
            };
        }
        match value {
            Value::Null => Err(unusable("is null")),
            Value::String(text) => super::from_base64(text).map_err(unusable),
            Value::Array(numbers) => {
                let numbers = numbers.iter().map(|number| match number {
                    Value::Number(number) => number.as_f64(),
                    Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
                    _ => None,
                });
                let numbers: Option<Vec<_>> =
                    numbers.map(|number| number.map(|number| number as f32)).collect();
                numbers.ok_or_else(|| unusable("has a value that is not a number"))
            }
            _ => Err(unusable("is not a list of numbers")),
        }
    }
}

/// Little-endian numbers in base64.
fn from_base64(text: &str) -> Result<Vec<f32>, &'static str> {
    let bytes = STANDARD.decode(text).map_err(|_| "is not valid base64")?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err("is base64 that ends within a number");
    }
    Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
}

/// The embeddings of a body in the shape of another server.
fn slowly(dialect: Dialect, value: &Value, texts: usize) -> Result<Embedded> {
    let vectors = tolerant::vectors(value, texts).unwrap_or_else(|| {
        Err(failure::instead(value, dialect.vendor(), "the response has no embeddings"))
    })?;
    let usage = count(&value["usage"]["prompt_tokens"])
        .max(count(&value["usage"]["total_tokens"]))
        .max(count(&value["prompt_eval_count"]));
    Ok(Embedded::new(checked(vectors, texts)?, Usage::new(usage, 0)))
}

pub(super) fn vectors(dialect: Dialect, body: &[u8], texts: usize) -> Result<Embedded> {
    let decode = |message: String| Error::new(ErrorKind::Decode, message);
    // Vectors are long: a body is parsed again only if it contains none.
    let instead = |message: String| match serde_json::from_slice::<Value>(body) {
        Ok(body) => failure::instead(&body, dialect.vendor(), &message),
        Err(_) => decode(message),
    };
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
        // The first value counts: some servers write more after it.
        let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
        let value = match (json::read(body), values.next()) {
            (Ok(value), _) | (Err(_), Some(Ok(value @ (Value::Object(_) | Value::Array(_))))) => value,
            (Err(error), _) => return Err(decode(format!("the response has no embeddings: {error}"))),
        };
        return slowly(dialect, &value, texts);
    };
    let sent: Vec<_> = answer.data.iter().flatten().filter_map(|datum| datum.index).collect();
    let different: BTreeSet<_> = sent.iter().collect();
    // Some servers send one index for all.
    if different.len() > 1 && different.len() < sent.len() {
        return Err(decode("two embeddings have the same index".to_owned()).with_retryable(false));
    }
    let vectors: Vec<_> = match (answer.data, answer.embeddings) {
        (Some(mut data), _) => {
            // A stable sort: without indices the server's order is kept.
            data.sort_by_key(|datum| datum.index.unwrap_or_default());
            data.into_iter().map(|datum| datum.embedding.0).collect()
        }
        (None, Some(vectors)) => vectors.into_iter().map(|vector| vector.0).collect(),
        (None, None) => match answer.embedding {
            Some(vector) => vec![vector.0],
            None => return slowly(dialect, &json::read(body).unwrap_or_default(), texts),
        },
    };
    if vectors.len() != texts {
        let error = instead(wrong_number(vectors.len(), texts));
        return Err(if error.kind() == ErrorKind::Decode { error.with_retryable(false) } else { error });
    }
    let vectors = checked(vectors, texts)?;
    let usage = answer.usage.unwrap_or_default();
    let input_tokens = count(&usage["prompt_tokens"])
        .max(count(&usage["total_tokens"]))
        .max(count(&answer.prompt_eval_count.unwrap_or_default()));
    Ok(Embedded::new(vectors, Usage::new(input_tokens, 0)))
}
