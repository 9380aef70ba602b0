//! Rows through a provider's batch API: every row has one result, and no part is submitted twice, whenever
//! the run is killed.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use fanweave_batch::{BatchApi, BatchJob, BatchLimits, BatchState, ErrorKind, Settings, Summary};
use fanweave_core::{Error, ErrorKind as RowErrorKind, Message, Prompt, Reply, Result, Usage};
use support::{Rows, TempRun, job, text_rows};
use tokio::sync::Notify;

const ROWS: u64 = 10;

/// A provider in memory. It outlives the runs that use it.
#[derive(Default)]
struct Provider {
    /// Requests by tag, in order of submission.
    batches: Vec<(String, Vec<(String, String)>)>,
    polls: BTreeMap<String, u32>,
    /// Batches that it rejects after submission.
    rejected: Vec<String>,
    /// Rejects batches with this request on submission.
    taboo: Option<String>,
    /// Batches that it no longer has.
    gone: Vec<String>,
    /// Batches whose results it no longer has.
    emptied: Vec<String>,
    /// Responds 404 to everything: the base URL is not that of a batch API.
    is_elsewhere: bool,
    /// Number of polls and collections that fail, from now on.
    outage: u32,
    /// Number of requests so far.
    steps: u64,
    /// Temperatures of the lines.
    temperatures: Vec<Option<f64>>,
}

impl Provider {
    fn is_up(&mut self) -> Result<()> {
        if self.outage == 0 {
            return Ok(());
        }
        self.outage -= 1;
        Err(Error::new(RowErrorKind::Server, "unavailable").with_status(503))
    }
}

fn not_found() -> Error {
    Error::new(RowErrorKind::NotFound, "not found").with_status(404)
}

/// A client that may hang, to observe a run killed at this point.
#[derive(Clone, Default)]
struct Api {
    provider: Arc<Mutex<Provider>>,
    /// Hangs at this step, before or after its effect.
    hang: Option<(u64, bool)>,
    hangs: Arc<Notify>,
}

impl Api {
    fn temperatures(&self) -> Vec<Option<f64>> {
        self.provider.lock().unwrap().temperatures.clone()
    }

    async fn hang(&self) {
        self.hangs.notify_one();
        std::future::pending::<()>().await;
    }

    async fn step<T>(&self, effect: impl FnOnce(&mut Provider) -> T + Send) -> T
    where
        T: Send,
    {
        let step = {
            let mut provider = self.provider.lock().unwrap();
            provider.steps += 1;
            provider.steps - 1
        };
        if self.hang == Some((step, false)) {
            self.hang().await;
        }
        let done = effect(&mut self.provider.lock().unwrap());
        if self.hang == Some((step, true)) {
            self.hang().await;
        }
        done
    }
}

impl BatchApi for Api {
    fn model(&self) -> &str {
        "test/batch"
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits { requests: 4, bytes: 1 << 20 }
    }

    fn line(&self, id: &str, prompt: Prompt) -> Result<Vec<u8>> {
        self.provider.lock().unwrap().temperatures.push(prompt.parameters.temperature);
        match prompt.last_user_text() {
            text if text == "row 7" => Err(Error::new(RowErrorKind::Input, "seven is not valid")),
            text => Ok(format!("{id} {text}").into_bytes()),
        }
    }

    async fn submit(&self, tag: &str, lines: Vec<Vec<u8>>) -> Result<String> {
        let read = |line: Vec<u8>| {
            let line = String::from_utf8(line).unwrap();
            line.split_once(' ').map(|(id, text)| (id.to_owned(), text.to_owned())).unwrap()
        };
        let (tag, requests) = (tag.to_owned(), lines.into_iter().map(read).collect());
        let requests: Vec<(String, String)> = requests;
        let submit = |provider: &mut Provider| {
            if requests.iter().any(|(_, text)| Some(text) == provider.taboo.as_ref()) {
                return Err(Error::new(RowErrorKind::BadRequest, "one row is invalid").with_status(400));
            }
            provider.batches.push((tag, requests));
            Ok(format!("batch_{}", provider.batches.len() - 1))
        };
        self.step(submit).await
    }

    async fn find(&self, tag: &str, _: usize) -> Result<Option<String>> {
        let find = |provider: &mut Provider| {
            if provider.is_elsewhere {
                return Err(not_found());
            }
            let at = provider.batches.iter().position(|(of, _)| of == tag);
            Ok(at.map(|at| format!("batch_{at}")).filter(|batch| !provider.gone.contains(batch)))
        };
        self.step(find).await
    }

