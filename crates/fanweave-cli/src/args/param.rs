//! `--param`: parameters of requests by name.

use std::num::NonZeroU32;

use fanweave::Parameters;
use serde_json::{Map, Value};

use super::temperature;

/// One `--param NAME=VALUE`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Param {
    /// The parts of the name between its dots.
    path: Vec<String>,
    value: Value,
}

/// Fields of a request that the program writes itself, with what sets them.
const OWN_FIELDS: [(&str, &str); 8] = [
    ("model", "use --model"),
    ("messages", "the prompt sets it"),
    ("prompt", "the prompt sets it"),
    ("input", "the prompt sets it"),
    ("contents", "the prompt sets it"),
    ("system", "use --system"),
    ("stream", "it is set as needed"),
    ("stream_options", "it is set as needed"),
];

impl Param {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some((name, value)) = text.split_once('=') else { return Err("must be NAME=VALUE".to_owned()) };
        let path: Vec<_> = name.split('.').map(|part| part.trim().to_owned()).collect();
        if path.iter().any(String::is_empty) {
            return Err(format!("`{name}` is not a valid name"));
        }
        if let Some((_, instead)) = OWN_FIELDS.iter().find(|(own, _)| *own == path[0]) {
            return Err(format!("`{}` cannot be set: {instead}", path[0]));
        }
        let value = match serde_json::from_str(value) {
            Ok(Value::Number(number)) if is_rounded(value) => {
                let why = "a number of a parameter has at most 64 bits";
                return Err(format!("`{name}`: {value} would be sent as {number}: {why}"));
            }
            Ok(value) => value,
            Err(error) if error.to_string().starts_with("number out of range") => {
                return Err(format!("`{name}`: the number {value} is out of range"));
            }
            Err(_) => Value::from(value),
        };
        let param = Self { path, value };
        // Reports an invalid value of a known parameter with the flag.
        param.set(&mut Parameters::default())?;
        Ok(param)
    }

    /// The name.
    pub(crate) fn name(&self) -> String {
        self.path.join(".")
    }

    /// Sets the parameter: its field if `parameters` has one of the name, otherwise an extra field.
    pub(crate) fn set(&self, parameters: &mut Parameters) -> Result<(), String> {
        let Self { path, value } = self;
        let wrong = |what: &str| format!("`{}` must be {what}, got {value}", path.join("."));
        match (path[0].as_str(), path.len()) {
            ("temperature", 1) => parameters.temperature = Some(self.temperature()?),
            // Two names of one parameter: each provider gets the one that it takes.
            ("max_tokens" | "max_completion_tokens", 1) => {
                parameters.max_tokens = Some(self.max_tokens()?.get());
            }
            ("top_p", 1) => {
                let number = value.as_f64().filter(|p| (0.0..=1.0).contains(p));
                parameters.top_p = Some(number.ok_or_else(|| wrong("a number from 0 to 1"))?);
            }
            ("seed", 1) => {
                parameters.seed = Some(value.as_i64().ok_or_else(|| wrong("a whole number"))?);
            }
            ("reasoning_effort", 1) => {
                let level = value.as_str().ok_or_else(|| wrong("a level, such as low"))?;
                (parameters.reasoning_effort, parameters.reasoning_budget) = (Some(level.to_owned()), None);
            }
            ("reasoning_budget", 1) => {
                let tokens = value.as_u64().and_then(|n| u32::try_from(n).ok());
                let tokens = tokens.ok_or_else(|| wrong("a whole number of tokens"))?;
                (parameters.reasoning_effort, parameters.reasoning_budget) = (None, Some(tokens));
            }
            ("stop", 1) => {
                let one = |value: &Value| value.as_str().map(str::to_owned);
                let all = match value {
                    Value::Array(all) => all.iter().map(one).collect(),
                    text => one(text).map(|text| vec![text]),
                };
                parameters.stop = all.ok_or_else(|| wrong("a text or a list of texts"))?;
            }
            _ => {
                let (last, parents) = path.split_last().expect("a name has parts");
                let mut fields = &mut parameters.extra;
                for part in parents {
                    let field = fields.entry(part).or_insert_with(|| Map::new().into());
                    if !field.is_object() {
                        *field = Map::new().into();
                    }
                    fields = field.as_object_mut().expect("it was made an object");
                }
                fields.insert(last.clone(), value.clone());
            }
        }
        Ok(())
    }

    /// Its name, if it sets the parameter `name`.
    pub(super) fn name_of(&self, name: &str) -> Option<&str> {
        let [own] = self.path.as_slice() else { return None };
        let is_other_name = own == "max_completion_tokens" && name == "max_tokens";
        (own == name || is_other_name).then_some(own)
    }

    fn temperature(&self) -> Result<f64, String> {
        temperature(&self.value.to_string()).map_err(|why| format!("`temperature` {why}, got {}", self.value))
    }

    fn max_tokens(&self) -> Result<NonZeroU32, String> {
        let max = self.value.as_u64().and_then(|max| NonZeroU32::new(u32::try_from(max).ok()?));
        max.ok_or_else(|| format!("`max_tokens` must be a whole number of at least 1, got {}", self.value))
    }
}

