//! The embedding model of the flags.

use std::num::NonZeroU32;

use fanweave::models::{Embedded, Embeddings};
use fanweave::{Context, Embedder, Parameters, Result, Usage};

use super::groups::Groups;
use crate::args::{EmbedArgs, Header};
use crate::documents::embedder_with;
use crate::exit::Failure;
use crate::headers::headers;

/// The only parameter of requests for vectors.
const DIMENSIONS: &str = "dimensions";

/// The model of the flags. A dry run needs no key.
pub(super) fn of_flags(args: &EmbedArgs) -> std::result::Result<Embedder, Failure> {
    let dimensions = dimensions(args)?;
    let key = args.dry_run.then(|| "none".to_owned());
    let name = &args.embeddings;
    let is_simulated = args.embeddings_url.is_none() && name.starts_with("sim/");
    if is_simulated && (dimensions.is_some() || !args.header.is_empty()) {
        return Err(Failure::usage(format!("--param and --header: {name} is simulated, without requests"))
            .with_hint("remove them, or name a model with --embeddings"));
    }
    embedder_with(name, args.embeddings_url.as_deref(), key, |mut builder| {
        if let Some(dimensions) = dimensions {
            builder = builder.dimensions(dimensions.get());
        }
        for Header { name, value, is_secret } in headers(&args.header, name)? {
            builder =
                if is_secret { builder.secret_header(name, value) } else { builder.header(name, value) };
        }
        Ok(builder)
    })
}

/// The length of the vectors, if the flags set one.
pub(super) fn dimensions(args: &EmbedArgs) -> std::result::Result<Option<NonZeroU32>, Failure> {
    let mut parameters = Parameters::new();
    for param in &args.param {
        param.set(&mut parameters).map_err(|why| Failure::usage(format!("--param: {why}")))?;
    }
    let value = parameters.extra.shift_remove(DIMENSIONS);
    if !parameters.is_empty() {
        return Err(Failure::usage(format!(
            "--param: requests for vectors have the parameter {DIMENSIONS} alone"
        ))
        .with_hint("--param dimensions=256"));
    }
    let number = |value: serde_json::Value| {
        let number = value.as_u64().and_then(|n| u32::try_from(n).ok()).and_then(NonZeroU32::new);
        number.ok_or_else(|| {
            Failure::usage(format!("--param: {DIMENSIONS} must be a whole number of at least 1, got {value}"))
        })
    };
    value.map(number).transpose()
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
