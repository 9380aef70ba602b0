//! Parameters of a call.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Parameters of a call. The provider's default applies to everything unset.
///
/// ```
/// use fanweave::Parameters;
///
/// let call = Parameters::new().temperature(0.2);
/// let model = Parameters::new().temperature(1.0).max_tokens(64);
/// let both = call.or(&model);
/// assert_eq!((both.temperature, both.max_tokens), (Some(0.2), Some(64)));
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Parameters {
    /// Another model of the same provider, by the provider's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Sampling temperature: 0 to 2 with most providers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus sampling (top p): share of the probability mass to sample from, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Maximum tokens of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Stop sequences: texts that end the answer before they appear.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Random seed: equal requests get equal answers, if the provider supports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Amount of reasoning before the answer: `none`, `minimal`, `low`, `medium`, `high`, `xhigh` or
    /// `max`, as far as the model has these levels. Sent in the form of each provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<String>,
    /// Maximum tokens of reasoning, for providers that take a number. They are part of
    /// [`max_tokens`](Self::max_tokens) with most of them. 0 turns reasoning off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_budget: Option<u32>,
    /// Set to true to ask for a summary of the reasoning, where the provider sends none by default.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reasoning_summary: bool,
    /// The tools that the model may call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolSpec>,
    /// Controls whether the model may, must or must not call a tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// The format of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<ResponseFormat>,
    /// Provider-specific fields, added to the request unchanged. They override the fields above.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

/// Each method sets the field of its name.
impl Parameters {
    /// Nothing set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls another model of the same provider.
    #[must_use]
    pub fn model(self, name: impl Into<String>) -> Self {
        Self { model: Some(name.into()), ..self }
    }

    /// Sets the sampling temperature: 0 to 2 with most providers.
    #[must_use]
    pub fn temperature(self, temperature: f64) -> Self {
        Self { temperature: Some(temperature), ..self }
    }

    /// Sets the share of the probability mass to sample from, 0 to 1.
    #[must_use]
    pub fn top_p(self, share: f64) -> Self {
        Self { top_p: Some(share), ..self }
    }

    /// Sets the maximum number of tokens of the answer.
    #[must_use]
    pub fn max_tokens(self, tokens: u32) -> Self {
        Self { max_tokens: Some(tokens), ..self }
    }

    /// Sets the stop sequences.
    #[must_use]
    pub fn stop<T: Into<String>>(self, sequences: impl IntoIterator<Item = T>) -> Self {
        Self { stop: sequences.into_iter().map(Into::into).collect(), ..self }
    }

    /// Sets the random seed.
    #[must_use]
    pub fn seed(self, seed: i64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Sets how much the model reasons before it answers, such as `low`.
    ///
    /// ```
    /// use fanweave::Parameters;
    ///
    /// let parameters = Parameters::new().reasoning_effort("low").reasoning_summary(true);
    /// assert_eq!(parameters.reasoning_effort.as_deref(), Some("low"));
    /// ```
    #[must_use]
    pub fn reasoning_effort(self, level: impl Into<String>) -> Self {
        Self { reasoning_effort: Some(level.into()), ..self }
    }

    /// Sets the maximum tokens of reasoning. 0 turns reasoning off.
    #[must_use]
    pub fn reasoning_budget(self, tokens: u32) -> Self {
        Self { reasoning_budget: Some(tokens), ..self }
    }

    /// Sets whether to ask for a summary of the reasoning.
    #[must_use]
    pub fn reasoning_summary(self, is_wanted: bool) -> Self {
        Self { reasoning_summary: is_wanted, ..self }
    }

    /// Sets the tools that the model may call.
    #[must_use]
    pub fn tools(self, tools: impl IntoIterator<Item = ToolSpec>) -> Self {
        Self { tools: tools.into_iter().collect(), ..self }
    }

    /// Sets whether the model may, must or must not call a tool.
    #[must_use]
    pub fn tool_choice(self, choice: ToolChoice) -> Self {
        Self { tool_choice: Some(choice), ..self }
    }

    /// Sets the format of the answer.
    #[must_use]
    pub fn format(self, format: ResponseFormat) -> Self {
        Self { format: Some(format), ..self }
    }

    /// Adds a provider-specific field to the request, in place of an earlier one of that name.
    #[must_use]
    pub fn extra(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra.insert(name.into(), value.into());
        self
    }

    /// Returns true if nothing is set.
    pub fn is_empty(&self) -> bool {
        let Self {
            model,
            temperature,
            top_p,
            max_tokens,
            stop,
            seed,
            reasoning_effort,
            reasoning_budget,
            reasoning_summary,
            tools,
            tool_choice,
            format,
            extra,
        } = self;
        let is_unset = model.is_none() && temperature.is_none() && top_p.is_none() && max_tokens.is_none();
        is_unset
            && seed.is_none()
            && reasoning_effort.is_none()
            && reasoning_budget.is_none()
            && !reasoning_summary
            && tool_choice.is_none()
            && format.is_none()
            && stop.is_empty()
            && tools.is_empty()
            && extra.is_empty()
    }

    /// Returns true if the answer is to have more than the text of one choice: several choices (`n`), or the
    /// probabilities of tokens (`logprobs`).
    ///
    /// ```
    /// use fanweave::Parameters;
    ///
    /// assert!(Parameters::new().extra("n", 3).asks_for_choices());
    /// assert!(!Parameters::new().extra("n", 1).extra("logprobs", false).asks_for_choices());
    /// ```
    pub fn asks_for_choices(&self) -> bool {
        if self.extra.is_empty() {
            return false;
        }
        // Gemini has them in an object.
        let inner = self.extra.get("generationConfig").and_then(Value::as_object);
        let field = |name: &str| self.extra.get(name).or_else(|| inner?.get(name));
        let asks = |name: &str| field(name).is_some_and(|value| *value != false && !value.is_null());
        let many = |name: &str| field(name).and_then(Value::as_f64).is_some_and(|n| n > 1.0);
        many("n")
            || many("candidateCount")
            || ["logprobs", "prompt_logprobs", "responseLogprobs"].into_iter().any(asks)
    }

    /// These parameters, with those of `base` for everything unset.
    #[must_use]
    pub fn or(mut self, base: &Parameters) -> Self {
        self.fill(base);
        self
    }

    /// Takes those of `base` for everything unset.
    pub(crate) fn fill(&mut self, base: &Parameters) {
        fn or<T: Clone>(own: &mut Option<T>, base: &Option<T>) {
            if own.is_none() {
                own.clone_from(base);
            }
        }
        or(&mut self.model, &base.model);
        or(&mut self.temperature, &base.temperature);
        or(&mut self.top_p, &base.top_p);
        or(&mut self.max_tokens, &base.max_tokens);
        or(&mut self.seed, &base.seed);
        // Either of the two replaces both.
        if self.reasoning_effort.is_none() && self.reasoning_budget.is_none() {
            self.reasoning_effort.clone_from(&base.reasoning_effort);
            self.reasoning_budget = base.reasoning_budget;
        }
        self.reasoning_summary |= base.reasoning_summary;
        or(&mut self.tool_choice, &base.tool_choice);
        or(&mut self.format, &base.format);
        if self.stop.is_empty() {
            self.stop.clone_from(&base.stop);
        }
        if self.tools.is_empty() {
            self.tools.clone_from(&base.tools);
        }
        for (name, value) in &base.extra {
            self.extra.entry(name).or_insert_with(|| value.clone());
        }
    }
}

/// The specification of a tool for the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// The name by which the model calls it.
    pub name: String,
    /// Description for the model: its purpose and when to call it.
    pub description: String,
    /// JSON schema of the arguments.
    pub parameters: Value,
}

/// Controls whether the model may, must or must not call a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// The model calls no tool.
    None,
    /// The model calls at least one tool.
    Required,
    /// The model calls this tool.
    Tool(String),
}

