//! Runs a dag. Each step starts as soon as the outputs that it reads are available.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use futures::future::{BoxFuture, try_join_all};
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Map, Value};

use super::layers;
use super::outcome::{End, Outcome};
use super::plan::{Operand, Plan, PlannedAction, PlannedStep, Reads, Source};
use super::segment::Segment;
use super::step::OnError;
use crate::compose::erased::explain_mismatch;
use crate::context::memory::{Held, RunMemory, of_item, of_map, of_vars};
use crate::many::read_ahead::read_ahead;
use crate::{
    Context, Delta, Error, ErrorKind, Item, Node, Result, Runnable, Streaming, Template, Vars, closest,
};

/// Maximum items of a fan-out that run concurrently, if the dag sets no concurrency.
const WINDOW: usize = 64;

/// Copies of the variables of a step while it runs: its own, that for another thread, and that of the
/// template language.
const COPIES: u64 = 3;

/// Maximum steps that are polled together, each time that one of them can continue.
const FEW_STEPS: usize = 30;

/// Length of a delta in bytes after which its reader is let in. The channel of deltas counts their number.
const LONG_DELTA: usize = 64 << 10;

impl Runnable for Plan {
    const DRIVES_CALLS: bool = true;

    type Input = Vars;
    type Output = Item;

    async fn run(&self, vars: Vars, cx: &Context) -> Result<Item> {
        let cx = match self.concurrency {
            // A limit of the caller applies to all runs together and takes precedence.
            Some(max) if !cx.is_limited() => cx.clone().with_concurrency(max),
            _ => cx.clone(),
        };
        let cx = match cx.memory() {
            Some(_) => cx,
            None => cx.with_memory(Arc::new(RunMemory::new(self.max_memory))),
        };
        let memory = cx.memory().expect("it was set above");
        let inputs = self.inputs(vars)?;
        let run = DagRun {
            plan: self,
            kept: memory.hold(of_map(&inputs))?,
            memory,
            inputs,
            outcomes: self.steps.iter().map(|_| Outcome::default()).collect(),
            streams_text: self.segments.is_some() && cx.wants_deltas(),
            quiet: cx.without_deltas(),
        };
        let steps = (0..self.steps.len()).map(|step| run.step(step));
        let work = async {
            if steps.len() <= FEW_STEPS {
                return try_join_all(steps).await.map(drop);
            }
            // `try_join_all` would return the error of a step only after all steps before it.
            steps.collect::<FuturesUnordered<_>>().try_collect::<()>().await
        };
        let deltas = async {
            let sent = run.send_deltas(&cx).await;
            sent.map_err(|error| error.with_step(self.steps[self.output].name.clone()))
        };
        if let Err(error) = tokio::try_join!(work, deltas) {
            return Err(run.with_outputs(error));
        }
        match run.outcomes[self.output].ended().await {
            End::Done(item) => {
                // The caller writes it out, such as to a line of JSON and to a journal.
                let written = run.kept.add(2 * of_item(&item));
                written.map_err(|error| error.with_step(self.steps[self.output].name.clone()))?;
                drop(run);
                Ok(Arc::unwrap_or_clone(item))
            }
            End::Skipped => Ok(Item::Value(Value::Null)),
        }
    }

    fn streaming(&self) -> Streaming {
        if self.segments.is_some() { Streaming::Deltas } else { Streaming::Whole }
    }

    fn describe(&self) -> Node {
        Node::around("dag", [layers::sequence(self)])
    }
}

