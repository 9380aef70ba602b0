//! Checks of requests against what the table knows of their model, before any call.

use fanweave_core::{Media, Parameters, Part, Prompt, ResponseFormat, closest};

use super::{Capabilities, Prices, provider_of_models};

/// An objection of the table of models to a request.
///
/// ```
/// use fanweave::Parameters;
/// use fanweave::models::Prices;
///
/// let cold = Parameters::new().temperature(0.2);
/// let objections = Prices::builtin().check("anthropic/claude-sonnet-5", &cold, None);
/// assert!(objections[0].is_refused);
/// assert_eq!(objections[0].message, "anthropic/claude-sonnet-5 takes no temperature: remove `temperature`");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Objection {
    /// The part of the request that the model does not take, and what to do.
    pub message: String,
    /// Set if the provider is known to refuse such a request. Otherwise the provider may know more than the
    /// table.
    pub is_refused: bool,
}

/// Providers that refuse what their models do not take. Others ignore it, or serve models that change.
const STRICT: [&str; 3] = ["anthropic", "gemini", "openai"];

/// Bytes per token of a prompt. Source: the rule of thumb of OpenAI for English.
const BYTES_PER_TOKEN: u64 = 4;

impl Prices {
    /// Checks a request for `model`, named as for [`of`](Self::of), with `parameters` in place of those that
    /// the prompt does not set. Empty if the table has no objection, or does not know the model.
    pub fn check(&self, model: &str, parameters: &Parameters, prompt: Option<&Prompt>) -> Vec<Objection> {
        // Requests to the same provider for another model.
        let provider = model.split_once('/').map_or("", |(provider, _)| provider);
        let set = prompt.map(|prompt| prompt.parameters.clone().or(parameters));
        let set = set.as_ref().unwrap_or(parameters);
        let model = &*match &set.model {
            Some(other) => format!("{provider}/{other}"),
            None => model.to_owned(),
        };
        let Some(known) = self.capabilities(model) else {
            return self.misspelt(model).into_iter().collect();
        };
        let mut found =
            Check { model, is_strict: STRICT.contains(&provider_of_models(provider)), found: Vec::new() };
        found.sampling(known, set);
        found.reasoning(known, set);
        found.summary(set);
        found.answer(known, set);
        if let Some(prompt) = prompt {
            found.prompt(known, prompt);
        }
        found.found
    }

    /// Checks a prompt for `model`, or for the model that the prompt names: its length, and the kinds of its
    /// parts. Its parameters are not checked.
    ///
    /// ```
    /// use fanweave::Prompt;
    /// use fanweave::models::Prices;
    ///
    /// let long = Prompt::from("river ".repeat(20_000));
    /// let objections = Prices::builtin().check_prompt("openai/gpt-3.5-turbo", &long);
    /// assert_eq!(
    ///     objections[0].message,
    ///     "openai/gpt-3.5-turbo reads at most 16385 tokens, and the prompt has about 30000",
    /// );
    /// ```
    pub fn check_prompt(&self, model: &str, prompt: &Prompt) -> Vec<Objection> {
        let provider = model.split_once('/').map_or("", |(provider, _)| provider);
        let named = prompt.parameters.model.as_ref().map(|other| format!("{provider}/{other}"));
        let model = named.as_deref().unwrap_or(model);
        let Some(known) = self.capabilities(model) else { return Vec::new() };
        let is_strict = STRICT.contains(&provider_of_models(provider));
        let mut found = Check { model, is_strict, found: Vec::new() };
        found.prompt(known, prompt);
        found.found
    }

    /// A model whose name is close to one of its provider.
    fn misspelt(&self, model: &str) -> Option<Objection> {
        let (provider, name) = model.split_once('/')?;
        let provider = provider_of_models(provider);
        // Names of later models differ from earlier ones in their numbers.
        let letters =
            |name: &str| name.chars().filter(|c| !c.is_ascii_digit() && *c != '.').collect::<String>();
        let names = self.0.models.of_provider(provider).map(str::to_owned);
        let near = closest(name, names).filter(|near| letters(near) != letters(name))?;
        let message = format!(
            "{model} is not in the table of models of {}: did you mean {provider}/{near}?",
            self.date()
        );
        Some(Objection { message, is_refused: false })
    }
}

