//! Names of the fields of a chat completion request.

use serde_json::Value;

/// Server whose request fields a row with `messages` may have. All other fields are data of the row.
///
/// The names of request fields are usually those of one parameter on all servers, and are sent to each. Some
/// are also frequent names of data, such as `usage`, `route` or `documents`: these are only sent if their
/// value has the form of the parameter, to servers that have it.
///
/// ```
/// use fanweave::batch::{Input, Render, RequestFields};
/// use fanweave::vars;
///
/// let row = vars! { messages: [{"role": "user", "content": "hi"}], route: "fallback", seed: 7 };
/// let sent = |fields| {
///     let prompt = Render::new().request_fields(fields).render(Input::Vars(row.clone()))?;
///     Ok::<_, fanweave::Error>(prompt.parameters.extra.contains_key("route"))
/// };
/// assert!(sent(RequestFields::OpenRouter)? && !sent(RequestFields::Vendor)?);
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RequestFields {
    /// Any of the others.
    #[default]
    Any,
    /// The API of a vendor of models.
    Vendor,
    /// OpenRouter.
    OpenRouter,
    /// A server of open models: vLLM, SGLang, llama.cpp.
    OwnServer,
}

impl RequestFields {
    /// Returns true if a field of a row is part of its request. `stores` is set if the request asks to be
    /// stored.
    pub(crate) fn takes(self, name: &str, value: &Value, stores: bool) -> bool {
        if value.is_null() || REQUEST_FIELDS.binary_search(&name).is_err() {
            return false;
        }
        match AMBIGUOUS.iter().find(|(ambiguous, ..)| *ambiguous == name) {
            // Requests that are not stored have no metadata.
            _ if name == "metadata" => stores && has_texts(value),
            Some((_, server, has_form)) => {
                (*server == Self::Any || self == Self::Any || self == *server) && has_form(value)
            }
            None => true,
        }
    }
}

/// Returns true for a value that has the form of a parameter.
type HasForm = fn(&Value) -> bool;

/// Fields whose names are frequent among data, the server that has them, and their form.
const AMBIGUOUS: &[(&str, RequestFields, HasForm)] = &[
    ("audio", RequestFields::Any, |value| value.get("voice").is_some()),
    ("documents", RequestFields::OwnServer, are_objects),
    ("ebnf", RequestFields::OwnServer, Value::is_string),
    ("echo", RequestFields::OwnServer, Value::is_boolean),
    ("grammar", RequestFields::OwnServer, Value::is_string),
    ("json_schema", RequestFields::OwnServer, |value| value.is_object() || value.is_string()),
    ("models", RequestFields::OpenRouter, are_texts),
    ("plugins", RequestFields::OpenRouter, are_objects),
    ("prediction", RequestFields::Any, |value| value.get("content").is_some()),
    ("priority", RequestFields::OwnServer, Value::is_i64),
    ("provider", RequestFields::OpenRouter, Value::is_object),
    ("reasoning", RequestFields::Any, Value::is_object),
    ("regex", RequestFields::OwnServer, Value::is_string),
    ("route", RequestFields::OpenRouter, |value| value == "fallback" || value == "sort"),
    ("store", RequestFields::Any, Value::is_boolean),
    ("thinking", RequestFields::Any, |value| value.is_object() || value.is_boolean()),
    ("transforms", RequestFields::OpenRouter, are_texts),
    ("usage", RequestFields::OpenRouter, |value| value.get("include").is_some_and(Value::is_boolean)),
];

fn are_texts(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(Value::is_string))
}

fn are_objects(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(Value::is_object))
}

fn has_texts(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| fields.values().all(Value::is_string))
}

