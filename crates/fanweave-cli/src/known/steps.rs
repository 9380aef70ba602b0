//! Checks of the prompts of chains, where they are rendered without a call: in a check, in a dry run, and
//! ahead of a run with simulated models.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fanweave::events::Observer;
use fanweave::models::Prices;
use fanweave::{ChainFile, Context, Event, EventKind, Prompt, Vars};
use tokio::time::{Instant, timeout_at};

use super::{SHORT, full_name, suits_all};
use crate::args::ModelArgs;
use crate::config::Config;
use crate::dry_run;
use crate::out::tell;

/// Maximum time to look ahead, for all rows together.
const MAX_TIME: Duration = Duration::from_secs(2);

/// Warns of prompts that a model of their step may not take, once for each step and model.
pub(crate) struct StepPrompts {
    /// The models of each step.
    steps: Vec<(String, Vec<String>)>,
    prices: Prices,
    /// Steps and models that a warning has named.
    warned: Mutex<HashSet<(usize, usize)>>,
    is_quiet: bool,
}

impl StepPrompts {
    pub(crate) fn new(
        args: &ModelArgs,
        config: &Config,
        prices: &Prices,
        file: &ChainFile,
        is_quiet: bool,
    ) -> Arc<Self> {
        let of_step = |(step, models, _): (&str, Vec<Option<&str>>, _)| {
            let models = models.into_iter().filter_map(|name| name.or(args.model.as_deref()));
            (step.to_owned(), models.map(|model| full_name(config, model)).collect())
        };
        let steps = file.step_parameters().map(of_step).collect();
        Arc::new(Self { steps, prices: prices.clone(), warned: Mutex::default(), is_quiet })
    }

    /// A context that checks the prompts of a run.
    pub(crate) fn watch(self: &Arc<Self>) -> Context {
        Context::new().with_observer(self.clone())
    }

    fn check(&self, step: usize, prompt: &Prompt) {
        let (name, models) = &self.steps[step];
        for (at, model) in models.iter().enumerate() {
            let objections = self.prices.check_prompt(model, prompt);
            let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
            if !objections.is_empty() && warned.insert((step, at)) {
                for objection in objections {
                    tell!("warning: step `{name}`: {}", objection.message);
                }
            }
        }
    }
}

impl Observer for StepPrompts {
    fn on_event(&self, event: &Event) {
        let EventKind::PromptSent(prompt) = &event.kind else { return };
        if self.is_quiet || suits_all(prompt) {
            return;
        }
        let step =
            event.path.names().rev().find_map(|name| self.steps.iter().position(|(step, _)| step == name));
        if let Some(step) = step {
            self.check(step, prompt);
        }
    }
}

/// Checks the prompts of a run with simulated models before its first call, as far as they depend on `inputs`
/// alone: those of each row, or of the only run. Short inputs are skipped.
pub(crate) async fn look_ahead(
    prompts: &Arc<StepPrompts>,
    file: &ChainFile,
    inputs: impl Iterator<Item = Vars>,
) {
    if prompts.is_quiet {
        return;
    }
    let texts = file.source().len() + file.files().map(|(_, text)| text.len()).sum::<usize>();
    let end = Instant::now() + MAX_TIME;
    let mut chain = None;
    for inputs in inputs {
        let values = inputs.as_map().values();
        let bytes: usize =
            values.map(|value| value.as_str().map_or_else(|| value.to_string().len(), str::len)).sum();
        if texts + bytes <= SHORT {
            continue;
        }
        if chain.is_none() {
            chain = file.chain(|name| Ok(dry_run::stand_in(name.unwrap_or("sim/check")))).ok();
        }
        let Some(chain) = &chain else { return };
        // The answers are simulated: what a later step makes of them may fail.
        if timeout_at(end, chain.invoke_in(inputs, &prompts.watch())).await.is_err() {
            return;
        }
    }
}
