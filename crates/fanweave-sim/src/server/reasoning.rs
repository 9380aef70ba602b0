//! Settings of the reasoning in a request: the checks of each dialect, and the tokens that the simulated
//! model reasons with.

use serde_json::Value;

use super::problem::Problem;

/// Levels of `reasoning_effort`.
const LEVELS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// Minimum tokens of Anthropic's `budget_tokens`.
const MIN_BUDGET: u64 = 1024;

/// Tokens of reasoning at a level: 0, 16, 64, 128 and so on.
fn tokens(level: &str) -> Option<u64> {
    let at = LEVELS.iter().position(|known| *known == level)?;
    Some([0, 16, 64, 128, 256, 512, 1024][at])
}

fn unsupported(param: &'static str, level: &Value, known: &[&str]) -> Problem {
    let (last, before) = known.split_last().expect("there are levels");
    let before: Vec<_> = before.iter().map(|level| format!("'{level}'")).collect();
    let level = level.as_str().map_or_else(|| level.to_string(), str::to_owned);
    Problem::UnsupportedValue {
        message: format!(
            "Unsupported value: '{param}' does not support '{level}' with this model. Supported values are: {}, \
             and '{last}'.",
            before.join(", ")
        ),
        param,
    }
}

/// A level of one of OpenAI's APIs. Returns the tokens.
pub(super) fn effort(value: &Value, param: &'static str) -> Result<u64, Problem> {
    match value {
        Value::Null => Ok(0),
        level => level.as_str().and_then(tokens).ok_or_else(|| unsupported(param, level, &LEVELS)),
    }
}

/// `reasoning` of OpenAI's Responses API.
pub(super) fn responses(reasoning: &Value) -> Result<u64, Problem> {
    let Some(fields) = object(reasoning, "reasoning")? else { return Ok(0) };
    for (name, value) in fields {
        match (&**name, value.as_str()) {
            ("effort", _) | ("summary" | "generate_summary", Some("auto" | "concise" | "detailed")) => {}
            ("summary" | "generate_summary", None) if value.is_null() => {}
            ("summary" | "generate_summary", _) => {
                let message = format!(
                    "Invalid value: {value}. Supported values are: 'concise', 'detailed', and 'auto'."
                );
                return Err(Problem::invalid(message, Some("reasoning.summary")));
            }
            _ => {
                let message = format!("Unknown parameter: 'reasoning.{name}'.");
                return Err(Problem::invalid(message, Some("reasoning")));
            }
        }
    }
    effort(&reasoning["effort"], "reasoning.effort")
}

/// `thinking` and `output_config.effort` of Anthropic's API.
pub(super) fn anthropic(thinking: &Value, effort: &Value, max_tokens: u64) -> Result<u64, Problem> {
    let invalid = |message: String| Err(Problem::invalid(message, None));
    let at_level = match effort {
        Value::Null => tokens("high"),
        level => level.as_str().filter(|level| !matches!(*level, "none" | "minimal")).and_then(tokens),
    };
    let Some(at_level) = at_level else {
        return invalid(format!(
            "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max', not {effort}"
        ));
    };
    let Some(fields) = object(thinking, "thinking")? else { return Ok(0) };
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
    let known: &[&str] = match kind {
        "enabled" => &["type", "budget_tokens", "display"],
        "adaptive" => &["type", "display"],
        "disabled" => &["type"],
        _ => {
            return invalid(format!(
                "thinking: Input tag '{kind}' found using 'type' does not match any of the expected tags: \
                 'adaptive', 'disabled', 'enabled'"
            ));
        }
    };
    if let Some(name) = fields.keys().find(|name| !known.contains(&name.as_str())) {
        return invalid(format!("thinking.{kind}.{name}: Extra inputs are not permitted"));
    }
    if fields.get("display").is_some_and(|display| *display != "summarized" && *display != "omitted") {
        return invalid(format!("thinking.{kind}.display: Input should be 'summarized' or 'omitted'"));
    }
    match (kind, fields.get("budget_tokens").and_then(Value::as_u64)) {
        ("enabled", None) => invalid("thinking.enabled.budget_tokens: Field required".to_owned()),
        ("enabled", Some(..MIN_BUDGET)) => invalid(format!(
            "thinking.enabled.budget_tokens: Input should be greater than or equal to {MIN_BUDGET}"
        )),
        ("enabled", Some(budget)) if budget >= max_tokens => {
            invalid("`max_tokens` must be greater than `thinking.budget_tokens`".to_owned())
        }
        ("enabled", Some(budget)) => Ok(budget / 8),
        ("adaptive", _) => Ok(at_level),
        _ => Ok(0),
    }
}