    async fn poll(&self, batch: &str) -> Result<BatchState> {
        let poll = |provider: &mut Provider| {
            provider.is_up()?;
            if provider.is_elsewhere || provider.gone.contains(&batch.to_owned()) {
                return Err(not_found());
            }
            let polls = provider.polls.entry(batch.to_owned()).or_default();
            *polls += 1;
            if provider.rejected.contains(&batch.to_owned()) {
                return Ok(BatchState::Failed("too many tokens are enqueued".to_owned()));
            }
            Ok(if *polls < 3 { BatchState::Running } else { BatchState::Ended })
        };
        self.step(poll).await
    }

    async fn collect(&self, batch: &str) -> Result<Vec<(String, Result<Message>)>> {
        let at: usize = batch.trim_start_matches("batch_").parse().unwrap();
        let collect = |provider: &mut Provider| {
            provider.is_up()?;
            if provider.emptied.contains(&batch.to_owned()) {
                return Err(not_found());
            }
            // In reverse order; one row is rejected, and one has no result.
            let requests = provider.batches[at].1.iter().rev().filter(|(_, text)| text != "row 2");
            let result = |(id, text): &(String, String)| {
                let result = match text.as_str() {
                    "row 5" => Err(Error::new(RowErrorKind::BadRequest, "five is rejected").with_status(400)),
                    text => {
                        let mut message = Message::assistant(text.replace("row", "answer"));
                        let usage = Usage::new(3, 2);
                        message.reply = Some(Box::new(Reply::new().usage(usage)));
                        Ok(message)
                    }
                };
                (id.clone(), result)
            };
            Ok(requests.map(result).collect())
        };
        self.step(collect).await
    }
}

fn via(dir: &TempRun) -> BatchJob<Prompt, Message> {
    let input = dir.write("in.txt", text_rows(ROWS));
    job(&input, &dir.path("out.jsonl"), Rows::new(1, 0))
}

/// A run that is killed once it hangs.
fn killed_when_it_hangs(dir: &TempRun, api: &Api) -> Option<Summary> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        tokio::select! {
            ended = via(dir).run_via(api) => Some(ended.unwrap()),
            () = api.hangs.notified() => None,
        }
    })
}

fn assert_complete(dir: &TempRun, case: &str) {
    let text = dir.read("out.jsonl");
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len() as u64, ROWS, "{case}");
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row["index"], i, "{case}");
        match i {
            2 => assert_eq!(row["error"]["kind"], "server", "{case}: {row}"),
            5 => assert_eq!(row["error"]["kind"], "bad_request", "{case}: {row}"),
            7 => assert_eq!(row["error"]["kind"], "input", "{case}: {row}"),
            i => assert_eq!(row["answer"], format!("answer {i}"), "{case}"),
        }
    }
}

#[test]
fn rows_go_in_parts_and_come_back_in_order_with_their_failures() {
    let (dir, api) = (TempRun::new(), Api::default());
    let summary = killed_when_it_hangs(&dir, &api).unwrap();
    assert_eq!((summary.ok, summary.failed, summary.left), (7, 3, Some(0)));
    let usage = Usage::new(21, 14);
    assert_eq!(summary.usage, usage, "those of the seven answers");
    assert_complete(&dir, "undisturbed");
    let parts: Vec<_> = api.provider.lock().unwrap().batches.iter().map(|(_, part)| part.len()).collect();
    assert_eq!(parts, [4, 4, 1]);
    assert!(killed_when_it_hangs(&dir, &api).unwrap().nothing_to_do());
}

