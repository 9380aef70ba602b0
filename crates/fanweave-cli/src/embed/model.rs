//! The embedding model of the flags.

use std::num::NonZeroU32;

use fanweave::models::{Embedded, Embeddings};
use fanweave::{Context, Embedder, Parameters, Result, Usage};
use serde_json::{Map, Value};

use super::groups::Groups;
use crate::args::{EmbedArgs, Header};
use crate::documents::embedder_with;
use crate::exit::Failure;
use crate::headers::headers;

/// The parameter that has a name of its own in each dialect.
const DIMENSIONS: &str = "dimensions";

/// The model of the flags. A dry run needs no key.
pub(super) fn of_flags(args: &EmbedArgs) -> std::result::Result<Embedder, Failure> {
    let parameters = parameters(args)?;
    let key = args.dry_run.then(|| "none".to_owned());
    let name = &args.embeddings;
    let is_simulated = args.embeddings_url.is_none() && name.starts_with("sim/");
    if is_simulated && !(args.param.is_empty() && args.header.is_empty()) {
        return Err(Failure::usage(format!("--param and --header: {name} is simulated, without requests"))
            .with_hint("remove them, or name a model with --embeddings"));
    }
    embedder_with(name, args.embeddings_url.as_deref(), key, |mut builder| {
        if let Some(dimensions) = parameters.dimensions {
            builder = builder.dimensions(dimensions.get());
        }
        for (name, value) in parameters.extra {
            builder = builder.vector_parameter(name, value);
        }
        for Header { name, value, is_secret } in headers(&args.header, name)? {
            builder =
                if is_secret { builder.secret_header(name, value) } else { builder.header(name, value) };
        }
        Ok(builder)
    })
}

/// Parameters of the requests.
pub(super) struct VectorParameters {
    /// Length of the vectors.
    pub(super) dimensions: Option<NonZeroU32>,
    pub(super) extra: Map<String, Value>,
}

/// The parameters of the flags.
pub(super) fn parameters(args: &EmbedArgs) -> std::result::Result<VectorParameters, Failure> {
    let mut parameters = Parameters::new();
    for param in &args.param {
        param.set(&mut parameters).map_err(|why| Failure::usage(format!("--param: {why}")))?;
        let mut of_answers = parameters.clone();
        of_answers.extra.clear();
        if !of_answers.is_empty() {
            let message = format!("--param: requests for vectors have no parameter {}", param.name());
            return Err(Failure::usage(message).with_hint("--param dimensions=256"));
        }
    }
    let mut extra = parameters.extra;
    let value = extra.shift_remove(DIMENSIONS);
    let number = |value: Value| {
        let number = value.as_u64().and_then(|n| u32::try_from(n).ok()).and_then(NonZeroU32::new);
        number.ok_or_else(|| {
            Failure::usage(format!("--param: {DIMENSIONS} must be a whole number of at least 1, got {value}"))
        })
    };
    Ok(VectorParameters { dimensions: value.map(number).transpose()?, extra })
}

/// A model whose requests have the texts of several rows.
pub(super) struct Grouped {
    pub(super) name: String,
    pub(super) groups: Groups,
}

impl Embeddings for Grouped {
    fn name(&self) -> &str {
        &self.name
    }

    async fn embed(&self, texts: Vec<String>, _: &Context) -> Result<Embedded> {
        let (mut vectors, mut usage) = (Vec::with_capacity(texts.len()), Usage::default());
        for text in texts {
            let (vector, of_text) = self.groups.embed(text).await?;
            vectors.push(vector);
            usage += of_text;
        }
        Ok(Embedded::new(vectors, usage))
    }
}
