//! Runs a chain file. Each step starts as soon as the outputs that it reads are available.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::{BoxFuture, try_join_all};
use futures::{StreamExt, stream};
use serde_json::{Map, Value, json};

use super::check::Source;
use super::outcome::{End, Outcome};
use super::segment::Segment;
use super::spec::{Input, Limits, OnError};
use crate::{
    Chain, Context, Delta, Error, ErrorKind, Many, Result, Runnable, Streaming, Template, Vars, closest,
};

/// Maximum items of a fan-out that are running or queued, if the file sets no concurrency.
const WINDOW: usize = 64;

/// A chain file with its models.
pub(super) struct CompiledChain {
    pub(super) inputs: Vec<Input>,
    pub(super) limits: Limits,
    pub(super) steps: Vec<PlannedStep>,
    /// The step whose output is that of the chain.
    pub(super) output: usize,
    /// The segments by which its text is streamed. `None` if it cannot be streamed.
    pub(super) streamed_text: Option<Vec<Segment>>,
}

pub(super) struct PlannedStep {
    pub(super) name: Arc<str>,
    pub(super) action: StepAction,
    pub(super) source: Option<Source>,
    pub(super) waits_for: Vec<usize>,
    pub(super) when: Option<Template>,
    /// The variables that its templates read, in the form of [`Template::paths`].
    pub(super) reads: Vec<String>,
    pub(super) on_error: OnError,
    /// Set if its items or its text are read while they arrive.
    pub(super) is_streamed: bool,
}

/// The action of a step.
pub(super) enum StepAction {
    /// A call whose answer is a text.
    Text(Chain<Vars, String>),
    /// A call whose answer is a list that can be read item by item.
    Items(Many<Vars, Value>, Chain<Vars, Value>),
    /// Any other call, or a template.
    Value(Chain<Vars, Value>),
}

impl Runnable for CompiledChain {
    type Input = Vars;
    type Output = Value;

    async fn run(&self, vars: Vars, cx: &Context) -> Result<Value> {
        let cx = match self.limits.concurrency.and_then(std::num::NonZeroUsize::new) {
            // A limit of the caller applies to all runs together and takes precedence.
            Some(max) if !cx.is_limited() => cx.clone().with_concurrency(max),
            _ => cx.clone(),
        };
        let run = ChainRun {
            chain: self,
            inputs: inputs(&self.inputs, &vars)?,
            outcomes: self.steps.iter().map(|_| Outcome::default()).collect(),
            quiet: cx.without_deltas(),
        };
        let work = async { try_join_all((0..self.steps.len()).map(|step| run.step(step))).await };
        tokio::try_join!(work, run.send_deltas(&cx))?;
        match run.outcomes[self.output].ended().await {
            End::Done(value) => Ok(Value::clone(&value)),
            End::Skipped => Ok(Value::Null),
        }
    }

    fn streaming(&self) -> Streaming {
        if self.streamed_text.is_some() { Streaming::Deltas } else { Streaming::Whole }
    }
}

/// The inputs of one run: the values of the caller, and the defaults of the rest.
fn inputs(inputs: &[Input], vars: &Vars) -> Result<Map<String, Value>> {
    let names: Vec<_> = inputs.iter().map(|input| input.name.as_str()).collect();
    if let Some(name) = vars.names().find(|name| !names.contains(name)) {
        let hint = match closest(name, names.iter()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => "it has no inputs".to_owned(),
            None => format!("the inputs are `{}`", names.join("`, `")),
        };
        return Err(Error::new(ErrorKind::Input, format!("the chain has no input `{name}`: {hint}")));
    }
    let mut all = Map::new();
    for input in inputs {
        let Some(value) = vars.get(&input.name).or(input.default.as_ref()) else {
            let message = format!("the input `{}` is missing and has no default", input.name);
            return Err(Error::new(ErrorKind::Input, message));
        };
        all.insert(input.name.clone(), value.clone());
    }
    Ok(all)
}

/// An item of a list with its number, from 1.
type Numbered = Result<(usize, Value)>;

/// One run of the chain.
struct ChainRun<'a> {
    chain: &'a CompiledChain,
    inputs: Map<String, Value>,
    outcomes: Vec<Outcome>,
    quiet: Context,
}