/// Fields that a row with `messages` may send.
///
/// Source: the references of OpenAI, OpenRouter, vLLM, SGLang and llama.cpp, November 2026. `stream` and
/// `stream_options` are set as needed, and `id` identifies the row.
const REQUEST_FIELDS: &[&str] = &[
    "add_generation_prompt",
    "add_special_tokens",
    "allowed_token_ids",
    "audio",
    "bad_words",
    "best_of",
    "cache_prompt",
    "cache_salt",
    "chat_template",
    "chat_template_kwargs",
    "continue_final_message",
    "documents",
    "dry_allowed_length",
    "dry_base",
    "dry_multiplier",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
    "dynatemp_exponent",
    "dynatemp_range",
    "ebnf",
    "echo",
    "frequency_penalty",
    "function_call",
    "functions",
    "grammar",
    "guided_choice",
    "guided_decoding_backend",
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "guided_whitespace_pattern",
    "id_slot",
    "ignore_eos",
    "include_reasoning",
    "include_stop_str_in_output",
    "json_schema",
    "kv_transfer_params",
    "length_penalty",
    "logit_bias",
    "logits_processors",
    "logprobs",
    "lora_path",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "min_p",
    "min_tokens",
    "mirostat",
    "mirostat_eta",
    "mirostat_tau",
    "mm_processor_kwargs",
    "modalities",
    "model",
    "models",
    "n",
    "n_keep",
    "n_probs",
    "no_stop_trim",
    "parallel_tool_calls",
    "plugins",
    "prediction",
    "presence_penalty",
    "priority",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_logprobs",
    "provider",
    "reasoning",
    "reasoning_effort",
    "regex",
    "repeat_last_n",
    "repeat_penalty",
    "repetition_penalty",
    "response_format",
    "route",
    "safety_identifier",
    "samplers",
    "seed",
    "separate_reasoning",
    "service_tier",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "stop",
    "stop_token_ids",
    "store",
    "structured_outputs",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_a",
    "top_k",
    "top_logprobs",
    "top_n_sigma",
    "top_p",
    "transforms",
    "truncate_prompt_tokens",
    "typical_p",
    "usage",
    "use_beam_search",
    "user",
    "verbosity",
    "web_search_options",
    "xtc_probability",
    "xtc_threshold",
];

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::json;

    #[test]
    fn the_names_are_sorted() {
        assert!(REQUEST_FIELDS.is_sorted());
        assert!(AMBIGUOUS.iter().all(|(name, ..)| REQUEST_FIELDS.binary_search(name).is_ok()));
    }

    #[test]
    fn fields_with_names_of_data_are_sent_in_their_form_to_servers_that_have_them() {
        use RequestFields::{Any, OpenRouter, OwnServer, Vendor};
        let takes = |name: &str, value: Value| {
            [Any, Vendor, OpenRouter, OwnServer].map(|fields| fields.takes(name, &value, false))
        };
        assert_eq!(takes("temperature", json!("0.5")), [true; 4], "the server says what is wrong");
        assert_eq!(takes("top_k", json!(5)), [true; 4]);
        assert_eq!(takes("foo", json!(5)), [false; 4]);
        assert_eq!(takes("seed", json!(null)), [false; 4]);
        assert_eq!(takes("usage", json!({"include": true})), [true, false, true, false]);
        assert_eq!(takes("usage", json!({"prompt_tokens": 5})), [false; 4]);
        assert_eq!(takes("priority", json!(1)), [true, false, false, true]);
        assert_eq!(takes("priority", json!("high")), [false; 4]);
        for (name, value) in [
            ("documents", json!("a.pdf")),
            ("provider", json!("acme")),
            ("regex", json!(["^a"])),
            ("route", json!("A7")),
            ("reasoning", json!("because")),
            ("prediction", json!("positive")),
            ("store", json!("Lima")),
            ("metadata", json!({"source": "a"})),
        ] {
            assert_eq!(takes(name, value), [false; 4], "{name}");
        }
        assert!(Vendor.takes("metadata", &json!({"source": "a"}), true));
        assert!(!Vendor.takes("metadata", &json!({"line": 7}), true));
    }
}
