//! Requests whose answers did not arrive whole: what they may cost.

#![expect(clippy::unwrap_used, reason = "what a test needs and does not get fails it")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use fanweave_batch::{BatchJob, Costs, Output, Render, RunRecord, Source, Summary};
use fanweave_core::{
    ChatModel, Context, Error, ErrorKind, EventKind, Message, Model, Prompt, Reply, Result, Usage, chain,
};
use support::{TempRun, settings, text_rows};

/// Sends each request twice, of which the first one is lost. With `breaks_off`, its first answer breaks off besides.
struct Flaky {
    breaks_off: AtomicBool,
}

impl ChatModel for Flaky {
    fn name(&self) -> &str {
        "test/flaky"
    }

    async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        cx.emit(EventKind::Unanswered(Usage { input_tokens: 2, ..Usage::default() })).await;
        let mut message = Message::assistant(prompt.last_user_text());
        if self.breaks_off.swap(false, Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::StreamIncomplete, "broken").with_partial(message));
        }
        let usage = Usage { input_tokens: 2, output_tokens: 3, ..Usage::default() };
        message.reply = Some(Box::new(Reply { usage, attempts: 2, ..Reply::default() }));
        Ok(message)
    }
}

/// A token costs a dollar.
fn dollars() -> Costs {
    #[expect(clippy::cast_precision_loss, reason = "few tokens")]
    Costs::new(|model, usage| (model == "test/flaky").then(|| usage.total_tokens() as f64))
}

async fn run(place: &TempRun, breaks_off: bool, costs: Costs) -> Summary {
    let source = Source::open(place.path("in.txt"), None).unwrap();
    let output = Output::File(place.path("out.jsonl"));
    let model = Model::new(Flaky { breaks_off: AtomicBool::new(breaks_off) });
    let job = BatchJob::new(source, Render::default(), chain(model), output);
    job.settings(settings(1)).costs(costs).run().await.unwrap()
}

#[tokio::test]
async fn they_are_counted_beside_the_cost_and_kept_in_the_journal() {
    let place = TempRun::new();
    place.write("in.txt", text_rows(3));
    let summary = run(&place, false, dollars()).await;
    assert_eq!((summary.unanswered, summary.maybe_billed_usd, summary.cost_usd), (3, 6.0, Some(15.0)));
    let recorded = RunRecord::open(place.path("out.jsonl"), 100).unwrap();
    assert!(recorded.rows.iter().all(|row| (row.maybe_billed_usd, row.cost_usd) == (Some(2.0), Some(5.0))));

    let unpriced = TempRun::new();
    unpriced.write("in.txt", text_rows(3));
    let summary = run(&unpriced, false, Costs::default()).await;
    assert_eq!((summary.unanswered, summary.maybe_billed_usd, summary.cost_usd), (3, 0.0, None));
}

#[tokio::test]
async fn they_count_against_the_cap_in_this_run_and_the_next() {
    let place = TempRun::new();
    place.write("in.txt", text_rows(100));
    // A row costs 5 and maybe 2 more: the third one starts with 14 spent, the fourth would with 21.
    let summary = run(&place, false, dollars().cap(20.0, 5.0)).await;
    assert_eq!((summary.ok, summary.over_budget), (3, true));
    let again = run(&place, false, dollars().cap(25.0, 5.0)).await;
    assert_eq!((again.ok, again.over_budget), (3, true), "21 were spent");
    let more = run(&place, false, dollars().cap(26.0, 5.0)).await;
    assert_eq!((more.ok, more.over_budget), (4, true));
}

#[tokio::test]
async fn a_row_that_is_put_back_keeps_what_it_has_cost() {
    let place = TempRun::new();
    place.write("in.txt", text_rows(1));
    let summary = run(&place, true, dollars()).await;
    assert_eq!((summary.ok, summary.unanswered, summary.maybe_billed_usd), (1, 2, 4.0));
    let recorded = RunRecord::open(place.path("out.jsonl"), 100).unwrap();
    assert_eq!((recorded.rows[0].maybe_billed_usd, recorded.rows[0].cost_usd), (Some(4.0), Some(5.0)));
}
