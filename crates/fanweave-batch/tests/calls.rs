//! Answered calls of rows of several calls: journalled, and not paid for a second time.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanweave_batch::{BatchJob, Costs, JournalExt, Output, Render, RunRecord, Settings, Source, Summary};
use fanweave_core::model::fake::{Answer, Fake};
use fanweave_core::{
    Chain, ChatModel, Context, Error, ErrorKind, Message, Model, Prompt, Reply, Tools, Usage, chain,
    parallel, step,
};
use fanweave_models::Spread;
use support::TempRun;
use tokio::sync::Semaphore;

/// Echoes prompts with a prefix, counts the calls of each, and fails or waits for some.
#[derive(Clone, Default)]
struct Echo(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    calls: BTreeMap<String, usize>,
    /// Errors of prompts that begin so, each once.
    errors: HashMap<&'static str, Vec<Error>>,
    /// Prompts that begin so take a permit.
    gates: HashMap<&'static str, Arc<Semaphore>>,
}

impl ChatModel for Echo {
    fn name(&self) -> &str {
        "test/echo"
    }

    async fn generate(&self, prompt: Prompt, _: &Context) -> fanweave_core::Result<Message> {
        let text = prompt.last_user_text();
        let gate = {
            let mut state = self.0.lock().unwrap();
            *state.calls.entry(text.clone()).or_default() += 1;
            let errors = state.errors.iter_mut().find(|(prefix, _)| text.starts_with(**prefix));
            if let Some(error) = errors.and_then(|(_, errors)| errors.pop()) {
                return Err(error);
            }
            state.gates.iter().find(|(prefix, _)| text.starts_with(**prefix)).map(|(_, gate)| gate.clone())
        };
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        let number = self.calls(&text);
        let mut message = Message::assistant(format!("({text} {number})"));
        let usage = Usage::new(0, 1);
        message.reply = Some(Box::new(Reply::new().usage(usage).attempts(1)));
        Ok(message)
    }
}

impl Echo {
    fn calls(&self, prompt: &str) -> usize {
        self.0.lock().unwrap().calls.get(prompt).copied().unwrap_or_default()
    }

    /// Number of calls whose prompts begin so.
    fn calls_of(&self, prefix: &str) -> usize {
        let state = self.0.lock().unwrap();
        state.calls.iter().filter(|(text, _)| text.starts_with(prefix)).map(|(_, calls)| calls).sum()
    }

    /// Calls itself with the answer before, under another prefix.
    fn then(&self, prefix: &'static str) -> Chain<Message, Message> {
        step(move |answer: Message, _| async move { Ok(Prompt::from(format!("{prefix}{}", answer.text()))) })
            | Model::new(self.clone())
    }

    /// Three calls.
    fn three(&self) -> Chain<Prompt, Message> {
        chain(Model::new(self.clone())) | self.then("b") | self.then("c")
    }
}