struct Check<'a> {
    model: &'a str,
    is_strict: bool,
    found: Vec<Objection>,
}

impl Check<'_> {
    fn refuse(&mut self, what: impl AsRef<str>) {
        let message = format!("{} {}", self.model, what.as_ref());
        self.found.push(Objection { message, is_refused: self.is_strict });
    }

    fn doubt(&mut self, what: impl AsRef<str>) {
        let message = format!("{} {}", self.model, what.as_ref());
        self.found.push(Objection { message, is_refused: false });
    }

    fn sampling(&mut self, known: &Capabilities, p: &Parameters) {
        // 1 is the default, which is taken.
        if known.takes_temperature == Some(false) && p.temperature.is_some_and(|t| t != 1.0) {
            let what = "takes no temperature: remove `temperature`";
            // OpenAI's later models take one while they do not reason.
            let may_be_off = known.reasoning_options.iter().any(|option| option == "none");
            if may_be_off { self.doubt(what) } else { self.refuse(what) }
        }
    }

    fn reasoning(&mut self, known: &Capabilities, p: &Parameters) {
        let effort = p.reasoning_effort.as_deref();
        let is_amount = effort.is_some_and(|level| level != "none");
        let is_on = is_amount || p.reasoning_budget.is_some_and(|n| n > 0);
        if known.reasons == Some(false) && (is_on || p.reasoning_summary) {
            let set = [
                ("`reasoning_effort`", is_amount),
                ("`reasoning_budget`", p.reasoning_budget.is_some_and(|n| n > 0)),
                ("`reasoning_summary`", p.reasoning_summary),
            ];
            let set: Vec<_> = set.into_iter().filter_map(|(name, is_set)| is_set.then_some(name)).collect();
            return self.refuse(format!("does not reason: remove {}", set.join(" and ")));
        }
        let is_level = |option: &&String| !matches!(&***option, "toggle" | "budget_tokens");
        let levels: Vec<_> = known.reasoning_options.iter().filter(is_level).map(String::as_str).collect();
        if let Some(level) = effort.filter(|level| !levels.is_empty() && !levels.contains(level)) {
            let what = format!("has no reasoning effort `{level}`: use {}", levels.join(", "));
            // Reasoning of Anthropic and Gemini is turned off in other ways, which some models take.
            if level == "none" { self.doubt(what) } else { self.refuse(what) }
        }
        let is_toggle = known.reasoning_options.iter().any(|option| option == "toggle");
        if let Some(level) = effort.filter(|level| *level != "none" && levels.is_empty() && is_toggle) {
            self.doubt(format!("reasons or does not: `reasoning_effort` `{level}` turns it on"));
        }
        let takes_budget = known.reasoning_options.iter().any(|option| option == "budget_tokens");
        if p.reasoning_budget.is_some_and(|n| n > 0) && !levels.is_empty() && !takes_budget {
            let levels = levels.join(", ");
            // The dialects of OpenAI have no field for it.
            match self.provider() {
                "openai" => {
                    self.refuse(format!("takes no `reasoning_budget`: `reasoning_effort` can be {levels}"));
                }
                _ => {
                    self.doubt(format!("may take no `reasoning_budget`: `reasoning_effort` can be {levels}"));
                }
            }
        }
        if takes_budget && levels.is_empty() {
            self.budget(known, p, is_on);
        }
    }

    /// Checks for a summary where the API sends none, whatever the model.
    fn summary(&mut self, p: &Parameters) {
        if let (true, Some(("openai" | "azure", name))) = (p.reasoning_summary, self.model.split_once('/'))
            && !self.found.iter().any(|found| found.message.contains("does not reason"))
        {
            let message = format!(
                "{} sends no summary of its reasoning by chat completions: remove `reasoning_summary`, or use the \
                 Responses API (openai-responses/{name})",
                self.model,
            );
            self.found.push(Objection { message, is_refused: true });
        }
    }

    /// Checks reasoning that is counted in tokens alone.
    fn budget(&mut self, known: &Capabilities, p: &Parameters, is_on: bool) {
        // Levels stand for numbers of tokens in these dialects.
        const LEVELS: [&str; 5] = ["none", "minimal", "low", "medium", "high"];
        let level = p.reasoning_effort.as_deref();
        if let Some(level) = level.filter(|level| self.is_strict && !LEVELS.contains(level)) {
            self.refuse(format!(
                "has no reasoning effort `{level}`: use {}, or `reasoning_budget`",
                LEVELS.join(", ")
            ));
        }
        if self.is_strict
            && self.model.contains("claude")
            && p.reasoning_summary
            && level.is_none()
            && p.reasoning_budget.is_none()
        {
            self.refuse("sends a `reasoning_summary` only if it reasons: set `reasoning_effort` or `reasoning_budget`");
        }
        if self.model.contains("claude") {
            // Source: Anthropic's guide on extended thinking.
            const MIN: u32 = 1024;
            if let Some(budget) = p.reasoning_budget.filter(|n| (1..MIN).contains(n)) {
                self.refuse(format!(
                    "reasons with at least {MIN} tokens: raise `reasoning_budget` ({budget})"
                ));
            }
            if let (Some(budget), Some(max)) = (p.reasoning_budget, p.max_tokens)
                && budget >= max
            {
                self.refuse(format!(
                    "counts the tokens of its reasoning as output: raise `max_tokens` ({max}) above `reasoning_budget` \
                     ({budget})"
                ));
            }
            if is_on && known.takes_temperature != Some(false) && p.temperature.is_some_and(|t| t != 1.0) {
                self.refuse("takes no temperature while it reasons: remove `temperature`");
            }
        }
        let is_off = p.reasoning_budget == Some(0) || p.reasoning_effort.as_deref() == Some("none");
        let can_be_off = known.reasoning_options.iter().any(|option| option == "toggle");
        if is_off && !can_be_off && self.provider() == "gemini" {
            self.refuse("always reasons: `reasoning_budget` cannot be 0, or `reasoning_effort` `none`");
        }
    }

    /// The provider of the model, in the table.
    fn provider(&self) -> &'static str {
        let provider = self.model.split_once('/').map_or("", |(provider, _)| provider);
        STRICT.into_iter().find(|strict| *strict == provider_of_models(provider)).unwrap_or_default()
    }

    fn answer(&mut self, known: &Capabilities, p: &Parameters) {
        if let (Some(max), Some(asked)) = (known.max_output_tokens, p.max_tokens)
            && u64::from(asked) > max
        {
            self.refuse(format!("writes at most {max} tokens: lower `max_tokens` ({asked})"));
        }
        if known.tools == Some(false) && !p.tools.is_empty() {
            self.doubt("is not known to call tools");
        }
        if known.structured_output == Some(false)
            && matches!(p.format, Some(ResponseFormat::JsonSchema { .. }))
        {
            self.doubt("is not known to follow a JSON schema");
        }
    }

    fn prompt(&mut self, known: &Capabilities, prompt: &Prompt) {
        let parts = || prompt.messages.iter().flat_map(|message| &message.parts);
        let takes = |kind: &str| known.input_modalities.iter().any(|modality| modality == kind);
        for (kind, is_there) in [
            ("image", parts().any(|part| matches!(part, Part::Image(_)))),
            ("audio", parts().any(|part| matches!(part, Part::Audio(_)))),
            ("pdf", parts().any(is_pdf)),
        ] {
            if is_there && !known.input_modalities.is_empty() && !takes(kind) {
                let what = format!("takes no {kind} input, only {}", known.input_modalities.join(", "));
                // Providers turn the pages of a document into text and images.
                if kind == "pdf" { self.doubt(what) } else { self.refuse(what) }
            }
        }
        let bytes: u64 = parts().filter_map(Part::as_text).map(|text| text.len() as u64).sum();
        let tokens = bytes / BYTES_PER_TOKEN;
        if let Some(context) = known.context_tokens.filter(|context| tokens > *context) {
            self.doubt(format!("reads at most {context} tokens, and the prompt has about {tokens}"));
        }
    }
}