/// Returns true for an integer that has no exact value.
fn is_rounded(number: &str) -> bool {
    let digits = number.trim().trim_start_matches('-');
    digits.bytes().all(|b| b.is_ascii_digit())
        && number.trim().parse::<i64>().is_err()
        && number.trim().parse::<u64>().is_err()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(params: &[&str]) -> Parameters {
        let mut parameters = Parameters::default();
        for param in params {
            Param::parse(param).unwrap().set(&mut parameters).unwrap();
        }
        parameters
    }

    #[test]
    fn parameters_set_their_fields_and_others_are_sent_as_they_are() {
        let known = set(&["temperature=0.2", "max_tokens=5", "top_p=1", "seed=-3", "stop=[\"a\",\"b\"]"]);
        let expected = Parameters::new().temperature(0.2).max_tokens(5).top_p(1.0).seed(-3);
        assert_eq!(known, expected.stop(["a", "b"]));
        assert_eq!(set(&["max_completion_tokens=4"]), Parameters::new().max_tokens(4));
        assert_eq!(set(&["stop=END"]).stop, ["END"]);
        let budget = set(&["reasoning_effort=low", "reasoning_budget=2048"]);
        assert_eq!(budget, Parameters::new().reasoning_budget(2048));
        assert_eq!(set(&["reasoning_effort=low"]), Parameters::new().reasoning_effort("low"));
        let params =
            ["reasoning.effort=low", "reasoning.tokens=9", "user=a=b", "echo=true", "n=\"1\"", "x=null"];
        let extra = json!({
            "reasoning": { "effort": "low", "tokens": 9 }, "user": "a=b", "echo": true, "n": "1", "x": null,
        });
        assert_eq!(Value::Object(set(&params).extra), extra);
        assert_eq!(Value::Object(set(&["a=1", "a.b=2"]).extra), json!({ "a": { "b": 2 } }));
    }

    #[test]
    fn invalid_parameters_are_refused_with_the_reason() {
        let why = |param: &str| Param::parse(param).unwrap_err();
        assert_eq!(why("top_p"), "must be NAME=VALUE");
        let big = "w=123456789012345678901234567890";
        assert!(why(big).contains("would be sent as 1.2345678901234568e+29"), "{}", why(big));
        assert!(Param::parse("w=18446744073709551615").is_ok());
        assert_eq!(why("w=1e400"), "`w`: the number 1e400 is out of range");
        assert_eq!(why("a..b=1"), "`a..b` is not a valid name");
        assert_eq!(why("model=x"), "`model` cannot be set: use --model");
        assert_eq!(why("temperature=hot"), "`temperature` must be a number from 0 to 2, got \"hot\"");
        assert_eq!(why("max_tokens=0"), "`max_tokens` must be a whole number of at least 1, got 0");
        assert_eq!(why("stop=[1]"), "`stop` must be a text or a list of texts, got [1]");
        assert!(why("reasoning_budget=-1").contains("whole number"), "{}", why("reasoning_budget=-1"));
        assert!(why("seed=1.5").contains("whole number") && why("top_p=2").contains("from 0 to 1"));
    }
}