/// `thinkingConfig` of Gemini's API.
pub(super) fn gemini(config: &Value) -> Result<u64, Problem> {
    const AT: &str = "generation_config.thinking_config";
    let invalid = |message: String| Err(Problem::invalid(message, None));
    let Some(fields) = object(config, AT)? else { return Ok(0) };
    let known = ["thinkingBudget", "thinkingLevel", "includeThoughts"];
    if let Some(name) = fields.keys().find(|name| !known.contains(&name.as_str())) {
        return invalid(format!(
            "Invalid JSON payload received. Unknown name \"{name}\" at '{AT}': Cannot find field."
        ));
    }
    if fields.get("includeThoughts").is_some_and(|include| !include.is_boolean()) {
        return invalid(format!("Invalid value at '{AT}.include_thoughts' (TYPE_BOOL)"));
    }
    match (fields.get("thinkingBudget"), fields.get("thinkingLevel")) {
        (Some(_), Some(_)) => {
            invalid("You can only set only one of thinking budget and thinking level.".to_owned())
        }
        (Some(budget), None) => match budget.as_i64() {
            Some(-1) => Ok(128),
            Some(budget @ 0..=32_768) => Ok(budget.unsigned_abs() / 8),
            _ => invalid(format!(
                "The thinking budget {budget} is invalid. Please choose a value between 0 and 32768."
            )),
        },
        (None, Some(level)) => {
            let level_tokens = level.as_str().map(str::to_ascii_lowercase).and_then(|level| match &*level {
                "minimal" | "low" | "medium" | "high" => tokens(&level),
                _ => None,
            });
            match level_tokens {
                Some(tokens) => Ok(tokens),
                None => invalid(format!("Invalid value at '{AT}.thinking_level', {level}")),
            }
        }
        (None, None) => Ok(0),
    }
}

/// `think` of Ollama's API.
pub(super) fn ollama(think: &Value) -> Result<u64, Problem> {
    match think {
        Value::Null | Value::Bool(false) => Ok(0),
        Value::Bool(true) => Ok(128),
        Value::String(level) if matches!(&**level, "low" | "medium" | "high") => {
            Ok(tokens(level).unwrap_or_default())
        }
        _ => Err(Problem::invalid(
            format!("invalid think value: {think} (must be \"high\", \"medium\", \"low\", true, or false)"),
            None,
        )),
    }
}

/// The fields of a setting that may be missing.
fn object<'v>(value: &'v Value, name: &str) -> Result<Option<&'v serde_json::Map<String, Value>>, Problem> {
    match value {
        Value::Null => Ok(None),
        Value::Object(fields) => Ok(Some(fields)),
        _ => Err(Problem::invalid(format!("{name}: Input should be an object"), None)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_dialect_takes_its_own_form_and_no_other() {
        let is = |read: Result<u64, Problem>| read.ok();
        assert_eq!(is(effort(&json!("low"), "reasoning_effort")), Some(64));
        assert_eq!(is(effort(&json!("hard"), "reasoning_effort")), None);
        assert_eq!(is(responses(&json!({ "effort": "low", "summary": "auto" }))), Some(64));
        assert_eq!(is(responses(&json!({ "budget": 3 }))), None);
        let anthropic = |thinking: Value, effort: Value| is(anthropic(&thinking, &effort, 2_000));
        assert_eq!(anthropic(json!({ "type": "adaptive", "display": "summarized" }), json!("low")), Some(64));
        assert_eq!(anthropic(json!({ "type": "enabled", "budget_tokens": 1024 }), Value::Null), Some(128));
        assert_eq!(anthropic(json!({ "type": "disabled" }), Value::Null), Some(0));
        for wrong in [
            json!({ "type": "enabled" }),
            json!({ "type": "enabled", "budget_tokens": 1000 }),
            json!({ "type": "enabled", "budget_tokens": 2000 }),
            json!({ "type": "adaptive", "budget_tokens": 1024 }),
            json!({ "type": "on" }),
            json!(true),
        ] {
            assert_eq!(anthropic(wrong.clone(), Value::Null), None, "{wrong}");
        }
        assert_eq!(anthropic(json!({ "type": "adaptive" }), json!("none")), None);
        assert_eq!(is(gemini(&json!({ "thinkingLevel": "low", "includeThoughts": true }))), Some(64));
        assert_eq!(is(gemini(&json!({ "thinkingBudget": 1024 }))), Some(128));
        for wrong in [
            json!({ "thinkingBudget": 1, "thinkingLevel": "low" }),
            json!({ "thinkingLevel": "max" }),
            json!({ "thinkingBudget": 99_999 }),
            json!({ "effort": "low" }),
        ] {
            assert_eq!(is(gemini(&wrong)), None, "{wrong}");
        }
        assert_eq!(
            [json!(true), json!("high"), json!(false)].map(|think| is(ollama(&think))),
            [Some(128), Some(256), Some(0)]
        );
        assert_eq!(is(ollama(&json!("max"))), None);
    }
}
