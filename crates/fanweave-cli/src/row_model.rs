//! Models that rows name themselves.

use fanweave::batch::{Input, Source};
use fanweave::models::vendors;
use fanweave::{Chain, Error, ErrorKind, Message, Prompt, step};

use crate::exit::Failure;
use crate::rows::failure;

/// Vendors whose names of models never begin with that of another vendor.
const PLAIN_VENDORS: [&str; 5] = ["openai", "openai-responses", "azure", "anthropic", "gemini"];

/// Meaning of the model that a row names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RowModel {
    /// Nothing: the flags name the models.
    Ignored,
    /// It answers the row, through the account of the model of the flags.
    Used {
        /// Vendor of the account.
        vendor: String,
        /// Name of the model of the flags, without its vendor.
        default: String,
        /// Set for the vendor's own server.
        is_own_server: bool,
    },
}

impl RowModel {
    /// The rule for rows whose default is the model `name`. `has_url` is set for a server of the user.
    pub(crate) fn with_default(name: &str, has_url: bool) -> Self {
        match name.split_once('/') {
            Some((vendor, default)) if vendor != "sim" => {
                Self::Used { vendor: vendor.to_owned(), default: default.to_owned(), is_own_server: !has_url }
            }
            _ => Self::Ignored,
        }
    }

    /// The model of a request in place of the default. `None` for the default.
    ///
    /// # Errors
    /// The row names a model of another vendor.
    pub(crate) fn of(&self, named: Option<String>) -> fanweave::Result<Option<String>> {
        let (Self::Used { vendor, default, is_own_server }, Some(named)) = (self, named) else {
            return Ok(None);
        };
        let model = match named.split_once('/') {
            // A server of the user has its own names, such as `openai/gpt-oss-20b`.
            Some((own, model)) if *is_own_server && own == vendor => model.to_owned(),
            Some((other, _))
                if *is_own_server
                    && PLAIN_VENDORS.contains(&vendor.as_str())
                    && vendors().any(|known| known == other) =>
            {
                return Err(not_of(vendor, &named));
            }
            // Rows of an OpenAI batch that are sent to another provider.
            _ if *is_own_server && !may_be_of(vendor, &named) => return Err(not_of(vendor, &named)),
            _ => named,
        };
        Ok((model != *default && !model.is_empty()).then_some(model))
    }

    /// The name of a model of a row, with its vendor.
    pub(crate) fn full_name(&self, model: &str) -> String {
        match self {
            Self::Used { vendor, .. }
                if model.strip_prefix(vendor).is_some_and(|own| own.starts_with('/')) =>
            {
                model.to_owned()
            }
            Self::Used { vendor, .. } => format!("{vendor}/{model}"),
            Self::Ignored => model.to_owned(),
        }
    }

    /// Models that answer by this rule.
    pub(crate) fn applied(self, models: &Chain<Prompt, Message>) -> Chain<Prompt, Message> {
        let set = step(move |mut prompt: Prompt, _cx| {
            let model = self.of(prompt.parameters.model.take());
            async move {
                prompt.parameters.model = model?;
                Ok(prompt)
            }
        });
        set | models
    }
}

/// Returns false if the vendor's own models have other names.
fn may_be_of(vendor: &str, model: &str) -> bool {
    let names: &[&str] = match vendor {
        "anthropic" => &["claude"],
        "gemini" => &["gemini", "gemma", "learnlm", "models/"],
        _ => return true,
    };
    names.iter().any(|name| model.contains(name))
}

fn not_of(vendor: &str, model: &str) -> Error {
    let message = format!(
        "the row names the model {model}, which is not one of {vendor}: run such rows on their own, or answer all \
         rows with --model by adding --override-model"
    );
    Error::new(ErrorKind::Input, message)
}

/// The model of the first row, if all rows name one.
pub(crate) fn of_rows(rows: Source) -> Result<Option<String>, Failure> {
    let mut first = None;
    let mut unreadable = None;
    let mut vendor = "openai";
    for row in rows {
        let row = row.map_err(|error| failure(&error))?;
        let named = match &row.input {
            Ok(Input::Prompt(prompt)) => prompt.parameters.model.clone(),
            Ok(Input::Vars(vars)) => {
                // A request of its own, or one in the form of a batch of Anthropic or Gemini.
                let named = match (vars.get("messages"), vars.get("params"), vars.get("request")) {
                    (Some(_), ..) => vars.get("model"),
                    (None, Some(params), _) => {
                        vendor = "anthropic";
                        params.get("model")
                    }
                    (None, None, Some(request)) => {
                        vendor = "gemini";
                        request.get("model")
                    }
                    (None, None, None) => None,
                };
                named.and_then(|model| model.as_str()).map(str::to_owned)
            }
            // A row that cannot be read fails, whatever the model.
            Err(error) => {
                unreadable.get_or_insert_with(|| error.message().to_owned());
                continue;
            }
            _ => None,
        };
        match (named, &first) {
            (Some(named), None) => first = Some(named),
            (Some(_), Some(_)) => {}
            (None, None) => return Ok(None),
            (None, Some(_)) => {
                return Err(Failure::usage(format!(
                    "{}: the row names no model, and others do",
                    row.location()
                ))
                .with_hint("add --model, which is the model of rows without one"));
            }
        }
    }
    if let (None, Some(why)) = (&first, unreadable) {
        return Err(Failure::usage(format!("no row can be read, the first one because: {why}")));
    }
    let known =
        |model: &str| model.split_once('/').is_some_and(|(vendor, _)| vendors().any(|known| known == vendor));
    Ok(first.map(|model| {
        if known(&model) { model } else { format!("{vendor}/{}", model.trim_start_matches("models/")) }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_may_name_a_model_with_or_without_its_vendor() {
        let rule = RowModel::with_default("openai/gpt-5-mini", false);
        let of = |rule: &RowModel, named: &str| rule.of(Some(named.to_owned())).map_err(|e| e.to_string());
        assert_eq!(of(&rule, "gpt-4o"), Ok(Some("gpt-4o".to_owned())));
        assert_eq!(of(&rule, "openai/gpt-4o"), Ok(Some("gpt-4o".to_owned())));
        assert_eq!(of(&rule, "ft:gpt-4o/x"), Ok(Some("ft:gpt-4o/x".to_owned())));
        assert_eq!((of(&rule, "gpt-5-mini"), rule.of(None).unwrap()), (Ok(None), None));
        let other = of(&rule, "anthropic/claude-x").unwrap_err();
        assert!(other.contains("not one of openai") && other.contains("--override-model"), "{other}");
        let claude = RowModel::with_default("anthropic/claude-x", false);
        assert!(of(&claude, "gpt-4o").is_err());
        assert_eq!(of(&claude, "claude-y"), Ok(Some("claude-y".to_owned())));
        let router = RowModel::with_default("openrouter/x", false);
        assert_eq!(of(&router, "openai/gpt-4o"), Ok(Some("openai/gpt-4o".to_owned())));
        let own = RowModel::with_default("openai/x", true);
        assert_eq!(of(&own, "mistral/small"), Ok(Some("mistral/small".to_owned())));
        assert_eq!(of(&own, "openai/gpt-oss-20b"), Ok(Some("openai/gpt-oss-20b".to_owned())));
        assert_eq!(own.full_name("openai/gpt-oss-20b"), "openai/gpt-oss-20b");
        assert_eq!(own.full_name("mistral/small"), "openai/mistral/small");
        assert_eq!(of(&RowModel::with_default("sim/echo", false), "gpt-4o"), Ok(None));
    }
}