#[test]
fn a_run_killed_at_any_step_resumes_and_submits_nothing_twice() {
    let undisturbed = Api::default();
    killed_when_it_hangs(&TempRun::new(), &undisturbed).unwrap();
    let steps = undisturbed.provider.lock().unwrap().steps;
    assert!(steps > 12, "three parts are submitted, polled three times each and collected");
    for step in 0..steps {
        for after in [false, true] {
            let case = format!("killed {} step {step}", if after { "after" } else { "before" });
            let dir = TempRun::new();
            let api = Api { hang: Some((step, after)), ..Api::default() };
            assert!(killed_when_it_hangs(&dir, &api).is_none(), "{case}: it ended");
            let resumed = Api { hang: None, ..api };
            assert!(killed_when_it_hangs(&dir, &resumed).is_some(), "{case}: it did not resume");
            assert_complete(&dir, &case);
            let provider = resumed.provider.lock().unwrap();
            let mut submitted: Vec<_> = provider.batches.iter().flat_map(|(_, part)| part).collect();
            submitted.sort();
            submitted.dedup();
            let all: usize = provider.batches.iter().map(|(_, part)| part.len()).sum();
            assert_eq!((submitted.len(), all), (9, 9), "{case}: no row was submitted twice");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejected_part_is_resubmitted_by_the_next_run() {
    let (dir, api) = (TempRun::new(), Api::default());
    api.provider.lock().unwrap().rejected.push("batch_1".to_owned());
    let error = via(&dir).run_via(&api).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Provider);
    assert!(error.to_string().contains("too many tokens are enqueued"), "{error}");

    via(&dir).run_via(&api).await.unwrap();
    assert_complete(&dir, "after a part was rejected");
    let parts: Vec<_> = api.provider.lock().unwrap().batches.iter().map(|(_, part)| part.len()).collect();
    assert_eq!(parts, [4, 4, 1, 4], "only the rows of the rejected part are resubmitted");
}

/// Indices of the rows in the output.
fn written(dir: &TempRun) -> Vec<u64> {
    let index =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["index"].as_u64().unwrap();
    dir.read("out.jsonl").lines().map(index).collect()
}

#[tokio::test(start_paused = true)]
async fn a_rejected_part_does_not_block_others_and_its_lines_are_named() {
    // Rejected on submission.
    let (dir, api) = (TempRun::new(), Api::default());
    api.provider.lock().unwrap().taboo = Some("row 1".to_owned());
    for run in ["first", "second"] {
        let error = via(&dir).run_via(&api).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Provider);
        let message = error.to_string();
        assert!(
            message.contains("lines 1-4: ") && message.contains("one row is invalid"),
            "{run}: {message}"
        );
        assert_eq!(written(&dir), [4, 5, 6, 7, 8, 9], "{run}");
    }
    let parts =
        || -> Vec<_> { api.provider.lock().unwrap().batches.iter().map(|(_, part)| part.len()).collect() };
    assert_eq!(parts(), [4, 1], "the other parts once");
    api.provider.lock().unwrap().taboo = None;
    via(&dir).run_via(&api).await.unwrap();
    assert_complete(&dir, "once all rows are valid");
    assert_eq!(parts(), [4, 1, 4]);

    // Rejected after submission.
    let (dir, api) = (TempRun::new(), Api::default());
    api.provider.lock().unwrap().rejected.push("batch_0".to_owned());
    let message = via(&dir).run_via(&api).await.unwrap_err().to_string();
    assert!(message.contains("batch_0 with lines 1-4: too many tokens are enqueued"), "{message}");
    assert_eq!(written(&dir), [4, 5, 6, 7, 8, 9]);
}

#[tokio::test(start_paused = true)]
async fn a_missing_batch_does_not_block_others_and_is_resubmitted_only_with_retry_failed() {
    for results_alone in [false, true] {
        let (dir, api) = (TempRun::new(), Api::default());
        let gone = vec!["batch_1".to_owned()];
        {
            let mut provider = api.provider.lock().unwrap();
            *(if results_alone { &mut provider.emptied } else { &mut provider.gone }) = gone;
        }
        let submitted = || api.provider.lock().unwrap().batches.len();
        for run in 0..2 {
            let message = via(&dir).run_via(&api).await.unwrap_err().to_string();
            assert!(message.contains("batch_1 with lines 5-7, 9: "), "{run}: {message}");
            assert!(
                message.contains("if the batch is lost, retry failed rows to discard it"),
                "{run}: {message}"
            );
            assert_eq!((written(&dir), submitted()), (vec![0, 1, 2, 3, 7, 9], 3), "{run}");
        }
        let retry = || via(&dir).settings(Settings::new().retry_failed(true));
        if !results_alone {
            // If the provider has no batches at all, the base URL is wrong.
            api.provider.lock().unwrap().is_elsewhere = true;
            assert!(retry().run_via(&api).await.is_err());
            api.provider.lock().unwrap().is_elsewhere = false;
        }
        let message = retry().run_via(&api).await.unwrap_err().to_string();
        assert!(message.contains("was discarded"), "{message}");
        let before = submitted();
        via(&dir).run_via(&api).await.unwrap();
        assert_complete(&dir, "after it was discarded");
        let provider = api.provider.lock().unwrap();
        let texts: Vec<_> = provider.batches[before..].iter().flat_map(|(_, part)| part).collect();
        assert_eq!(
            texts.iter().map(|(_, text)| &**text).collect::<Vec<_>>(),
            ["row 4", "row 5", "row 6", "row 8"]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_provider_is_polled_for_an_hour() {
    let (dir, api) = (TempRun::new(), Api::default());
    api.provider.lock().unwrap().outage = 20;
    via(&dir).run_via(&api).await.unwrap();
    assert_complete(&dir, "after an outage");

    let (dir, api) = (TempRun::new(), Api::default());
    api.provider.lock().unwrap().outage = u32::MAX;
    let began = tokio::time::Instant::now();
    let error = via(&dir).run_via(&api).await.unwrap_err();
    assert_eq!((error.kind(), began.elapsed().as_secs() / 600), (ErrorKind::Provider, 6), "{error}");
    assert!(error.to_string().contains("unavailable"), "{error}");
    // Submitted parts are still there.
    api.provider.lock().unwrap().outage = 0;
    via(&dir).run_via(&api).await.unwrap();
    assert_eq!(api.provider.lock().unwrap().batches.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_limit_discards_nothing_that_was_submitted_without_it() {
    let (dir, api) = (TempRun::new(), Api::default());
    // Three parts are submitted, and the run is killed before it polls.
    let hangs = Api { hang: Some((3, false)), ..api.clone() };
    tokio::select! {
        _ = via(&dir).run_via(&hangs) => panic!("it ended"),
        () = hangs.hangs.notified() => {}
    }
    let few = Settings::new().limit(2);
    let summary = via(&dir).settings(few).run_via(&api).await.unwrap();
    assert_eq!((summary.ok, summary.left), (2, Some(0)));

    via(&dir).run_via(&api).await.unwrap();
    assert_complete(&dir, "after a run of two rows");
    let parts: Vec<_> = api.provider.lock().unwrap().batches.iter().map(|(_, part)| part.len()).collect();
    assert_eq!(parts, [4, 4, 1], "no row was submitted twice");
}

#[tokio::test(start_paused = true)]
async fn failed_rows_are_resubmitted_with_retry_failed() {
    let (dir, api) = (TempRun::new(), Api::default());
    via(&dir).run_via(&api).await.unwrap();
    let retry = Settings::new().retry_failed(true);
    let summary = via(&dir).settings(retry).run_via(&api).await.unwrap();
    assert_eq!((summary.resumed, summary.ok, summary.failed), (7, 7, 3));
    assert_eq!(api.provider.lock().unwrap().batches.last().unwrap().1.len(), 2);
}

#[tokio::test]
async fn dedupe_and_budgets_are_rejected_before_anything_is_submitted() {
    let (dir, api) = (TempRun::new(), Api::default());
    let dedupe = via(&dir).settings(Settings::new().dedupe(true));
    let capped = via(&dir).costs(fanweave_batch::Costs::default().cap(1.0, 0.01));
    for (job, says) in [(dedupe, "duplicate requests"), (capped, "a budget")] {
        let error = job.run_via(&api).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains(says), "{error}");
    }
    assert!(api.provider.lock().unwrap().batches.is_empty() && !dir.path("out.jsonl.journal").exists());
}

#[tokio::test(start_paused = true)]
async fn a_view_with_a_journal_gets_the_results_and_a_second_run_submits_nothing() {
    struct Count(Arc<Mutex<u32>>);
    impl fanweave_batch::RowSink for Count {
        fn write(&mut self, _: fanweave_batch::FinishedRow) -> fanweave_batch::Result<()> {
            *self.0.lock().unwrap() += 1;
            Ok(())
        }
    }
    let (dir, api) = (TempRun::new(), Api::default());
    let input = dir.write("in.txt", text_rows(ROWS));
    for _ in 0..2 {
        let rows = Arc::default();
        let output = fanweave_batch::Output::sink(dir.path("a.journal"), Count(Arc::clone(&rows)));
        let source = fanweave_batch::Source::open(&input, None).unwrap();
        let chain = fanweave_core::chain(fanweave_core::Model::new(Rows::new(1, 0)));
        let job = BatchJob::new(source, fanweave_batch::Render::default(), chain, output);
        job.run_via(&api).await.unwrap();
        assert_eq!(u64::from(*rows.lock().unwrap()), ROWS);
    }
    let parts: Vec<_> = api.provider.lock().unwrap().batches.iter().map(|(_, part)| part.len()).collect();
    assert_eq!(parts, [4, 4, 1], "a row cannot be sent");
}

#[tokio::test]
async fn a_batch_api_needs_an_output_file() {
    let source = fanweave_batch::Source::from_reader("rows", "row 1".as_bytes(), None).unwrap();
    let chain = fanweave_core::chain(fanweave_core::Model::new(Rows::new(1, 0)));
    let output = fanweave_batch::Output::Writer(Box::new(std::io::sink()));
    let job = BatchJob::new(source, fanweave_batch::Render::default(), chain, output);
    assert_eq!(job.run_via(&Api::default()).await.unwrap_err().kind(), ErrorKind::Usage);
}

/// A job whose chain adds parameters before the call and takes the length of the answer after it.
fn lengths(dir: &TempRun) -> BatchJob<Prompt, serde_json::Value> {
    let input = dir.write("in.txt", text_rows(ROWS));
    let model =
        fanweave_core::Model::new(Rows::new(1, 0)).with(fanweave_core::Parameters::new().temperature(0.5));
    let length = fanweave_core::step(|answer: Message, _| async move {
        match answer.text() {
            text if text.ends_with('1') => Err(Error::new(RowErrorKind::Parse, "one is not a length")),
            text => Ok(serde_json::Value::from(text.len())),
        }
    });
    let source = fanweave_batch::Source::open(input, None).unwrap();
    let output = fanweave_batch::Output::File(dir.path("out.jsonl"));
    BatchJob::new(source, fanweave_batch::Render::default(), fanweave_core::chain(model) | length, output)
}

#[tokio::test(start_paused = true)]
async fn the_chain_runs_up_to_the_call_and_from_its_answer_on() {
    let (dir, api) = (TempRun::new(), Api::default());
    let summary = lengths(&dir).run_via(&api).await.unwrap();
    // Row 1 does not parse, row 7 cannot be sent, and the provider fails for two.
    assert_eq!((summary.ok, summary.failed), (6, 4));
    let output: Vec<serde_json::Value> =
        dir.read("out.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(output[0]["answer"], "answer 0".len());
    assert_eq!(output[1]["error"]["message"], "one is not a length");
    assert_eq!(output[0]["usage"]["output_tokens"], 2, "{}", output[0]);
    assert!(api.temperatures().iter().all(|temperature| *temperature == Some(0.5)));
    assert_eq!(summary.usage.output_tokens, 7 * 2, "the tokens of the row that does not parse were used");
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_several_calls_is_refused_before_or_fails_the_row() {
    let (dir, api) = (TempRun::new(), Api::default());
    let input = dir.write("in.txt", text_rows(1));
    let model = || fanweave_core::chain(fanweave_core::Model::new(Rows::new(1, 0)));
    let ask = fanweave_core::step(|answer: Message, _| async move { Ok(Prompt::from(answer.text())) });
    let output = || fanweave_batch::Output::File(dir.path("out.jsonl"));
    let source = || fanweave_batch::Source::open(&input, None).unwrap();
    let two = model() | ask | model();
    let render = fanweave_batch::Render::default;
    let error = BatchJob::new(source(), render(), two.clone(), output()).run_via(&api).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Usage && error.to_string().contains("2 models"), "{error}");
    assert!(!dir.path("out.jsonl.journal").exists());
    let agent = fanweave_core::model::fake::Fake::echo().model().with_tools(fanweave_core::Tools::new());
    let agent = BatchJob::new(source(), render(), fanweave_core::chain(agent.run_tools(3)), output());
    let error = agent.run_via(&api).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Usage && error.to_string().contains("2 models"), "{error}");
    assert!(!dir.path("out.jsonl.journal").exists());

    // A step that hides its calls.
    let hidden = fanweave_core::step(move |prompt: Prompt, cx: fanweave_core::Context| {
        let two = two.clone();
        async move { two.invoke_in(prompt, &cx).await }
    });
    let summary = BatchJob::new(source(), render(), hidden, output()).run_via(&api).await.unwrap();
    assert_eq!(summary.failures[0].kind, "config", "{summary:?}");
    assert!(summary.failures[0].message.contains("more than once"), "{summary:?}");
}

#[tokio::test(start_paused = true)]
async fn a_context_that_ends_stops_the_wait_for_the_provider() {
    let (dir, api) = (TempRun::new(), Api::default());
    let token = fanweave_batch::CancellationToken::new();
    let cx = fanweave_core::Context::new().with_cancellation(token.clone());
    token.cancel();
    let summary = via(&dir).within(cx).run_via(&api).await.unwrap();
    assert!(summary.interrupted, "{summary:?}");
    assert_eq!(via(&dir).run_via(&api).await.unwrap().ok, 7);
}
