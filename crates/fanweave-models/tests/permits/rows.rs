//! Batches of 200 rows, 64 at a time, whose steps read the stream of one call while they make another.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fanweave_core::{Context, step};
use fanweave_sim::{Latency, Settings};
use futures::{FutureExt, StreamExt};

use crate::account::{Account, Ceiling};
use crate::models::{Around, models};
use crate::styles::{self, STYLES, Style};
use crate::verbs::{Models, Verb, drain, nothing, start};
use crate::watchdog::watched;

/// Runs a stream that is read while another call runs.
async fn run_style(style: Style, models: &Models, cx: &Context) {
    let stream = || start(Verb::Stream, models, &nothing(), cx);
    let call = || drain(start(Verb::Invoke, models, &nothing(), cx)).boxed();
    styles::run(style, stream, call).await;
}

fn batch(style: Style, n: usize) {
    let began = Instant::now();
    let settings = Settings { latency: Latency::Fixed(Duration::from_millis(1)), ..Settings::default() };
    let account = Arc::new(Account::start(Ceiling::Set(n), true, settings));
    let watched_account = account.clone();
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let models = models(&account.echo, Around::Nothing);
            let row = step(move |_: u32, cx: Context| {
                let models = models.clone();
                async move {
                    run_style(style, &models, &cx).await;
                    Ok(())
                }
            });
            let cx = Context::new();
            let rows = row.batch(0..200u32).concurrency(64).within(cx.clone());
            rows.run().for_each(|row| async move { row.result.unwrap() }).await;
            account.is_at_rest(&cx, None).await;
            println!("{style:?}, {n}: {:?} in {:?}", account.held(&cx, None), began.elapsed());
        });
    };
    watched(&format!("200 rows, {style:?}, an account of {n}"), || watched_account.progress(), work);
}

#[test]
fn rows_whose_step_calls_a_model_while_it_reads_a_stream_end() {
    thread::scope(|scope| {
        for (style, n) in STYLES.into_iter().flat_map(|style| [(style, 1), (style, 2)]) {
            scope.spawn(move || batch(style, n));
        }
    });
}