impl Plan {
    /// The inputs of one run: the values of the caller, and the defaults of the rest.
    fn inputs(&self, vars: Vars) -> Result<Map<String, Value>> {
        let known: HashSet<_> = self.inputs.iter().map(|(name, _)| &**name).collect();
        if let Some(name) = vars.names().find(|name| !known.contains(name)) {
            let names: Vec<_> = self.inputs.iter().map(|(name, _)| &**name).collect();
            let hint = match closest(name, names.iter()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if names.is_empty() => "it has no inputs".to_owned(),
                None => format!("the inputs are `{}`", names.join("`, `")),
            };
            return Err(Error::new(ErrorKind::Input, format!("the chain has no input `{name}`: {hint}")));
        }
        let mut given = vars.into_map();
        let all = self.inputs.iter().map(|(name, default)| {
            let value = given.remove(&**name).or_else(|| default.clone()).ok_or_else(|| {
                let message = format!("the input `{name}` is missing and has no default");
                Error::new(ErrorKind::Input, message)
            });
            Ok((name.to_string(), value?))
        });
        all.collect()
    }
}

/// An item of a list with its number, from 1, and its memory: a list may be read long before its items run.
type Numbered = Result<(usize, Item, Held)>;

/// One run of a dag.
struct DagRun<'a> {
    plan: &'a Plan,
    memory: &'a Arc<RunMemory>,
    /// The memory for inputs and outputs.
    kept: Held,
    inputs: Map<String, Value>,
    outcomes: Vec<Outcome>,
    /// Set if the text of the output has a reader.
    streams_text: bool,
    quiet: Context,
}

/// The output of a step whose work has ended.
enum Ended {
    Item(Item),
    /// The list of the items that were pushed.
    Pushed,
    Skipped,
}

