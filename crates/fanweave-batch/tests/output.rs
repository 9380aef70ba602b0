//! Output of a run: contents, order and error messages.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use fanweave_batch::{BatchJob, Costs, ErrorKind, Output, Progress, Render, Settings, Source};
use fanweave_core::{
    Chain, ChatModel, Context, Error, ErrorKind as ErrorKindOfRow, EventKind, FinishReason, Message, Model,
    Part, Prompt, Reply, ReplyBody, Role, ToolCall, Tools, Usage, chain, model::fake::Fake, step,
};
use support::{Rows, TempRun, job, job_of, settings, text_rows, with_invalid_lines};

/// A writer whose bytes the test can read.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Answers rows of every kind.
fn every_kind() -> Chain<Prompt, Message> {
    step(|prompt: Prompt, _| async move {
        let mut reply = Reply::new()
            .id("chatcmpl-1")
            .request_id("req_1")
            .model("m-1")
            .finish_reason(FinishReason::Stop)
            .usage(Usage::new(3, 5).cached_tokens(1).reasoning_tokens(2))
            .attempts(2);
        let mut message = match prompt.last_user_text().as_str() {
            "refuse" => {
                return Err(Error::new(fanweave_core::ErrorKind::BadRequest, "no such parameter")
                    .with_status(400)
                    .with_code("unknown_parameter")
                    .with_request_id("req_2")
                    .with_body(r#"{"error":{"message":"no such parameter","code":"unknown_parameter"}}"#)
                    .with_attempts(1));
            }
            "lose" => {
                return Err(
                    Error::new(fanweave_core::ErrorKind::Connection, "connection reset").with_attempts(5)
                );
            }
            "panic" => panic!("boom"),
            "call" => {
                reply.finish_reason = Some(FinishReason::ToolCalls);
                let call = ToolCall { id: "c1".into(), name: "now".into(), arguments: "{}".into() };
                Message::from_parts(fanweave_core::Role::Assistant, vec![Part::ToolCall(call)])
            }
            "raw" => {
                let body = r#"{"id":"chatcmpl-9","object":"chat.completion","extra":true,"score":1.00}"#;
                reply.raw = Some(ReplyBody::new(body));
                Message::assistant("kept as it came")
            }
            text => Message::assistant(format!("you said {text}")),
        };
        message.reply = Some(Box::new(reply));
        Ok(message)
    })
}

/// Runs `text` and returns the output without latencies.
async fn output(text: String) -> String {
    let shared = Shared::default();
    let source = Source::from_reader("q", io::Cursor::new(text), None).unwrap();
    let job =
        BatchJob::new(source, Render::default(), every_kind(), Output::Writer(Box::new(shared.clone())));
    job.run().await.unwrap();
    let text = shared.text();
    text.lines().map(without_latency).collect::<Vec<_>>().join("\n")
}

fn without_latency(line: &str) -> String {
    let Some((before, rest)) = line.split_once("\"latency_ms\":") else { return line.to_owned() };
    format!("{before}\"latency_ms\":0{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
}

#[tokio::test]
async fn plain_rows_become_objects_of_their_own() {
    let rows = r#"{"id":"a","prompt":"hello"}
{"id":7,"prompt":"call"}
{"prompt":"refuse"}
{"prompt":"lose"}
{"prompt":"panic"}
{"topic":"bears"}
oops"#;
    insta::assert_snapshot!(output(rows.to_owned()).await);
}

#[tokio::test]
async fn rows_of_an_openai_batch_become_lines_of_its_output() {
    let row = |id: &str| {
        let body = serde_json::json!({"model": "m", "messages": [{"role": "user", "content": id}]});
        serde_json::json!({"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body})
            .to_string()
    };
    let mut rows = ["hello", "call", "raw", "refuse", "lose"].map(row).to_vec();
    rows.push(
        r#"{"custom_id":"other","url":"/v1/embeddings","body":{"messages":[{"role":"user","content":"x"}]}}"#
            .into(),
    );
    insta::assert_snapshot!(output(rows.join("\n")).await);
}

#[tokio::test(start_paused = true)]
async fn results_come_in_input_order_whatever_their_latency() {
    let dir = TempRun::new();
    let input = dir.write("in.txt", text_rows(300));
    let out = dir.path("out.jsonl");
    job(&input, &out, Rows::new(7, 5)).settings(settings(50)).run().await.unwrap();
    let index =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["index"].as_u64().unwrap();
    let order: Vec<_> = dir.read("out.jsonl").lines().map(index).collect();
    assert_eq!(order, (0..300).collect::<Vec<_>>());
    assert!(!dir.path("out.jsonl.partial").exists());
}

#[tokio::test(start_paused = true)]
async fn unordered_results_come_as_they_finish_and_none_is_lost() {
    let dir = TempRun::new();
    let input = dir.write("in.txt", text_rows(300));
    let out = dir.path("out.jsonl");
    let unordered = settings(50).unordered(true);
    job(&input, &out, Rows::new(7, 0)).settings(unordered).run().await.unwrap();
    let index =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["index"].as_u64().unwrap();
    let mut order: Vec<_> = dir.read("out.jsonl").lines().map(index).collect();
    assert!(!order.is_sorted());
    order.sort_unstable();
    assert_eq!(order, (0..300).collect::<Vec<_>>());
}

/// 50,000 rows finish before a slow first one. Their locations wait in memory, and few of them as a whole.
#[tokio::test]
async fn fifty_thousand_results_behind_a_slow_row_wait_in_the_journal() {
    const ROWS: u64 = 50_000;
    let progress = Arc::new(Progress::default());
    let (finished, peak) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (seen, max) = (progress.clone(), peak.clone());
    let slow = step(move |prompt: Prompt, _| {
        let (finished, seen, max) = (finished.clone(), seen.clone(), max.clone());
        async move {
            let text = prompt.last_user_text();
            if text == "row 0" {
                while finished.load(Ordering::SeqCst) < ROWS - 1 || seen.snapshot().reorder < ROWS - 1 {
                    tokio::task::yield_now().await;
                }
                max.store(seen.snapshot().reorder, Ordering::SeqCst);
            } else {
                finished.fetch_add(1, Ordering::SeqCst);
            }
            Ok(text)
        }
    });
    let dir = TempRun::new();
    let input = dir.write("in.txt", text_rows(ROWS));
    let out = Output::File(dir.path("out.jsonl"));
    let source = Source::open(&input, None).unwrap();
    let job = BatchJob::new(source, Render::default(), slow, out).settings(settings(8)).progress(progress);
    assert_eq!(job.run().await.unwrap().ok, ROWS);
    assert_eq!(peak.load(Ordering::SeqCst), ROWS - 1);
    assert_eq!(dir.read("out.jsonl").lines().count() as u64, ROWS);
}

#[tokio::test]
async fn a_full_disk_ends_the_run_with_advice() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let dir = TempRun::new();
    let source = Source::open(dir.write("in.txt", text_rows(5000)), None).unwrap();
    let job = BatchJob::new(source, Render::default(), chain(Fake::echo()), Output::Writer(Box::new(Full)));
    let error = job.run().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    insta::assert_snapshot!(error, @"the output: cannot write results: the disk is full; free some space, then rerun the job");
}

#[tokio::test]
async fn a_closed_pipe_is_a_distinct_error() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let source = Source::from_reader("q", "a\nb\n".as_bytes(), None).unwrap();
    let job = BatchJob::new(source, Render::default(), chain(Fake::echo()), Output::Writer(Box::new(writer)));
    assert!(job.run().await.unwrap_err().is_broken_pipe());
}

#[tokio::test]
async fn a_strict_run_stops_before_any_call() {
    let dir = TempRun::new();
    let input = dir.write("in.jsonl", "{\"prompt\":\"row 1\"}\n{\"prompt\":\"row 2\"}\noops\n");
    let model = Rows::new(1, 0);
    let calls = model.calls.clone();
    let strict = Settings::new().strict(true);
    let error = job(&input, &dir.path("out.jsonl"), model).settings(strict).run().await.unwrap_err();
    assert_eq!((error.kind(), calls.load(Ordering::SeqCst)), (ErrorKind::Input, 0));
    insta::assert_snapshot!(dir.hide(&error), @"in.jsonl line 3: expected a JSON object: column 1: expected value; a strict run stops at the first invalid row");
}

#[tokio::test]
async fn a_strict_run_with_a_limit_does_not_check_rows_after_it() {
    let dir = TempRun::new();
    for (name, text) in [
        ("in.jsonl", "{\"prompt\":\"row 1\"}\n{\"prompt\":\"row 2\"}\noops\n"),
        ("in.csv", "prompt\nrow 1\nrow 2\no,o,p,s\n"),
    ] {
        let input = dir.write(name, text);
        let run = |limit| {
            let strict = Settings::new().strict(true).limit(limit);
            job(&input, &dir.path(&format!("{name}.out")), Rows::new(1, 0)).settings(strict).run()
        };
        let summary = run(2).await.unwrap();
        assert_eq!((summary.ok, summary.failed, summary.left), (2, 0, Some(0)), "{name}");
        assert_eq!(run(3).await.unwrap_err().kind(), ErrorKind::Input, "{name}");
    }
}

#[tokio::test]
async fn an_output_that_cannot_be_written_is_rejected_before_any_call() {
    let dir = TempRun::new();
    let input = dir.write("in.txt", text_rows(2));
    let mut refusals = String::new();
    for out in
        [dir.path("no/such/out.jsonl"), dir.folder.path().to_owned(), input.clone(), "/dev/null".into()]
    {
        let model = Rows::new(1, 0);
        let calls = model.calls.clone();
        let error = job(&input, &out, model).run().await.unwrap_err();
        assert_eq!((error.kind(), calls.load(Ordering::SeqCst)), (ErrorKind::Usage, 0));
        refusals += &dir.hide(&error).replace(&dir.folder.path().display().to_string(), "FOLDER");
        refusals.push('\n');
    }
    insta::assert_snapshot!(refusals, @r"
    no/such/out.jsonl: the folder no/such does not exist; create it first
    FOLDER is a folder; specify a file in it
    in.txt is also the input; choose another output
    /dev/null is not a regular file; write to standard output and redirect it there
    ");
}

#[tokio::test]
async fn an_input_at_a_path_that_the_run_writes_is_not_modified() {
    for (name, fresh) in [("out.jsonl.partial", false), ("out.jsonl.journal", true)] {
        let dir = TempRun::new();
        let input = dir.write(name, text_rows(3));
        let settings = Settings::new().fresh(fresh);
        let run = job(&input, &dir.path("out.jsonl"), Rows::new(1, 0)).settings(settings).run();
        let error = run.await.err();
        assert_eq!(dir.read(name), text_rows(3), "{name}");
        let error = error.expect(name);
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(
            dir.hide(&error).ends_with(&format!("{name} is also the input; choose another output")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_row_of_several_calls_adds_them_up() {
    let twice = step(|prompt: Prompt, cx| async move {
        let model = chain(Fake::echo());
        model.invoke_in(prompt.clone(), &cx).await?;
        model.invoke_in(prompt, &cx).await
    });
    let shared = Shared::default();
    let source = Source::from_reader("q", "one two three".as_bytes(), None).unwrap();
    let job = BatchJob::new(source, Render::default(), twice, Output::Writer(Box::new(shared.clone())));
    let summary = job.run().await.unwrap();
    let both = Usage::new(6, 6);
    assert_eq!(summary.usage, both);
    let row: serde_json::Value = serde_json::from_str(shared.text().trim()).unwrap();
    // None of them was retried.
    assert_eq!((&row["attempts"], &row["usage"]["input_tokens"]), (&1.into(), &6.into()));
}

/// Calls a tool until it gets a tool result.
struct Asks;

impl ChatModel for Asks {
    fn name(&self) -> &str {
        "test/asks"
    }

    async fn generate(&self, prompt: Prompt, _: &Context) -> fanweave_core::Result<Message> {
        let mut message = Message::assistant("done");
        if prompt.messages.last().is_none_or(|last| last.role != Role::Tool) {
            let call = ToolCall { id: "1".into(), name: "now".into(), arguments: "{}".into() };
            message.parts = vec![Part::ToolCall(call)];
        }
        let usage = Usage::new(3, 1);
        message.reply = Some(Box::new(Reply::new().usage(usage).attempts(1)));
        Ok(message)
    }
}

#[tokio::test]
async fn a_row_that_calls_tools_costs_the_sum_of_its_rounds() {
    // No tool has that name: the model gets an error as the result, and answers.
    let agent = chain(Model::new(Asks).with_tools(Tools::new()).run_tools(3));
    let shared = Shared::default();
    let source = Source::from_reader("q", "one".as_bytes(), None).unwrap();
    let job = BatchJob::new(source, Render::default(), agent, Output::Writer(Box::new(shared.clone())));
    let summary = job.costs(prices()).run().await.unwrap();
    let both = Usage::new(6, 2);
    assert_eq!((summary.ok, summary.usage, summary.cost_usd), (1, both, Some(1.0)));
    let row: serde_json::Value = serde_json::from_str(shared.text().trim()).unwrap();
    assert_eq!(
        (&row["answer"], &row["attempts"], &row["usage"]["input_tokens"]),
        (&"done".into(), &1.into(), &6.into())
    );
}

#[tokio::test]
async fn hedged_requests_are_counted_and_change_no_result() {
    let late = step(|_: Prompt, cx: Context| async move {
        let usage = Usage::new(3, 1);
        let reply = Reply::new().usage(usage).attempts(1);
        cx.emit(EventKind::Hedged).await;
        cx.emit(EventKind::StepFinished { reply: Some(Arc::new(reply)) }).await;
        Ok(String::new())
    });
    let source = Source::from_reader("q", "one".as_bytes(), None).unwrap();
    let job = BatchJob::new(source, Render::default(), chain(late), Output::Writer(Box::new(io::sink())));
    let summary = job.costs(prices()).run().await.unwrap();
    assert_eq!((summary.hedged, summary.usage.total_tokens(), summary.cost_usd), (1, 4, Some(0.5)));
}

#[tokio::test(start_paused = true)]
async fn a_byte_order_mark_does_not_count_as_a_row() {
    for (name, text) in [("in.txt", "\u{feff}\nrow 1\nrow 2"), ("in.jsonl", "\u{feff}\n\"row 1\"\n\"row 2\"")]
    {
        let dir = TempRun::new();
        let input = dir.write(name, text);
        let summary = job(&input, &dir.path("out.jsonl"), Rows::new(1, 0)).run().await.unwrap();
        assert_eq!((summary.ok, summary.left), (2, Some(0)), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_call_no_longer_counts_as_waiting() {
    let slow = step(|_: Prompt, cx: Context| async move {
        cx.emit(EventKind::Waiting(fanweave_core::WaitReason::Limit)).await;
        std::future::pending::<fanweave_core::Result<String>>().await
    });
    let other = step(|_: Prompt, _| async { Ok("quick".to_owned()) });
    let chain = slow.named("slow").timeout(std::time::Duration::from_secs(1)).fallback([other]);
    let source = Source::from_reader("q", "one\ntwo".as_bytes(), None).unwrap();
    let progress = Arc::new(Progress::default());
    let job = BatchJob::new(source, Render::default(), chain, Output::Writer(Box::new(io::sink())));
    assert_eq!(job.progress(progress.clone()).run().await.unwrap().ok, 2);
    let now = progress.snapshot();
    assert_eq!((now.waiting, now.retrying, now.in_flight), (0, 0, 0));
}

#[tokio::test]
async fn an_answer_is_written_while_the_next_row_is_still_awaited() {
    let (rows, mut typed) = io::pipe().unwrap();
    let (mut answers, written) = io::pipe().unwrap();
    typed.write_all(b"one\n").unwrap();
    let source = Source::from_reader("pipe", rows, None).unwrap();
    let output = Output::Writer(Box::new(written));
    let run = tokio::spawn(BatchJob::new(source, Render::default(), chain(Fake::echo()), output).run());
    let reading = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(&mut answers), &mut line).unwrap();
        drop(typed);
        line
    });
    assert!(reading.await.unwrap().contains(r#""answer":"one""#));
    assert_eq!(run.await.unwrap().unwrap().ok, 1);
}

/// A dollar for ten tokens of any call; a row of `Rows` takes four.
fn prices() -> Costs {
    #[expect(clippy::cast_precision_loss, reason = "a few tokens")]
    Costs::new(|_, usage: &Usage| Some(usage.total_tokens() as f64 * 0.125))
}

#[tokio::test(start_paused = true)]
async fn a_budget_is_never_exceeded_and_a_run_with_a_higher_one_resumes() {
    let dir = TempRun::new();
    let input = dir.write("in.txt", text_rows(20));
    let out = dir.path("out.jsonl");
    // A row costs half a dollar: five rows fit, whatever the concurrency.
    let summary = job(&input, &out, Rows::new(1, 0))
        .settings(settings(4))
        .costs(prices().cap(2.75, 0.5))
        .run()
        .await
        .unwrap();
    assert!(summary.over_budget && summary.interrupted);
    assert_eq!((summary.ok, summary.left, summary.cost_usd), (5, Some(15), Some(2.5)));
    let first: serde_json::Value =
        serde_json::from_str(dir.read("out.jsonl").lines().next().unwrap()).unwrap();
    assert_eq!(first["cost_usd"], 0.5);

    // Money spent by previous runs counts.
    let second = job(&input, &out, Rows::new(1, 0)).costs(prices().cap(2.75, 0.5)).run().await.unwrap();
    assert_eq!((second.rows, second.resumed, second.over_budget), (5, 5, true));
    let rest = job(&input, &out, Rows::new(1, 0)).costs(prices().cap(10.0, 0.5)).run().await.unwrap();
    assert_eq!((rest.ok, rest.over_budget, rest.cost_usd), (20, false, Some(7.5)));
}

#[tokio::test(start_paused = true)]
async fn rows_that_cost_nothing_run_after_the_budget_is_spent() {
    for concurrency in [1, 4, 64] {
        let dir = TempRun::new();
        let repeated = text_rows(5).repeat(4);
        let input = dir.write("in.txt", [repeated.as_bytes(), &b"\xff\n".repeat(50)].concat());
        let dedupe = settings(concurrency).dedupe(true);
        let job = || job_of(with_invalid_lines(&input), &dir.path("out.jsonl"), Rows::new(1, 0));
        let job = || job().settings(dedupe.clone());
        let summary = job().costs(prices().cap(2.75, 0.5)).run().await.unwrap();
        assert_eq!((summary.over_budget, summary.left), (false, Some(0)), "{concurrency} concurrent");
        assert_eq!(
            (summary.ok, summary.failed, summary.cost_usd),
            (20, 50, Some(2.5)),
            "{concurrency} concurrent"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_request_is_not_repeated_beyond_the_budget() {
    for concurrency in [1, 4, 64] {
        let dir = TempRun::new();
        let input = dir.write("in.txt", "row 1\n".repeat(200));
        let model = Rows::new(1, 0);
        let calls = model.calls.clone();
        // The call is answered, which costs half a dollar, and then the row fails.
        let no = step(|_: Message, _| async { Err::<String, _>(Error::new(ErrorKindOfRow::Server, "no")) });
        let (source, output) = (Source::open(&input, None).unwrap(), Output::File(dir.path("out.jsonl")));
        let job = BatchJob::new(source, Render::default(), chain(Model::new(model)) | no, output);
        let job = job.settings(settings(concurrency).dedupe(true));
        let summary = job.costs(prices().cap(0.5, 0.5)).run().await.unwrap();
        assert!(summary.over_budget && summary.ok == 0, "{concurrency} concurrent: {summary:?}");
        assert_eq!(calls.load(Ordering::SeqCst), 1, "{concurrency} concurrent");
    }
}

#[tokio::test(start_paused = true)]
async fn rows_whose_requests_fail_do_not_count_against_the_budget() {
    let dir = TempRun::new();
    let input = dir.write("in.txt", text_rows(20));
    let job = job(&input, &dir.path("out.jsonl"), Rows::new(1, 1)).settings(settings(4));
    let summary = job.costs(prices().cap(2.75, 0.5)).run().await.unwrap();
    assert_eq!((summary.failed, summary.over_budget, summary.left), (20, false, Some(0)));
}

#[tokio::test]
async fn with_a_budget_no_request_is_hedged() {
    let may_hedge = step(|_: Prompt, cx: Context| async move { Ok(cx.hedges().to_string()) });
    for (cap, may) in [(Some(2.75), "false"), (None, "true")] {
        let rows = Source::from_reader("q", io::Cursor::new(text_rows(1)), None).unwrap();
        let shared = Shared::default();
        let output = Output::Writer(Box::new(shared.clone()));
        let job = BatchJob::new(rows, Render::default(), may_hedge.clone(), output);
        let costs = cap.map_or_else(prices, |cap| prices().cap(cap, 0.5));
        job.costs(costs).run().await.unwrap();
        assert!(shared.text().contains(&format!(r#""answer":"{may}""#)), "{}", shared.text());
    }
}

#[tokio::test(start_paused = true)]
async fn rows_without_a_call_do_not_count_against_the_budget() {
    let dir = TempRun::new();
    let unreadable = b"\xff\n".repeat(50);
    let input = dir.write("in.txt", [&unreadable, text_rows(5).as_bytes()].concat());
    let costs = prices().cap(2.75, 0.5);
    let job = job_of(with_invalid_lines(&input), &dir.path("out.jsonl"), Rows::new(1, 0));
    let summary = job.settings(settings(4)).costs(costs).run().await.unwrap();
    assert!(!summary.over_budget, "{summary:?}");
    assert_eq!((summary.ok, summary.failed, summary.cost_usd), (5, 50, Some(2.5)));
}

#[tokio::test(start_paused = true)]
async fn a_budget_covers_all_runs_even_if_no_price_is_known() {
    let dir = TempRun::new();
    let input = dir.write("in.txt", text_rows(20));
    for _ in 0..3 {
        let unknown = Costs::new(|_, _| None).cap(1.0, 0.25);
        let run = job(&input, &dir.path("out.jsonl"), Rows::new(1, 0)).costs(unknown).run();
        let summary = run.await.unwrap();
        assert_eq!((summary.rows, summary.over_budget), (4, true));
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_called_csv_is_written_as_csv() {
    let dir = TempRun::new();
    let input = dir.write("in.txt", "say \"hi\", twice\nrefuse\n");
    let source = Source::open(&input, None).unwrap();
    BatchJob::new(source, Render::default(), every_kind(), Output::File(dir.path("out.csv")))
        .run()
        .await
        .unwrap();
    insta::assert_snapshot!(dir.read("out.csv"));
}

/// A panic in a reader is an error of the run.
#[tokio::test]
async fn a_source_that_panics_ends_the_run_with_an_error() {
    struct Breaks(u32);
    impl std::io::Read for Breaks {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0 += 1;
            assert!(self.0 < 3, "the disk is a lie");
            buffer[..4].copy_from_slice(b"row\n");
            Ok(4)
        }
    }
    let source = Source::from_reader("rows", Breaks(0), Some(fanweave_batch::InputFormat::Text)).unwrap();
    let job = BatchJob::new(
        source,
        Render::default(),
        chain(Fake::echo()),
        Output::Writer(Box::new(std::io::sink())),
    );
    let error = job.run().await.unwrap_err();
    assert!(
        error.to_string().contains("rows: cannot continue reading")
            && error.to_string().contains("the disk is a lie"),
        "{error}"
    );
}

#[cfg(feature = "xlsx")]
mod xlsx {
    use fanweave_batch::{Columns, Input, InputOptions};
    use serde_json::{Value, json};

    use super::*;

    fn objects(path: &std::path::Path) -> Vec<Value> {
        let rows = Source::open(path, None).unwrap().map(|row| row.unwrap().input.unwrap());
        let object = |input: Input| match input {
            Input::Vars(vars) => Value::Object(vars.as_map().clone()),
            other => panic!("not an object: {other:?}"),
        };
        rows.map(object).collect()
    }

    async fn run(dir: &TempRun, input: &str, output: &str) {
        let source = Source::open(dir.path(input), None).unwrap();
        let settings = Settings::new().columns(Columns::All);
        let template = fanweave_core::Template::parse("{{ text }}").unwrap();
        let render = Render::new().template(template);
        let job = BatchJob::new(source, render, every_kind(), Output::File(dir.path(output)));
        job.settings(settings).run().await.unwrap();
    }

    #[tokio::test]
    async fn a_workbook_keeps_numbers_texts_and_empty_cells_of_its_input() {
        let dir = TempRun::new();
        let long = "x".repeat(40_000);
        let rows = [
            json!({"text": "hello", "n": 7, "part": -0.5, "big": 9_007_199_254_740_993_i64, "is": true, "no": null}),
            json!({"text": "refuse", "n": 8, "note": "=1+1", "zip": "00501", "long": long}),
        ];
        dir.write("in.jsonl", rows.map(|row| row.to_string() + "\n").concat());
        run(&dir, "in.jsonl", "out.xlsx").await;
        let rows = objects(&dir.path("out.xlsx"));
        let expected = [
            json!({"text": "hello", "n": 7, "part": -0.5, "big": "9007199254740993", "is": true, "no": "", "note": "", "zip": ""}),
            json!({"text": "refuse", "n": 8, "part": "", "big": "", "is": "", "no": "", "note": "=1+1", "zip": "00501"}),
        ];
        for (row, expected) in rows.iter().zip(&expected) {
            for (name, value) in expected.as_object().unwrap() {
                assert_eq!(&row[name], value, "{name}");
            }
        }
        assert_eq!(
            (&rows[0]["index"], &rows[0]["input_tokens"], &rows[0]["error"]),
            (&json!(0), &json!(3), &json!(""))
        );
        assert_eq!((&rows[1]["answer"], &rows[1]["error"]), (&json!(""), &json!("no such parameter")));
        assert!(rows[1]["long"].as_str().unwrap().ends_with(" .. [cut: 40000 characters]"));
        // The workbook is the input of another run.
        run(&dir, "out.xlsx", "again.csv").await;
        assert!(
            dir.read("again.csv").starts_with("text,n,part,big,is,no,note,zip,long,"),
            "{}",
            dir.read("again.csv")
        );
    }

    #[test]
    fn a_sheet_is_chosen_by_name_or_number() {
        let dir = TempRun::new();
        let mut book = rust_xlsxwriter::Workbook::new();
        let date = rust_xlsxwriter::Format::new().set_num_format("yyyy-mm-dd");
        for name in ["first", "second"] {
            let sheet = book.add_worksheet().set_name(name).unwrap();
            sheet.write_string(1, 1, "name").unwrap();
            sheet.write_string(1, 3, "day").unwrap();
            sheet.write_string(4, 1, name).unwrap();
            sheet.write_number_with_format(4, 3, 45_413, &date).unwrap();
            sheet.write_string(5, 2, "no column").unwrap();
        }
        let path = dir.write("book.xlsx", book.save_to_buffer().unwrap());
        let open = |sheet: &str| Source::open_with(&path, InputOptions::new().sheet(sheet));
        for (sheet, name) in [("second", "second"), ("2", "second"), ("1", "first")] {
            let mut rows = open(sheet).unwrap();
            assert_eq!(
                rows.notes(),
                [
                    "2 columns have no name and are ignored",
                    "1 cell in columns without a name: ignored; the header is row 2, which names `name`, `day`"
                ]
            );
            let row = rows.next().unwrap().unwrap();
            assert_eq!(row.line, 5, "the number of the row in the sheet");
            let Ok(Input::Vars(vars)) = row.input else { panic!("it is an object") };
            assert_eq!(Value::Object(vars.as_map().clone()), json!({"name": name, "day": "2024-05-01"}));
            assert!(rows.next().is_none());
        }
        let error = open("third").unwrap_err().to_string();
        assert!(
            error.ends_with("the workbook has no sheet `third`; its sheets: `first`, `second`"),
            "{error}"
        );
        let csv = dir.write("a.csv", "a\n1\n");
        let error = Source::open_with(csv, InputOptions::new().sheet("1")).unwrap_err().to_string();
        assert!(error.ends_with("only workbooks have sheets"), "{error}");
    }

    #[tokio::test]
    async fn dates_of_a_workbook_stay_dates() {
        let dir = TempRun::new();
        let mut book = rust_xlsxwriter::Workbook::new();
        let form = |form: &str| rust_xlsxwriter::Format::new().set_num_format(form);
        let (day, at) = (form("yyyy-mm-dd"), form("dd.mm.yyyy hh:mm"));
        let sheet = book.add_worksheet();
        for (column, name) in ["text", "day", "at", "mixed"].into_iter().enumerate() {
            sheet.write_string(0, u16::try_from(column).unwrap(), name).unwrap();
        }
        sheet.write_string(1, 0, "a").unwrap().write_string(2, 0, "b").unwrap();
        sheet.write_number_with_format(1, 1, 45_413, &day).unwrap();
        sheet.write_number_with_format(1, 2, 45_413.75, &at).unwrap();
        sheet.write_number_with_format(2, 2, 45_414.001_5, &at).unwrap();
        sheet.write_number_with_format(1, 3, 45_413, &day).unwrap().write_string(2, 3, "soon").unwrap();
        dir.write("in.xlsx", book.save_to_buffer().unwrap());
        run(&dir, "in.xlsx", "out.xlsx").await;
        let rows = objects(&dir.path("out.xlsx"));
        let expected = [
            json!({"text": "a", "day": "2024-05-01", "at": "2024-05-01T18:00:00", "mixed": "2024-05-01"}),
            json!({"text": "b", "day": "", "at": "2024-05-02T00:02:09.600", "mixed": "soon"}),
        ];
        for (row, expected) in rows.iter().zip(&expected) {
            for (name, value) in expected.as_object().unwrap() {
                assert_eq!(&row[name], value, "{name}");
            }
        }
        // They are dates of the sheet, not texts in their form.
        run(&dir, "out.xlsx", "again.xlsx").await;
        let types = |name: &str| {
            let mut book: calamine::Xlsx<_> = calamine::open_workbook(dir.path(name)).unwrap();
            let range = calamine::Reader::worksheet_range(&mut book, "answers").unwrap();
            let row: Vec<_> = range.rows().nth(1).unwrap()[1..4].to_vec();
            row.iter().map(|cell| matches!(cell, calamine::Data::DateTime(_))).collect::<Vec<_>>()
        };
        assert_eq!(
            (types("out.xlsx"), types("again.xlsx")),
            (vec![true, true, false], vec![true, true, false])
        );
    }

    #[tokio::test]
    async fn the_results_of_a_run_must_fit_into_a_sheet_not_the_rows_of_its_input() {
        let dir = TempRun::new();
        let input = dir.write("in.txt", "a\n".repeat(1_048_576));
        let job = |source: Source, settings: Settings| {
            let output = Output::File(dir.path("out.xlsx"));
            BatchJob::new(source, Render::default(), every_kind(), output).settings(settings).run()
        };
        let open = || Source::open(&input, None).unwrap();
        for (samples, limit) in [(1, None), (3, Some(400_000))] {
            let mut settings = Settings::new();
            settings.samples = samples.try_into().unwrap();
            settings.limit = limit;
            let error = job(open(), settings).await.unwrap_err().to_string();
            let results = limit.unwrap_or(1_048_576) * u64::from(samples);
            assert!(error.contains(&format!("{results} results do not fit into a sheet")), "{error}");
        }
        // This sample is the row with the index 361.
        let summary = job(open().sample(1, 558).unwrap(), Settings::new()).await.unwrap();
        assert_eq!((summary.ok, objects(&dir.path("out.xlsx"))[0]["index"].clone()), (1, json!(361)));
    }

    #[test]
    fn a_corrupt_workbook_is_an_error_and_never_a_panic() {
        let dir = TempRun::new();
        let mut book = rust_xlsxwriter::Workbook::new();
        book.add_worksheet().write_string(0, 0, "name").unwrap().write_string(1, 0, "bear").unwrap();
        let whole = book.save_to_buffer().unwrap();
        let path = dir.path("corrupt.xlsx");
        for cut in (0..whole.len()).step_by(7) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(Source::open(&path, None).is_err(), "cut at {cut}");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            std::fs::write(&path, &bytes).unwrap();
            // Parts that are not read may differ.
            let _ = Source::open(&path, None).map(Iterator::count);
        }
        let old = dir.write("old.xls", b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1rest\n");
        let error = Source::open(old, None).unwrap_err().to_string();
        assert!(error.contains("an old or encrypted workbook; save it as .xlsx"), "{error}");
    }
}

#[cfg(feature = "parquet")]
mod parquet {
    use std::path::Path;

    use fanweave_batch::Input;
    use serde_json::{Value, json};

    use super::*;

    fn objects(path: &Path) -> Vec<Value> {
        let rows = Source::open(path, None).unwrap().map(|row| row.unwrap().input.unwrap());
        let object = |input: Input| match input {
            Input::Vars(vars) => Value::Object(vars.as_map().clone()),
            other => panic!("not an object: {other:?}"),
        };
        rows.map(object).collect()
    }

    async fn run(dir: &TempRun, input: &str, output: &str) {
        let source = Source::open(dir.path(input), None).unwrap();
        let job = BatchJob::new(source, Render::default(), every_kind(), Output::File(dir.path(output)));
        job.run().await.unwrap();
    }

    #[tokio::test]
    async fn answers_that_are_vectors_are_lists_of_numbers() {
        let dir = TempRun::new();
        dir.write("in.txt", "a\nrefuse\nnone\nb\n");
        let vectors = step(|prompt: Prompt, _| async move {
            let numbers = match prompt.last_user_text().as_str() {
                "refuse" => return Err(Error::new(ErrorKindOfRow::Input, "no")),
                "none" => json!([]),
                "a" => json!([0.5, -1.0, 3.0]),
                _ => json!([0.1]),
            };
            Ok(fanweave_batch::Answer::new(fanweave_batch::Content::Json(numbers)))
        });
        let source = Source::open(dir.path("in.txt"), None).unwrap();
        let schema = json!({"type": "array", "items": {"type": "number"}});
        let job =
            BatchJob::new(source, Render::default(), chain(vectors), Output::File(dir.path("out.parquet")));
        job.settings(Settings::new().answer_schema(schema)).run().await.unwrap();
        let answers: Vec<_> =
            objects(&dir.path("out.parquet")).iter().map(|row| row["answer"].clone()).collect();
        assert_eq!(answers[..3], [json!([0.5, -1.0, 3.0]), Value::Null, json!([])]);
        assert!((answers[3][0].as_f64().unwrap() - 0.1).abs() < 1e-6, "{answers:?}");
    }

    #[tokio::test]
    async fn fields_of_a_schema_and_columns_of_parquet_keep_their_types() {
        let dir = TempRun::new();
        dir.write("in.txt", "a\nnone\nrefuse\nb\n");
        let answers = step(|prompt: Prompt, _| async move {
            let value = match prompt.last_user_text().as_str() {
                "refuse" => return Err(Error::new(ErrorKindOfRow::Input, "no")),
                "none" => json!({"is": null, "tags": [], "counts": null, "deep": {"x": 1}}),
                "a" => json!({"is": true, "tags": ["x", null, "y"], "counts": [1, 2], "part": 0.5}),
                _ => json!({"is": false, "tags": ["z"], "counts": [3], "score": 4}),
            };
            Ok(fanweave_batch::Answer::new(fanweave_batch::Content::Json(value)))
        });
        let schema = json!({"type": "object", "properties": {
            "is": {"type": ["boolean", "null"]}, "tags": {"type": "array", "items": {"type": "string"}},
            "counts": {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]},
            "score": {"type": "integer"}, "part": {"type": "number"}, "deep": {"type": "object"},
        }});
        let source = Source::open(dir.path("in.txt"), None).unwrap();
        let job =
            BatchJob::new(source, Render::default(), chain(answers), Output::File(dir.path("one.parquet")));
        job.settings(Settings::new().answer_schema(schema)).run().await.unwrap();
        let expected = [
            json!({"is": true, "tags": ["x", null, "y"], "counts": [1, 2], "part": 0.5, "score": null}),
            json!({"is": null, "tags": [], "counts": null, "deep": "{\"x\":1}"}),
            json!({"is": null, "tags": null, "error": "no"}),
            json!({"is": false, "tags": ["z"], "counts": [3], "score": 4}),
        ];
        let check = |name: &str| {
            for (row, expected) in objects(&dir.path(name)).iter().zip(&expected) {
                for (name, value) in expected.as_object().unwrap() {
                    assert_eq!(&row[name], value, "{name}");
                }
            }
        };
        check("one.parquet");
        // Columns of the input keep the types of numbers and booleans.
        let source = Source::open(dir.path("one.parquet"), None).unwrap();
        let template = fanweave_core::Template::parse("{{ index }}").unwrap();
        let output = Output::File(dir.path("two.parquet"));
        let job = BatchJob::new(source, Render::new().template(template), chain(Fake::echo()), output);
        let columns = fanweave_batch::Columns::All;
        job.settings(Settings::new().columns(columns)).run().await.unwrap();
        let rows = objects(&dir.path("two.parquet"));
        assert_eq!(
            (&rows[0]["is"], &rows[3]["score"], &rows[0]["part"]),
            (&json!(true), &json!(4), &json!(0.5))
        );
        assert_eq!((&rows[2]["is"], &rows[0]["answer"]), (&Value::Null, &json!("0")));
    }

    #[tokio::test]
    async fn a_file_called_parquet_has_the_columns_of_csv_and_can_be_read() {
        let dir = TempRun::new();
        dir.write("in.txt", "hello\nrefuse\ncall\n");
        run(&dir, "in.txt", "out.parquet").await;
        let rows = objects(&dir.path("out.parquet"));
        assert_eq!(rows.len(), 3);
        assert_eq!(
            (&rows[0]["index"], &rows[0]["model"], &rows[0]["input_tokens"]),
            (&json!(0), &json!("m-1"), &json!(3))
        );
        assert_eq!((&rows[1]["answer"], &rows[1]["error"]), (&Value::Null, &json!("no such parameter")));
        assert!(rows[2]["tool_calls"].as_str().unwrap().contains("\"now\""));

        // Its columns are variables of the next run's template.
        let source = Source::open(dir.path("out.parquet"), None).unwrap();
        let template = fanweave_core::Template::parse("{{ index }} {{ model }}").unwrap();
        let render = Render::new().template(template);
        let second = Shared::default();
        let job =
            BatchJob::new(source, render, chain(Fake::echo()), Output::Writer(Box::new(second.clone())));
        assert_eq!(job.run().await.unwrap().rows, 3);
        assert!(second.text().contains("2 m-1"), "{}", second.text());
    }

    #[tokio::test]
    async fn many_rows_come_in_several_groups_and_stay_in_order() {
        let dir = TempRun::new();
        dir.write("in.txt", (0..25_000).map(|n| format!("row {n}\n")).collect::<String>());
        run(&dir, "in.txt", "out.parquet").await;
        let rows = objects(&dir.path("out.parquet"));
        assert_eq!(rows.len(), 25_000);
        assert!(rows.iter().enumerate().all(|(n, row)| row["index"] == n));
    }

    #[tokio::test]
    async fn a_corrupt_file_is_an_error_and_never_a_panic() {
        let dir = TempRun::new();
        dir.write("in.txt", "hello\nrefuse\n");
        run(&dir, "in.txt", "out.parquet").await;
        let whole = std::fs::read(dir.path("out.parquet")).unwrap();
        let path = dir.path("corrupt.parquet");
        let is_rejected = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            match Source::open(&path, None) {
                Err(_) => true,
                Ok(rows) => rows.take(10).any(|row| row.is_err() || row.is_ok_and(|row| row.input.is_err())),
            }
        };
        assert!(!is_rejected(&whole));
        for cut in 5..whole.len() {
            assert!(is_rejected(&whole[..cut]), "cut at {cut}");
        }
        for at in 4..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            // Some bytes are the text of a value: a change there cannot be detected.
            is_rejected(&bytes);
        }
    }
}
