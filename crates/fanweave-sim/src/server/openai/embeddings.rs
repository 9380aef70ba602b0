//! `POST /v1/embeddings`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderMap;
use serde::{Deserialize, Serialize};

use super::parse;
use crate::answer::{count_tokens, default_dimensions, embed};
use crate::server::content::{Text, Texts};
use crate::server::endpoint::{Endpoint, PreparedResponse, Request as Call, ResponseContext};
use crate::server::problem::Problem;

/// Maximum dimensions. Source: OpenAI's `text-embedding-3-large`, with room for larger models.
const MAX_DIMENSIONS: usize = 8192;

/// Maximum texts per request. Source: OpenAI's limit.
const MAX_INPUTS: usize = 2048;

/// An embeddings request.
#[derive(Debug)]
pub(in crate::server) struct Embeddings<'a> {
    model: Cow<'a, str>,
    inputs: Vec<Cow<'a, str>>,
    dimensions: usize,
    encoding: Encoding,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    input: Option<Texts<'a>>,
    dimensions: Option<usize>,
    encoding_format: Option<Encoding>,
}

/// Encoding of the vectors.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    /// As a JSON array.
    #[default]
    Float,
    /// As little-endian 32-bit floats in base64, which the SDKs request.
    Base64,
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Embedding>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Floats(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: u64,
    total_tokens: u64,
}

impl<'a> Endpoint<'a> for Embeddings<'a> {
    fn read(_headers: &HeaderMap, body: &'a [u8]) -> Result<Self, Problem> {
        let request: Request<'_> = parse(body)?;
        let model =
            request.model.filter(|model| !model.0.is_empty()).ok_or(Problem::Missing { param: "model" })?.0;
        let inputs = request.input.ok_or(Problem::Missing { param: "input" })?.0;
        if inputs.is_empty() || inputs.len() > MAX_INPUTS {
            let message = format!("Invalid 'input': there must be from 1 to {MAX_INPUTS} texts.");
            return Err(Problem::invalid(message, Some("input")));
        }
        let dimensions = request.dimensions.unwrap_or_else(|| default_dimensions(&model));
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
            let message =
                format!("Invalid 'dimensions': must be from 1 to {MAX_DIMENSIONS} (got {dimensions}).");
            return Err(Problem::invalid(message, Some("dimensions")));
        }
        Ok(Self { model, inputs, dimensions, encoding: request.encoding_format.unwrap_or_default() })
    }
}

impl Call for Embeddings<'_> {
    fn model(&self) -> &str {
        &self.model
    }

    fn estimate(&self) -> (u64, Option<u64>) {
        (self.inputs.iter().map(|input| count_tokens(input)).sum(), Some(0))
    }

    fn answer(&self, _context: &ResponseContext) -> PreparedResponse {
        let (tokens, _) = self.estimate();
        let embedding = |(index, input): (usize, &Cow<'_, str>)| {
            let vector = embed(input, self.dimensions);
            Embedding { object: "embedding", index, embedding: self.encoding.encode(vector) }
        };
        let list = List {
            object: "list",
            data: self.inputs.iter().enumerate().map(embedding).collect(),
            model: &self.model,
            usage: Usage { prompt_tokens: tokens, total_tokens: tokens },
        };
        let bytes = serde_json::to_vec(&list).expect("an answer has string keys and finite numbers only");
        PreparedResponse { bytes: bytes.into(), events: None, input_tokens: tokens, output_tokens: 0 }
    }
}

impl Encoding {
    fn encode(self, vector: Vec<f32>) -> Vector {
        match self {
            Self::Float => Vector::Floats(vector),
            Self::Base64 => {
                let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
                Vector::Base64(STANDARD.encode(bytes))
            }
        }
    }
}