fn is_pdf(part: &Part) -> bool {
    matches!(part, Part::File(Media::Inline { media_type, .. }) if media_type == "application/pdf")
}

#[cfg(test)]
mod tests {
    use fanweave_core::{Message, Role};

    use super::*;

    fn objections(model: &str, parameters: &Parameters, prompt: Option<&Prompt>) -> Vec<(String, bool)> {
        let found = Prices::builtin().check(model, parameters, prompt);
        found.into_iter().map(|found| (found.message, found.is_refused)).collect()
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "the caller has no use for it")]
    fn assert_objection(model: &str, parameters: Parameters, says: &str, is_refused: bool) {
        let found = objections(model, &parameters, None);
        assert_eq!(found, [(format!("{model} {says}"), is_refused)]);
    }

    #[test]
    fn what_a_model_does_not_take_is_named_and_refused_where_the_provider_is_known_to_refuse_it() {
        let hot = Parameters::new().temperature(0.2);
        assert_objection(
            "anthropic/claude-sonnet-5",
            hot.clone(),
            "takes no temperature: remove `temperature`",
            true,
        );
        assert_objection(
            "openai/gpt-5-mini",
            hot.clone(),
            "takes no temperature: remove `temperature`",
            true,
        );
        assert_objection(
            "openai-responses/gpt-5-mini",
            hot.clone(),
            "takes no temperature: remove `temperature`",
            true,
        );
        assert_objection("openai/gpt-5.2", hot.clone(), "takes no temperature: remove `temperature`", false);
        assert_eq!(objections("anthropic/claude-haiku-4-5", &hot, None), []);
        assert_eq!(objections("openai/gpt-5-mini", &Parameters::new().temperature(1.0), None), []);
        let level = |level: &str| Parameters::new().reasoning_effort(level);
        let known = "has no reasoning effort `huge`: use minimal, low, medium, high";
        assert_objection("openai/gpt-5-mini", level("huge"), known, true);
        assert_eq!(objections("openai/gpt-5-mini", &level("low"), None), []);
        let none = "does not reason: remove `reasoning_effort`";
        assert_objection("openai/gpt-4o-mini", level("low"), none, true);
        let none = "does not reason: remove `reasoning_budget` and `reasoning_summary`";
        let both = Parameters::new().reasoning_budget(2048).reasoning_summary(true);
        assert_objection("openai/gpt-4o-mini", both, none, true);
        assert_eq!(objections("openai/gpt-4o-mini", &level("none"), None), []);
        let long = Parameters::new().max_tokens(1_000_000);
        let says = "writes at most 64000 tokens: lower `max_tokens` (1000000)";
        assert_objection("anthropic/claude-haiku-4-5", long, says, true);
    }

    #[test]
    fn a_summary_is_refused_where_the_api_sends_none() {
        let wanted = || Parameters::new().reasoning_summary(true);
        let says = "sends no summary of its reasoning by chat completions: remove `reasoning_summary`, or use the \
                    Responses API (openai-responses/gpt-5-mini)";
        assert_objection("openai/gpt-5-mini", wanted(), says, true);
        for sends in
            ["openai-responses/gpt-5-mini", "anthropic/claude-sonnet-5", "deepseek/deepseek-reasoner"]
        {
            assert_eq!(objections(sends, &wanted(), None), [], "{sends}");
        }
    }

    #[test]
    fn budgets_of_reasoning_that_cannot_work_are_refused() {
        let budget = |tokens: u32| Parameters::new().reasoning_budget(tokens);
        assert_objection(
            "openai/gpt-5-mini",
            budget(100),
            "takes no `reasoning_budget`: `reasoning_effort` can be minimal, low, medium, high",
            true,
        );
        let claude = "anthropic/claude-sonnet-4-5";
        let short = "reasons with at least 1024 tokens: raise `reasoning_budget` (100)";
        assert_objection(claude, budget(100), short, true);
        let full = "counts the tokens of its reasoning as output: raise `max_tokens` (2000) above `reasoning_budget` (2000)";
        assert_objection(claude, budget(2000).max_tokens(2000), full, true);
        let cold = "takes no temperature while it reasons: remove `temperature`";
        assert_objection(claude, budget(2000).temperature(0.5), cold, true);
        assert_objection(claude, Parameters::new().reasoning_effort("low").temperature(0.5), cold, true);
        for fine in
            [budget(0).temperature(0.5), budget(2000).temperature(1.0), Parameters::new().temperature(0.5)]
        {
            assert_eq!(objections(claude, &fine, None), []);
        }
        let unknown =
            "has no reasoning effort `xhigh`: use none, minimal, low, medium, high, or `reasoning_budget`";
        for model in [claude, "gemini/gemini-2.5-pro"] {
            assert_objection(model, Parameters::new().reasoning_effort("xhigh"), unknown, true);
        }
        let summary =
            "sends a `reasoning_summary` only if it reasons: set `reasoning_effort` or `reasoning_budget`";
        assert_objection(claude, Parameters::new().reasoning_summary(true), summary, true);
        assert_eq!(objections(claude, &budget(2048).reasoning_summary(true), None), []);
        let always = "always reasons: `reasoning_budget` cannot be 0, or `reasoning_effort` `none`";
        assert_objection("gemini/gemini-2.5-pro", budget(0), always, true);
        assert_objection("gemini/gemini-2.5-pro", Parameters::new().reasoning_effort("none"), always, true);
        assert_eq!(objections("gemini/gemini-2.5-flash", &budget(0), None), []);
    }

    #[test]
    fn prompts_are_checked_for_their_length_and_their_kinds() {
        let image = Part::Image(Media::Url("https://x.test/a.png".into()));
        let prompt = Prompt::from(Message::from_parts(Role::User, vec![image]));
        let found = objections("openai/gpt-3.5-turbo", &Parameters::new(), Some(&prompt));
        assert_eq!(found, [("openai/gpt-3.5-turbo takes no image input, only text".to_owned(), true)]);
        let long = Prompt::from("x".repeat(1 << 20).as_str());
        let found = objections("openai/gpt-3.5-turbo", &Parameters::new(), Some(&long));
        assert!(found[0].0.contains("the prompt has about 262144") && !found[0].1, "{found:?}");
        let found = Prices::builtin().check_prompt("openai/gpt-5-mini", &long);
        assert_eq!(found, []);
        let named = Prompt { parameters: Parameters::new().model("gpt-3.5-turbo").temperature(9.0), ..long };
        let found = Prices::builtin().check_prompt("openai/gpt-5-mini", &named);
        assert!(found.len() == 1 && found[0].message.starts_with("openai/gpt-3.5-turbo reads"), "{found:?}");
        let low = Parameters::new().reasoning_effort("low");
        let found = objections("moonshot/kimi-k2.5", &low, None);
        let says = "moonshot/kimi-k2.5 reasons or does not: `reasoning_effort` `low` turns it on";
        assert_eq!(found, [(says.to_owned(), false)]);
        let other = Prompt { parameters: Parameters::new().model("gpt-5-mini"), ..Prompt::from("x") };
        let found = objections("openai/gpt-4o", &Parameters::new().temperature(0.5), Some(&other));
        assert!(found[0].0.starts_with("openai/gpt-5-mini takes no temperature"), "{found:?}");
    }

    #[test]
    fn a_misspelt_model_is_a_doubt_and_a_later_one_is_not() {
        let none = Parameters::new();
        let found = objections("anthropic/claude-sonet-5", &none, None);
        assert!(found[0].0.ends_with("did you mean anthropic/claude-sonnet-5?") && !found[0].1, "{found:?}");
        for later in [
            "openai/gpt-9",
            "anthropic/claude-sonnet-7",
            "vllm/my-model",
            "sim/writer",
            "openai/sim/echo",
            "openai/gpt-image-1",
        ] {
            assert_eq!(objections(later, &none, None), [], "{later}");
        }
    }
}