impl ChainRun<'_> {
    fn step(&self, index: usize) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.step_now(index))
    }

    async fn step_now(&self, index: usize) -> Result<()> {
        let step = &self.chain.steps[index];
        let mut outputs = Map::new();
        for other in &step.waits_for {
            match self.outcomes[*other].ended().await {
                End::Done(value) => {
                    outputs.insert(self.chain.steps[*other].name.to_string(), json!({ "output": *value }));
                }
                End::Skipped => {
                    self.outcomes[index].end(End::Skipped);
                    return Ok(());
                }
            }
        }
        let base = self.variables(&step.reads, outputs);
        let output = match &step.source {
            None => self.once(index, base).await,
            Some(source) => self.each(index, source, &base).await,
        };
        match (output, step.on_error) {
            (Ok(end), _) => self.outcomes[index].end(end),
            (Err(error), OnError::Fail) => return Err(error),
            (Err(error), _) if error.kind() == ErrorKind::Cancelled => return Err(error),
            (Err(_), OnError::Skip) => self.outcomes[index].end(End::Skipped),
            (Err(_), OnError::Null) => self.outcomes[index].end(End::Done(Value::Null.into())),
        }
        Ok(())
    }

    /// The variables of a template: the inputs by name, and the outputs of earlier steps. Only those that are
    /// read, since all of them are copied for each item of a fan-out.
    fn variables(&self, reads: &[String], outputs: Map<String, Value>) -> Vars {
        let (mut all, mut named) = (Map::new(), Map::new());
        for (name, value) in &self.inputs {
            let is_read = |path: &str| path.split('.').next() == Some(name);
            if reads.iter().any(|path| is_read(path)) {
                all.insert(name.clone(), value.clone());
            }
            if reads.iter().any(|path| path == "inputs" || path.strip_prefix("inputs.").is_some_and(is_read))
            {
                named.insert(name.clone(), value.clone());
            }
        }
        all.insert("inputs".to_owned(), Value::Object(named));
        all.insert("steps".to_owned(), Value::Object(outputs));
        all.into()
    }

    async fn once(&self, index: usize, vars: Vars) -> Result<End> {
        let step = &self.chain.steps[index];
        if !is_enabled(step, &vars)? {
            return Ok(End::Done(Value::Null.into()));
        }
        let outcome = &self.outcomes[index];
        let value = match &step.action {
            StepAction::Text(chain) if step.is_streamed => {
                let mut run = chain.stream_in(vars, &self.quiet);
                while let Some(delta) = run.next().await {
                    if let Some(text) = delta?.as_text() {
                        outcome.push_text(text);
                    }
                }
                Value::String(run.output().await?)
            }
            StepAction::Text(chain) => Value::String(chain.run(vars, &self.quiet).await?),
            StepAction::Items(items, _) if step.is_streamed => {
                let mut items = items.stream_in(vars, self.quiet.clone());
                while let Some(item) = items.next().await {
                    outcome.push(item?);
                }
                Value::Array(outcome.take_items())
            }
            StepAction::Items(_, chain) | StepAction::Value(chain) => chain.run(vars, &self.quiet).await?,
        };
        Ok(End::Done(value.into()))
    }

    /// Runs the step for every item of its source as soon as the item arrives. The output keeps the source's
    /// order.
    async fn each(&self, index: usize, source: &Source, base: &Vars) -> Result<End> {
        let step = &self.chain.steps[index];
        let window = self.chain.limits.concurrency.unwrap_or(WINDOW);
        let items = stream::unfold(0, |n| self.numbered(source, n)).boxed();
        let one = |item| self.one_of_many(step, base, item);
        let mut results = items.map(one).buffered(window).boxed();
        let outcome = &self.outcomes[index];
        while let Some(result) = results.next().await {
            if let Some(value) = result? {
                outcome.push(value);
            }
        }
        if let Source::Step(source, _) = source
            && self.outcomes[*source].ended().await == End::Skipped
        {
            return Ok(End::Skipped);
        }
        Ok(End::Done(Value::Array(outcome.take_items()).into()))
    }

    /// The item at `index` of a source. Waits for it while the source is still running.
    async fn item(&self, source: &Source, index: usize) -> Result<Option<Value>> {
        let ended;
        let (whole, words, what) = match source {
            Source::Step(step, words) => {
                if words.is_empty()
                    && let Some(item) = self.outcomes[*step].item(index).await
                {
                    return Ok(Some(item));
                }
                // A step that does not emit items has pushed none.
                let End::Done(value) = self.outcomes[*step].ended().await else { return Ok(None) };
                ended = value;
                (&*ended, words, &*self.chain.steps[*step].name)
            }
            Source::Input(name, words) => (&self.inputs[name], words, name.as_str()),
        };
        let list = words.iter().try_fold(whole, |value, word| value.get(word));
        match list {
            Some(Value::Array(items)) => Ok(items.get(index).cloned()),
            Some(Value::Null) => Ok(None),
            _ => {
                let path = std::iter::once(what).chain(words.iter().map(String::as_str));
                let path = path.collect::<Vec<_>>().join(".");
                Err(Error::new(ErrorKind::Input, format!("`for_each` needs a list, but `{path}` is not one")))
            }
        }
    }

    /// The item at `index`, and the next index.
    fn numbered<'a>(&'a self, source: &'a Source, index: usize) -> BoxFuture<'a, Option<(Numbered, usize)>> {
        Box::pin(async move {
            // Items without a call never yield: without this they would starve other tasks, such as the
            // handler of Ctrl-C.
            tokio::task::consume_budget().await;
            let item = self.item(source, index).await.transpose()?;
            Some((item.map(|item| (index + 1, item)), index + 1))
        })
    }

    /// Runs one item of a fan-out. `None` if the item is skipped.
    fn one_of_many<'a>(
        &'a self,
        step: &'a PlannedStep,
        base: &'a Vars,
        item: Numbered,
    ) -> BoxFuture<'a, Result<Option<Value>>> {
        Box::pin(async move {
            let (number, item) = item?;
            let mut vars = base.clone();
            vars.insert("item", item);
            vars.insert("index", number);
            let output = async {
                if !is_enabled(step, &vars)? {
                    return Ok::<_, Error>(None);
                }
                Ok(Some(match &step.action {
                    StepAction::Text(chain) => Value::String(chain.run(vars, &self.quiet).await?),
                    StepAction::Items(_, chain) | StepAction::Value(chain) => {
                        chain.run(vars, &self.quiet).await?
                    }
                }))
            };
            match (output.await, step.on_error) {
                (Ok(value), _) => Ok(value),
                (Err(error), OnError::Fail) => Err(error.with_step(format!("item {number}"))),
                (Err(error), _) if error.kind() == ErrorKind::Cancelled => Err(error),
                (Err(_), OnError::Skip) => Ok(None),
                (Err(_), OnError::Null) => Ok(Some(Value::Null)),
            }
        })
    }

    /// Emits the text of the chain while its parts arrive.
    async fn send_deltas(&self, cx: &Context) -> Result<()> {
        let Some(streamed_text) = self.chain.streamed_text.as_ref().filter(|_| cx.wants_deltas()) else {
            return Ok(());
        };
        let index: HashMap<&str, usize> =
            self.chain.steps.iter().enumerate().map(|(i, step)| (&*step.name, i)).collect();
        for segment in streamed_text {
            match segment {
                Segment::Literal(text) if text.is_empty() => {}
                Segment::Literal(text) => cx.delta(Delta::text(text.as_str())).await,
                Segment::Output { step, template } => {
                    let outcome = &self.outcomes[index[step.as_str()]];
                    let mut sent = 0;
                    while let Some(more) = outcome.more_text(sent).await {
                        sent += more.len();
                        cx.delta(Delta::text(more)).await;
                    }
                    self.rest(template, sent, cx).await?;
                }
                Segment::Joined { step, separator, template } => {
                    let outcome = &self.outcomes[index[step.as_str()]];
                    let (mut sent, mut n) = (0, 0);
                    while let Some(Value::String(item)) = outcome.item(n).await {
                        let text = if n == 0 { item } else { format!("{separator}{item}") };
                        sent += text.len();
                        n += 1;
                        cx.delta(Delta::text(text)).await;
                    }
                    self.rest(template, sent, cx).await?;
                }
                Segment::Other(template) => self.rest(template, 0, cx).await?,
            }
        }
        Ok(())
    }

    /// Emits the text of a segment after its first `sent` bytes.
    async fn rest(&self, template: &Template, sent: usize, cx: &Context) -> Result<()> {
        let mut outputs = Map::new();
        let paths = template.paths();
        for (index, step) in self.chain.steps.iter().enumerate() {
            let start = format!("steps.{}.", step.name);
            if paths.iter().any(|path| path.starts_with(&start)) {
                let value = match self.outcomes[index].ended().await {
                    End::Done(value) => value,
                    // Then the chain is skipped as well, and there is no more text.
                    End::Skipped => return Ok(()),
                };
                outputs.insert(step.name.to_string(), json!({ "output": *value }));
            }
        }
        let text = template.render(&self.variables(&paths, outputs))?;
        if let Some(rest) = text.get(sent..).filter(|rest| !rest.is_empty()) {
            cx.delta(Delta::text(rest)).await;
        }
        Ok(())
    }
}

/// Returns true if the step has no condition or its condition is true.
fn is_enabled(step: &PlannedStep, vars: &Vars) -> Result<bool> {
    match &step.when {
        Some(condition) => Ok(!condition.render(vars)?.is_empty()),
        None => Ok(true),
    }
}