impl DagRun<'_> {
    /// The error with the outputs of the steps that have ended, if there is memory for a copy of them.
    fn with_outputs(&self, error: Error) -> Error {
        if error.kind() == ErrorKind::Cancelled {
            return error;
        }
        let ended = self.plan.steps.iter().zip(&self.outcomes);
        let ended: Vec<_> =
            ended.filter_map(|(step, outcome)| Some((step.name.clone(), outcome.output()?))).collect();
        if self.kept.add(ended.iter().map(|(_, item)| of_item(item)).sum()).is_err() {
            return error;
        }
        let values =
            ended.into_iter().filter_map(|(name, item)| Some((name.to_string(), item.to_value().ok()?)));
        error.with_outputs(values.collect())
    }

    fn step(&self, index: usize) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.step_now(index))
    }

    async fn step_now(&self, index: usize) -> Result<()> {
        let step = &self.plan.steps[index];
        let outcome = &self.outcomes[index];
        let mut outputs = Ok(Map::new());
        for other in &step.waits_for {
            match self.outcomes[*other].ended().await {
                End::Done(item) => {
                    if let Ok(all) = &mut outputs
                        && let Err(error) = self.add_output(&step.reads, *other, &item, all)
                    {
                        outputs = Err(error.with_step(step.name.clone()));
                    }
                }
                End::Skipped => {
                    outcome.end(End::Skipped);
                    return Ok(());
                }
            }
        }
        let output = match outputs.map(|outputs| self.variables(&step.reads, outputs)) {
            Ok(vars) => match &step.for_each {
                None => self.once(index, vars).await,
                Some(source) => self.each(index, source, vars).await,
            },
            Err(error) => Err(error),
        };
        let output = match output {
            Ok(Ended::Item(item)) => self.keep(step, &item).map(|()| Ended::Item(item)),
            other => other,
        };
        match (output, step.on_error) {
            (Ok(Ended::Item(item)), _) => outcome.end(End::Done(item.into())),
            (Ok(Ended::Pushed), _) => outcome.end_with_items(),
            (Ok(Ended::Skipped), _) => outcome.end(End::Skipped),
            (Err(error), OnError::Fail) => return Err(error),
            (Err(error), _) if error.kind() == ErrorKind::Cancelled => return Err(error),
            (Err(_), OnError::Skip) => outcome.end(End::Skipped),
            (Err(_), OnError::Null) => outcome.end(End::Done(Item::Value(Value::Null).into())),
        }
        Ok(())
    }

    /// Counts an output, or an item of one, which the run keeps until it ends.
    fn keep(&self, step: &PlannedStep, item: &Item) -> Result<()> {
        self.kept.add(of_item(item)).map_err(|error| error.with_step(step.name.clone()))
    }

    /// Holds the memory for the variables of a step while it runs.
    fn hold(&self, step: &PlannedStep, bytes: u64) -> Result<Held> {
        self.memory.hold(COPIES * bytes).map_err(|error| error.with_step(step.name.clone()))
    }

    /// Adds the output of a step to those that another step reads.
    fn add_output(
        &self,
        reads: &Reads,
        index: usize,
        item: &Item,
        outputs: &mut Map<String, Value>,
    ) -> Result<()> {
        let name = &self.plan.steps[index].name;
        if !reads.has(&format!("steps.{name}")) {
            return Ok(());
        }
        if let Some(value) = variable_of(item, reads, || format!("steps.{name}.output"))? {
            let output = Map::from_iter([("output".to_owned(), value)]);
            outputs.insert(name.to_string(), Value::Object(output));
        }
        Ok(())
    }

    /// The variables of a step: the inputs by name, and the outputs of earlier steps. Only those that it
    /// reads, since all of them are copied for each item of a fan-out.
    fn variables(&self, reads: &Reads, outputs: Map<String, Value>) -> Vars {
        let (mut all, mut named) = (Map::new(), Map::new());
        for (name, value) in &self.inputs {
            if reads.has(name) {
                all.insert(name.clone(), value.clone());
            }
            if reads.has_within("inputs", name) {
                named.insert(name.clone(), value.clone());
            }
        }
        if !named.is_empty() || reads.has("inputs") {
            all.insert("inputs".to_owned(), Value::Object(named));
        }
        if !outputs.is_empty() {
            all.insert("steps".to_owned(), Value::Object(outputs));
        }
        all.into()
    }

    async fn once(&self, index: usize, vars: Vars) -> Result<Ended> {
        let step = &self.plan.steps[index];
        let cx = self.quiet.fork(step.branch).holding_prompts();
        let _held = self.hold(step, of_vars(&vars))?;
        let _prompts = self.memory.prompts_of(cx.branch_id());
        if !is_enabled(step, &vars, &cx).await? {
            return Ok(Ended::Item(Item::Value(Value::Null)));
        }
        let cx = cx.begin(&step.name).await;
        let output = self.work(index, vars, &cx).await;
        cx.end(&step.name, output, |_| None).await
    }

    async fn work(&self, index: usize, vars: Vars, cx: &Context) -> Result<Ended> {
        let step = &self.plan.steps[index];
        let outcome = &self.outcomes[index];
        match &step.action {
            PlannedAction::Vars { chain, is_text: true } if step.is_in_text && self.streams_text => {
                let mut run = chain.stream_in(vars, cx);
                while let Some(delta) = run.next().await {
                    if let Some(text) = delta?.as_text() {
                        // The text grows by doubling.
                        self.kept.add(2 * text.len() as u64)?;
                        outcome.push_text(text);
                    }
                }
                run.output().await.map(Ended::Item)
            }
            PlannedAction::Items { items, .. }
                if step.has_item_readers || (step.is_in_text && self.streams_text) =>
            {
                let mut items = items.stream_in(vars, cx);
                while let Some(item) = items.next().await {
                    let item = item?;
                    self.kept.add(of_item(&item))?;
                    outcome.push(item);
                }
                Ok(Ended::Pushed)
            }
            _ => self.whole(step, vars, None, cx).await.map(Ended::Item),
        }
    }

    /// Runs the work of a step or of one item of its fan-out, and returns its whole output.
    async fn whole(
        &self,
        step: &PlannedStep,
        vars: Vars,
        item: Option<(usize, Item)>,
        cx: &Context,
    ) -> Result<Item> {
        match &step.action {
            PlannedAction::Template(template) => template.render_output(&vars, cx).await.map(Item::Text),
            PlannedAction::Vars { chain, .. } | PlannedAction::Items { whole: chain, .. } => {
                chain.run(vars, cx).await
            }
            PlannedAction::Of(operand, chain) => {
                let (value, origin) = self.operand(operand, item).await?;
                chain.run(value, cx).await.map_err(|error| explain_mismatch(error, &origin))
            }
        }
    }

    /// The value that a step over one value reads, and where it is from, for messages.
    async fn operand(&self, operand: &Operand, item: Option<(usize, Item)>) -> Result<(Item, String)> {
        let (number, item) = item.map_or((0, None), |(number, item)| (number, Some(item)));
        Ok(match operand {
            Operand::Source(source) => {
                let origin = match source {
                    Source::Step(step, _) => format!("step `{}` returned", self.plan.steps[*step].name),
                    Source::Input(name, _) => format!("the input `{name}` is"),
                };
                (self.value(source).await?.unwrap_or(Item::Value(Value::Null)), origin)
            }
            Operand::Item(words) => {
                let item = item.expect("only the steps of a fan-out read an item");
                (field(&item, words).unwrap_or(Item::Value(Value::Null)), "the item is".to_owned())
            }
            Operand::Index => (Item::Value(number.into()), "the number is".to_owned()),
        })
    }

    /// The value of a source once it is there. `None` if there is no such field, or its step was skipped.
    async fn value(&self, source: &Source) -> Result<Option<Item>> {
        Ok(match source {
            Source::Step(step, words) => match self.outcomes[*step].ended().await {
                End::Done(item) if words.is_empty() => Some(Item::clone(&item)),
                End::Done(item) => field(&item, words),
                End::Skipped => None,
            },
            Source::Input(name, words) => match self.inputs.get(&**name) {
                Some(value) => {
                    let value = words.iter().try_fold(value, |value, word| value.get(word));
                    value.cloned().map(Item::Value)
                }
                // `inputs` itself.
                None => Some(Item::Value(Value::Object(self.inputs.clone()))),
            },
        })
    }

    /// Runs the step for every item of its source as soon as the item arrives. The output keeps the source's
    /// order. The first item that fails ends the step, also while items before it run.
    async fn each(&self, index: usize, source: &Source, vars: Vars) -> Result<Ended> {
        let step = &self.plan.steps[index];
        let base = &Base { bytes: of_vars(&vars), vars, failure: Mutex::default() };
        let _held = self.hold(step, base.bytes)?;
        let window = self.plan.concurrency.map_or(WINDOW, std::num::NonZeroUsize::get);
        let one = |item| self.one_of_many(step, base, item);
        let mut items = read_ahead(self.items(step, source), window, one).boxed();
        let mut results = stream::poll_fn(|task| {
            // Runs the items, which report their failures.
            let polled = items.poll_next_unpin(task);
            match base.take_failure() {
                Some(error) => Poll::Ready(Some(Err(error))),
                None => polled.map(|output| output.map(Ok)),
            }
        });
        let outcome = &self.outcomes[index];
        while let Some(result) = results.next().await {
            if let Some(item) = result? {
                outcome.push(item);
            }
        }
        if let Source::Step(source, _) = source
            && self.outcomes[*source].ended().await == End::Skipped
        {
            return Ok(Ended::Skipped);
        }
        Ok(Ended::Pushed)
    }

    /// The items of a list, each as soon as it is there.
    fn items<'a>(&'a self, step: &'a PlannedStep, source: &'a Source) -> BoxStream<'a, Numbered> {
        let begin = Items { run: self, source, index: 0, whole: None };
        stream::unfold(begin, move |mut items| async move {
            // Items without a call never yield: without this they would starve other tasks, such as the
            // handler of Ctrl-C.
            tokio::task::consume_budget().await;
            let item = items.next().await.transpose()?;
            items.index += 1;
            let held = item.and_then(|item| {
                let held = self.memory.hold(of_item(&item));
                Ok((items.index, item, held.map_err(|error| error.with_step(step.name.clone()))?))
            });
            Some((held, items))
        })
        .boxed()
    }

    /// Runs one item of a fan-out. `None` if the item is skipped, or if it has failed.
    fn one_of_many<'a>(
        &'a self,
        step: &'a PlannedStep,
        base: &'a Base,
        item: Numbered,
    ) -> BoxFuture<'a, Option<Item>> {
        Box::pin(async move {
            let (number, item, _held) = item.map_err(|error| base.fail(error)).ok()?;
            let output = self.one_item(step, base, number, item).await;
            match (output, step.on_error) {
                (Ok(value), _) => return value,
                (Err(error), OnError::Fail) => base.fail(error.with_step(format!("item {number}"))),
                (Err(error), _) if error.kind() == ErrorKind::Cancelled => base.fail(error),
                (Err(_), OnError::Skip) => {}
                (Err(_), OnError::Null) => return Some(Item::Value(Value::Null)),
            }
            None
        })
    }

    async fn one_item(
        &self,
        step: &PlannedStep,
        base: &Base,
        number: usize,
        item: Item,
    ) -> Result<Option<Item>> {
        let _held = self.hold(step, base.bytes.saturating_add(of_item(&item)))?;
        let mut vars = base.vars.clone();
        if step.reads.has("item")
            && let Some(value) = variable_of(&item, &step.reads, || "item".to_owned())?
        {
            vars.insert("item", value);
        }
        if step.reads.has("index") {
            vars.insert("index", number);
        }
        let cx = self.quiet.fork(step.branch).fork(number as u64).holding_prompts();
        let prompts = self.memory.prompts_of(cx.branch_id());
        if !is_enabled(step, &vars, &cx).await? {
            return Ok(None);
        }
        let cx = cx.begin(&step.name).await;
        let output = self.whole(step, vars, Some((number, item)), &cx).await;
        drop(prompts);
        // Counted here: it may have to wait for the items before it.
        let output = output.and_then(|output| self.kept.add(of_item(&output)).map(|()| output));
        cx.end(&step.name, output, |_| None).await.map(Some)
    }

    /// Emits the text of the output while its parts arrive.
    async fn send_deltas(&self, cx: &Context) -> Result<()> {
        let Some(segments) = self.plan.segments.as_ref().filter(|_| self.streams_text) else {
            return Ok(());
        };
        for segment in segments {
            match segment {
                Segment::Literal(text) if text.is_empty() => {}
                Segment::Literal(text) => cx.delta(Delta::text(text.as_str())).await,
                Segment::Output { step, template } => {
                    let mut sent = 0;
                    while let Some(more) = self.outcomes[*step].more_text(sent).await {
                        sent += more.len();
                        send(cx, more).await;
                    }
                    self.rest(template, sent, cx).await?;
                }
                Segment::Joined { step, separator, template } => {
                    let source = Source::Step(*step, Vec::new());
                    let mut items = Items { run: self, source: &source, index: 0, whole: None };
                    let mut sent = 0;
                    // Anything else than a list of texts is left to the template.
                    while let Ok(Some(item)) = items.next().await {
                        let Ok(Value::String(item)) = variable(&item) else { break };
                        let text = if items.index == 0 { item } else { format!("{separator}{item}") };
                        sent += text.len();
                        items.index += 1;
                        send(cx, text).await;
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
        let reads = Reads::paths(template.paths());
        for (index, step) in self.plan.steps.iter().enumerate() {
            if reads.has(&format!("steps.{}", step.name)) {
                match self.outcomes[index].ended().await {
                    End::Done(item) => self.add_output(&reads, index, &item, &mut outputs)?,
                    // Then the dag is skipped as well, and there is no more text.
                    End::Skipped => return Ok(()),
                }
            }
        }
        let vars = self.variables(&reads, outputs);
        let _held = self.memory.hold(COPIES * of_vars(&vars))?;
        let text = template.render_async(&vars).await?;
        if let Some(rest) = text.get(sent..).filter(|rest| !rest.is_empty()) {
            send(cx, rest.to_owned()).await;
        }
        Ok(())
    }
}

/// State that all items of a fan-out share.
struct Base {
    /// Their variables.
    vars: Vars,
    bytes: u64,
    /// The failure that ends the step.
    failure: Mutex<Option<Error>>,
}

impl Base {
    fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn take_failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Emits a text. Waits for the reader after a long one.
async fn send(cx: &Context, text: String) {
    let is_long = text.len() > LONG_DELTA;
    cx.delta(Delta::text(text)).await;
    if is_long {
        tokio::task::yield_now().await;
    }
}

/// The list of a fan-out while it is read.
struct Items<'a> {
    run: &'a DagRun<'a>,
    source: &'a Source,
    /// The next item.
    index: usize,
    /// The list, once it is complete.
    whole: Option<Arc<Item>>,
}

impl Items<'_> {
    /// Waits for the next item while the source is still running.
    async fn next(&mut self) -> Result<Option<Item>> {
        let (run, index) = (self.run, self.index);
        if self.whole.is_none() {
            if let Source::Step(step, words) = self.source
                && words.is_empty()
            {
                if let Some(item) = run.outcomes[*step].item(index).await {
                    return Ok(Some(item));
                }
                let End::Done(item) = run.outcomes[*step].ended().await else { return Ok(None) };
                self.whole = Some(item);
            } else {
                let Some(item) = run.value(self.source).await? else { return self.no_list() };
                run.kept.add(of_item(&item))?;
                self.whole = Some(Arc::new(item));
            }
        }
        match self.whole.as_deref() {
            Some(Item::List(items)) => Ok(items.get(index).cloned()),
            Some(Item::Value(Value::Array(items))) => Ok(items.get(index).cloned().map(Item::Value)),
            Some(Item::Value(Value::Null)) => Ok(None),
            _ => self.no_list(),
        }
    }

    fn no_list(&self) -> Result<Option<Item>> {
        let (first, words) = match self.source {
            Source::Step(step, words) => (&self.run.plan.steps[*step].name, words),
            Source::Input(name, words) => (name, words),
        };
        let path = std::iter::once(&**first).chain(words.iter().map(String::as_str));
        let path = path.collect::<Vec<_>>().join(".");
        Err(Error::new(ErrorKind::Input, format!("`for_each` needs a list, but `{path}` is not one")))
    }
}

/// Returns true if the step has no condition or its condition is true.
async fn is_enabled(step: &PlannedStep, vars: &Vars, cx: &Context) -> Result<bool> {
    match &step.when {
        Some(condition) => {
            let enabled = condition.run(vars.clone(), cx).await;
            enabled.map_err(|error| error.with_step(step.name.clone()))
        }
        None => Ok(true),
    }
}

/// The variable `name` of a step that reads it. `None` if the item has no form as a variable, and the step
/// does not name it.
///
/// # Errors
/// [`ErrorKind::Input`] if the step names it.
fn variable_of(item: &Item, reads: &Reads, name: impl FnOnce() -> String) -> Result<Option<Value>> {
    match variable(item) {
        Ok(value) => Ok(Some(value)),
        Err(_) if matches!(reads, Reads::All) => Ok(None),
        Err(error) => {
            let message = format!("`{}` cannot be a variable: {}", name(), error.message());
            Err(error.with_message(message))
        }
    }
}

/// An item as a variable of a template: a message is its text.
///
/// # Errors
/// [`ErrorKind::Input`] if it is or contains a foreign value.
fn variable(item: &Item) -> Result<Value> {
    match item {
        Item::Message(message) => Ok(Value::String(message.text())),
        Item::List(items) => items.iter().map(variable).collect(),
        other => other.to_value(),
    }
}

/// The field of an item at a path.
fn field(item: &Item, words: &[String]) -> Option<Item> {
    if words.is_empty() {
        return Some(item.clone());
    }
    let value = item.to_value().ok()?;
    words.iter().try_fold(&value, |value, word| value.get(word)).cloned().map(Item::Value)
}