fn job(dir: &TempRun, rows: usize, chain: Chain<Prompt, Message>) -> BatchJob<Prompt, Message> {
    let source = Source::rows("rows", (0..rows).map(|n| format!("a{n}")));
    let settings = Settings::new().concurrency(4).hedge(false);
    // A cent for each token.
    let costs = Costs::new(|_, usage: &Usage| Some(usage.output_tokens as f64 * 0.01));
    BatchJob::new(source, Render::default(), chain, Output::File(dir.path("out.jsonl")))
        .settings(settings)
        .costs(costs)
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Runs a job until a condition holds, and drops it.
async fn cut(job: BatchJob<Prompt, Message>, holds: impl Fn() -> bool) {
    tokio::select! {
        done = job.run() => panic!("{done:?}"),
        () = until(holds) => {}
    }
}

fn call_lines(path: &Path) -> usize {
    let journal = std::fs::read_to_string(path.with_extension("jsonl.journal")).unwrap();
    journal.lines().filter(|line| line.contains(r#"","call":"#)).count()
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

/// Runs four rows up to their third calls, which are not answered.
async fn cut_before_the_third_call(dir: &TempRun, echo: &Echo) {
    echo.0.lock().unwrap().gates.insert("c", Arc::new(Semaphore::new(0)));
    cut(job(dir, 4, echo.three()), || echo.calls_of("c") == 4).await;
    echo.0.lock().unwrap().gates.clear();
}

#[tokio::test]
async fn a_row_that_was_cut_resumes_from_its_answered_calls() {
    let (dir, echo) = (TempRun::new(), Echo::default());
    cut_before_the_third_call(&dir, &echo).await;
    assert_eq!(call_lines(&dir.path("out.jsonl")), 8);
    let summary = job(&dir, 6, echo.three()).run().await.unwrap();
    assert_eq!((summary.ok, summary.resumed), (6, 0));
    for n in 0..6 {
        assert_eq!(echo.calls(&format!("a{n}")), 1, "row {n}");
    }
    assert_eq!((echo.calls_of("b"), echo.calls_of("c")), (6, 10));
    let output = dir.read("out.jsonl");
    assert!(output.starts_with(r#"{"index":0,"answer":"(c(b(a0 1) 1) 2)""#), "{output}");
}

#[tokio::test]
async fn costs_and_tokens_are_those_of_all_runs_and_the_summary_has_those_of_this_one() {
    let (dir, echo) = (TempRun::new(), Echo::default());
    cut_before_the_third_call(&dir, &echo).await;
    let earlier = Arc::new(Mutex::new(0.0));
    let seen = earlier.clone();
    let costs = Costs::new(|_, usage: &Usage| Some(usage.output_tokens as f64 * 0.01));
    // Twelve calls cost twelve cents, eight of them in the first run.
    let costs = costs.cap(0.13, 0.01).on_earlier_cost(move |usd| *seen.lock().unwrap() = usd);
    let summary = job(&dir, 4, echo.three()).costs(costs).run().await.unwrap();
    assert!(close(*earlier.lock().unwrap(), 0.08), "{earlier:?}");
    assert!(close(summary.cost_usd.unwrap(), 0.04) && !summary.over_budget, "{summary:?}");
    assert_eq!((summary.usage.output_tokens, summary.ok), (4, 4));
    let run = RunRecord::open(dir.path("out.jsonl"), 80).unwrap();
    assert_eq!(run.notes, [""; 0]);
    for row in run.rows {
        assert!(close(row.cost_usd.unwrap(), 0.03), "{row:?}");
        assert_eq!((row.usage.output_tokens, row.attempts), (3, 1));
    }
    // The rows have ended, so their calls count no more.
    let last = Arc::new(Mutex::new(0.0));
    let seen = last.clone();
    let costs = Costs::default().on_earlier_cost(move |usd| *seen.lock().unwrap() = usd);
    job(&dir, 4, echo.three()).costs(costs).run().await.unwrap();
    assert!(close(*last.lock().unwrap(), 0.12), "{last:?}");
}

#[tokio::test]
async fn a_chain_of_one_call_has_no_call_lines() {
    let (dir, echo) = (TempRun::new(), Echo::default());
    job(&dir, 6, chain(Model::new(echo.clone()))).run().await.unwrap();
    assert_eq!(call_lines(&dir.path("out.jsonl")), 0);
}

#[tokio::test]
async fn calls_of_fakes_and_agents_are_journalled_from_the_first_row_on() {
    let to_prompt = step(|answer: Message, _| async move { Ok(Prompt::from(answer.text())) });
    let two = chain(Fake::echo()) | to_prompt | Fake::echo();
    // Each answers the first call with a tool call.
    let look = Fake::answer_with(|prompt| match prompt.messages.len() {
        1 => Answer::calls([("look", serde_json::json!({}))]),
        _ => Answer::text("seen"),
    });
    let agent = look.model().with_tools(Tools::new()).run_tools(3);
    for chain in [two, chain(agent)] {
        let dir = TempRun::new();
        let settings = Settings::new().concurrency(1);
        job(&dir, 3, chain).settings(settings).run().await.unwrap();
        assert_eq!(call_lines(&dir.path("out.jsonl")), 6);
    }
}

#[tokio::test]
async fn a_chain_that_hides_its_calls_is_recognised_by_its_first_row() {
    let (dir, echo) = (TempRun::new(), Echo::default());
    let inner = echo.three();
    let hidden = step(move |prompt: Prompt, cx: Context| {
        let inner = inner.clone();
        async move { inner.invoke_in(prompt, &cx).await }
    });
    job(&dir, 20, hidden).run().await.unwrap();
    let lines = call_lines(&dir.path("out.jsonl"));
    assert!((3..60).contains(&lines), "{lines} lines; those of the first rows are missing");
}

#[tokio::test]
async fn a_row_that_failed_for_want_of_an_answer_keeps_the_answers_before() {
    for (error, calls) in [
        (Error::new(ErrorKind::Server, "overloaded").with_status(500), [1, 1, 2]),
        // With the same answers, it would fail in the same way.
        (Error::new(ErrorKind::ContextLength, "too long").with_status(400), [2, 2, 2]),
    ] {
        let (dir, echo) = (TempRun::new(), Echo::default());
        echo.0.lock().unwrap().errors.insert("c", vec![error]);
        let first = job(&dir, 1, echo.three()).run().await.unwrap();
        assert_eq!(first.failed, 1);
        let settings = Settings::new().retry_failed(true);
        let second = job(&dir, 1, echo.three()).settings(settings).run().await.unwrap();
        assert_eq!(second.ok, 1);
        assert_eq!([echo.calls_of("a"), echo.calls_of("b"), echo.calls_of("c")], calls);
        let cents: usize = calls.iter().sum::<usize>() - 1;
        let costs = Arc::new(Mutex::new(0.0));
        let seen = costs.clone();
        let earlier = Costs::default().on_earlier_cost(move |usd| *seen.lock().unwrap() = usd);
        job(&dir, 1, echo.three()).costs(earlier).run().await.unwrap();
        assert!(close(*costs.lock().unwrap(), cents as f64 * 0.01), "{costs:?}, {cents} cents");
    }
}

#[tokio::test]
async fn a_changed_step_is_called_and_the_steps_before_it_are_not() {
    let (dir, echo) = (TempRun::new(), Echo::default());
    cut_before_the_third_call(&dir, &echo).await;
    let edited = chain(Model::new(echo.clone())) | echo.then("changed") | echo.then("c");
    let summary = job(&dir, 4, edited).run().await.unwrap();
    assert_eq!(summary.ok, 4);
    assert_eq!((echo.calls_of("a"), echo.calls_of("changed")), (4, 4));
}

#[tokio::test]
async fn equal_calls_of_a_row_keep_their_own_answers() {
    let (dir, echo) = (TempRun::new(), Echo::default());
    let ask = || chain(Model::new(echo.clone()));
    let both = |last: Chain<Message, Message>| {
        parallel((ask(), ask()))
            .map(|(one, two): (Message, Message)| Message::assistant(format!("{}{}", one.text(), two.text())))
            | last
    };
    echo.0.lock().unwrap().gates.insert("c", Arc::new(Semaphore::new(0)));
    cut(job(&dir, 1, both(echo.then("c"))), || echo.calls_of("c") == 1).await;
    echo.0.lock().unwrap().gates.clear();
    let prompt = echo.0.lock().unwrap().calls.keys().find(|text| text.starts_with('c')).cloned().unwrap();
    job(&dir, 1, both(echo.then("c"))).run().await.unwrap();
    assert_eq!((echo.calls("a0"), echo.calls(&prompt)), (2, 2), "{:?}", echo.0.lock().unwrap().calls);
}

#[tokio::test]
async fn calls_that_a_step_makes_at_once_keep_their_own_answers() {
    let (dir, echo) = (TempRun::new(), Echo::default());
    let at_once = || {
        let model = Model::new(echo.clone());
        let both = step(move |prompt: Prompt, cx: Context| {
            let model = chain(model.clone());
            async move {
                let ask = |name: &str| Prompt::from(format!("{name}{}", prompt.last_user_text()));
                let (one, two) =
                    futures::join!(model.invoke_in(ask("one "), &cx), model.invoke_in(ask("two "), &cx));
                Ok(Message::assistant(format!("{}, {}", one?.text(), two?.text())))
            }
        });
        chain(Model::new(echo.clone())).map(|answer: Message| Prompt::from(answer.text()))
            | both
            | echo.then("c")
    };
    // The second call of each row is answered first.
    let first = Arc::new(Semaphore::new(0));
    echo.0.lock().unwrap().gates.extend([("one", first.clone()), ("c", Arc::new(Semaphore::new(0)))]);
    let opens = async {
        until(|| echo.calls_of("two") == 1).await;
        first.add_permits(1);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = cut(job(&dir, 1, at_once()), || echo.calls_of("c") == 1) => {}
        () = opens => {}
    }
    echo.0.lock().unwrap().gates.clear();
    job(&dir, 1, at_once()).run().await.unwrap();
    assert_eq!((echo.calls_of("one"), echo.calls_of("two"), echo.calls_of("c")), (1, 1, 2));
    let output = dir.read("out.jsonl");
    let answer = r#""answer":"(c(one (a0 1) 1), (two (a0 1) 1) 2)""#;
    assert!(output.contains(answer), "{output}");
}

#[tokio::test]
async fn a_requeued_row_pays_for_no_answered_call() {
    let (dir, echo) = (TempRun::new(), Echo::default());
    let cut = Error::new(ErrorKind::StreamIncomplete, "cut").with_partial(Message::assistant("half"));
    echo.0.lock().unwrap().errors.insert("c", vec![cut.with_retryable(true)]);
    let summary = job(&dir, 1, echo.three()).run().await.unwrap();
    assert_eq!((summary.ok, echo.calls_of("a"), echo.calls_of("b"), echo.calls_of("c")), (1, 1, 1, 2));
    assert!(close(summary.cost_usd.unwrap(), 0.03), "{summary:?}");
}

#[tokio::test]
async fn starting_over_forgets_the_answers() {
    let (dir, echo) = (TempRun::new(), Echo::default());
    cut_before_the_third_call(&dir, &echo).await;
    let settings = Settings::new().fresh(true);
    let summary: Summary = job(&dir, 4, echo.three()).settings(settings).run().await.unwrap();
    assert_eq!((summary.ok, echo.calls_of("a")), (4, 8));
}

#[tokio::test]
async fn a_batch_from_memory_with_a_journal_pays_for_no_answered_call_either() {
    let (dir, echo) = (TempRun::new(), Echo::default());
    let journal = dir.path("rows.journal");
    let error = Error::new(ErrorKind::Server, "overloaded").with_status(500);
    echo.0.lock().unwrap().errors.insert("c", vec![error]);
    let run = async |chain: Chain<Prompt, Message>| {
        let costs = Costs::new(|_, usage: &Usage| Some(usage.output_tokens as f64 * 0.01));
        let text = chain.map(|answer: Message| answer.text());
        text.journal(&journal).costs(costs).batch(["a0", "a1"]).unwrap().collect().await
    };
    let first = run(echo.three()).await;
    assert_eq!(first.iter().filter(|row| row.is_err()).count(), 1);
    let second = run(echo.three()).await;
    assert!(second.iter().all(Result::is_ok), "{second:?}");
    assert_eq!((echo.calls_of("a"), echo.calls_of("b"), echo.calls_of("c")), (2, 2, 3));
    let run = RunRecord::open(&journal, 80).unwrap();
    for row in run.rows {
        assert!(close(row.cost_usd.unwrap(), 0.03) && row.calls.len() <= 3 && row.began.is_some(), "{row:?}");
    }
}

/// One of several providers that answer alike.
struct Provider(&'static str, Echo);

impl ChatModel for Provider {
    fn name(&self) -> &str {
        self.0
    }

    async fn generate(&self, prompt: Prompt, cx: &Context) -> fanweave_core::Result<Message> {
        self.1.generate(prompt, cx).await
    }
}

#[tokio::test]
async fn a_resumed_row_pays_for_no_answered_call_on_another_lane() {
    let (dir, echo) = (TempRun::new(), Echo::default());
    let spread = || {
        let lanes = ["one/x", "two/x", "three/x"].map(|name| Model::new(Provider(name, echo.clone())));
        Spread::new(lanes).chain().unwrap()
    };
    let three = |first: Chain<Prompt, Message>| first | echo.then("b") | echo.then("c");
    echo.0.lock().unwrap().gates.insert("c", Arc::new(Semaphore::new(0)));
    cut(job(&dir, 4, three(spread())), || echo.calls_of("c") == 4).await;
    echo.0.lock().unwrap().gates.clear();
    assert_eq!((echo.calls_of("a"), call_lines(&dir.path("out.jsonl"))), (4, 8));
    // The next call of the spread is its second: without the journal, each row would change its lane.
    let shifted = spread();
    shifted.invoke("another").await.unwrap();
    let summary = job(&dir, 6, three(shifted)).run().await.unwrap();
    assert_eq!(summary.ok, 6);
    for n in 0..6 {
        assert_eq!(echo.calls(&format!("a{n}")), 1, "row {n}");
    }
    assert_eq!(echo.calls_of("b"), 6);
}
