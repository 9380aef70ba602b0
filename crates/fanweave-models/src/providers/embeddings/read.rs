//! Decoding of responses.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fanweave_core::{Embedded, Error, ErrorKind, Result, Usage};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Dialect;
use crate::providers::failure;
use crate::providers::json::count;

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
            Form::Base64(text) => {
                let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
                let (numbers, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(serde::de::Error::custom("the base64 of a vector ends within a number"));
                }
                Ok(Self(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect()))
            }
        }
    }
}

pub(super) fn vectors(dialect: Dialect, body: &[u8], texts: usize) -> Result<Embedded> {
    let decode = |message: String| Error::new(ErrorKind::Decode, message);
    // Vectors are long: a body is parsed again only if it contains none.
    let instead = |message: String| match serde_json::from_slice::<Value>(body) {
        Ok(body) => failure::instead(&body, dialect.vendor(), &message),
        Err(_) => decode(message),
    };
    let answer: Answer =
        serde_json::from_slice(body).map_err(|e| instead(format!("the response has no embeddings: {e}")))?;
    let vectors: Vec<_> = match (answer.data, answer.embeddings) {
        (Some(mut data), _) => {
            // A stable sort: without indices the server's order is kept.
            data.sort_by_key(|datum| datum.index.unwrap_or_default());
            data.into_iter().map(|datum| datum.embedding.0).collect()
        }
        (None, Some(vectors)) => vectors.into_iter().map(|vector| vector.0).collect(),
        (None, None) => return Err(instead("the response has no embeddings".to_owned())),
    };
    if vectors.len() != texts {
        // Complete, but unusable: the same request would be billed again.
        let message = format!("expected {texts} embeddings, got {}", vectors.len());
        let error = instead(message);
        return Err(if error.kind() == ErrorKind::Decode { error.with_retryable(false) } else { error });
    }
    if vectors.iter().any(Vec::is_empty) {
        return Err(decode("an embedding has no numbers".to_owned()));
    }
    let usage = answer.usage.unwrap_or_default();
    let input_tokens = count(&usage["prompt_tokens"])
        .max(count(&usage["total_tokens"]))
        .max(count(&answer.prompt_eval_count.unwrap_or_default()));
    Ok(Embedded::new(vectors, Usage::new(input_tokens, 0)))
}