/// The format of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResponseFormat {
    /// Any text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that matches a schema.
    JsonSchema {
        /// A name for the schema, which some providers require.
        name: String,
        /// The schema.
        schema: Value,
        /// Set if the provider must enforce the schema.
        strict: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_setter() {
        let tool = ToolSpec { name: "look".into(), description: String::new(), parameters: Value::Null };
        let set = Parameters::new()
            .model("gpt-5-mini")
            .temperature(0.2)
            .top_p(0.9)
            .max_tokens(128)
            .stop(["\n", "END"])
            .seed(7)
            .reasoning_effort("low")
            .reasoning_budget(1024)
            .reasoning_summary(true)
            .tools([tool.clone()])
            .tool_choice(ToolChoice::Required)
            .format(ResponseFormat::JsonObject)
            .extra("logprobs", true);
        // Without `..`: a new field fails to compile here.
        let expected = Parameters {
            model: Some("gpt-5-mini".into()),
            temperature: Some(0.2),
            top_p: Some(0.9),
            max_tokens: Some(128),
            stop: vec!["\n".into(), "END".into()],
            seed: Some(7),
            reasoning_effort: Some("low".into()),
            reasoning_budget: Some(1024),
            reasoning_summary: true,
            tools: vec![tool],
            tool_choice: Some(ToolChoice::Required),
            format: Some(ResponseFormat::JsonObject),
            extra: Map::from_iter([("logprobs".to_owned(), Value::Bool(true))]),
        };
        assert_eq!(set, expected);
        assert!(!Parameters::new().reasoning_budget(0).is_empty());
        assert!(!Parameters::new().reasoning_summary(true).is_empty());
    }

    #[test]
    fn an_effort_replaces_a_budget_and_a_budget_an_effort() {
        let (effort, budget) =
            (Parameters::new().reasoning_effort("low"), Parameters::new().reasoning_budget(9));
        assert_eq!(effort.clone().or(&budget), effort);
        assert_eq!(budget.clone().or(&effort), budget);
        assert_eq!(Parameters::new().or(&effort), effort);
    }
}
