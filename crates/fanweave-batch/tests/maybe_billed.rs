//! Cost of requests whose responses were incomplete.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use fanweave_batch::{BatchJob, Costs, Output, Render, RunRecord, Source, Summary};
use fanweave_core::{
    ChatModel, Context, Error, ErrorKind, EventKind, Message, Model, Prompt, Reply, Result, Usage, chain,
};
use support::{TempRun, settings, text_rows};

/// Sends each request twice and loses the first one. With `interrupts`, its first response is interrupted as
/// well.
struct Flaky {
    interrupts: AtomicBool,
}

impl ChatModel for Flaky {
    fn name(&self) -> &str {
        "test/flaky"
    }

    async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        cx.emit(EventKind::Unanswered(Usage::new(2, 0))).await;
        let mut message = Message::assistant(prompt.last_user_text());
        if self.interrupts.swap(false, Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::StreamIncomplete, "broken").with_partial(message));
        }
        let usage = Usage::new(2, 3);
        message.reply = Some(Box::new(Reply::new().usage(usage).attempts(2)));
        Ok(message)
    }
}

/// A token costs one dollar.
fn dollars() -> Costs {
    #[expect(clippy::cast_precision_loss, reason = "few tokens")]
    Costs::new(|model, usage| (model == "test/flaky").then(|| usage.total_tokens() as f64))
}

async fn run(dir: &TempRun, interrupts: bool, costs: Costs) -> Summary {
    let source = Source::open(dir.path("in.txt"), None).unwrap();
    let output = Output::File(dir.path("out.jsonl"));
    let model = Model::new(Flaky { interrupts: AtomicBool::new(interrupts) });
    let job = BatchJob::new(source, Render::default(), chain(model), output);
    job.settings(settings(1)).costs(costs).run().await.unwrap()
}

#[tokio::test]
async fn they_are_counted_separately_from_the_cost_and_journalled() {
    let dir = TempRun::new();
    dir.write("in.txt", text_rows(3));
    let summary = run(&dir, false, dollars()).await;
    assert_eq!((summary.unanswered, summary.maybe_billed_usd, summary.cost_usd), (3, 6.0, Some(15.0)));
    let recorded = RunRecord::open(dir.path("out.jsonl"), 100).unwrap();
    assert!(recorded.rows.iter().all(|row| (row.maybe_billed_usd, row.cost_usd) == (Some(2.0), Some(5.0))));

    let unpriced = TempRun::new();
    unpriced.write("in.txt", text_rows(3));
    let summary = run(&unpriced, false, Costs::default()).await;
    assert_eq!((summary.unanswered, summary.maybe_billed_usd, summary.cost_usd), (3, 0.0, None));
}

#[tokio::test]
async fn they_count_against_the_budget_in_this_run_and_the_next() {
    let dir = TempRun::new();
    dir.write("in.txt", text_rows(100));
    // A row costs 5 and maybe 2 more: the third row starts with 14 spent, the fourth would start with 21.
    let summary = run(&dir, false, dollars().cap(20.0, 5.0)).await;
    assert_eq!((summary.ok, summary.over_budget), (3, true));
    let resumed = run(&dir, false, dollars().cap(25.0, 5.0)).await;
    assert_eq!((resumed.ok, resumed.over_budget), (3, true), "21 were spent");
    let more = run(&dir, false, dollars().cap(26.0, 5.0)).await;
    assert_eq!((more.ok, more.over_budget), (4, true));
}

#[tokio::test]
async fn a_requeued_row_keeps_its_earlier_cost() {
    let dir = TempRun::new();
    dir.write("in.txt", text_rows(1));
    let summary = run(&dir, true, dollars()).await;
    assert_eq!((summary.ok, summary.unanswered, summary.maybe_billed_usd), (1, 2, 4.0));
    let recorded = RunRecord::open(dir.path("out.jsonl"), 100).unwrap();
    assert_eq!((recorded.rows[0].maybe_billed_usd, recorded.rows[0].cost_usd), (Some(4.0), Some(5.0)));
}
