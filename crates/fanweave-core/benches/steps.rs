//! The cost of chains without their calls, in process and without a network.
//!
//!     cargo bench -p fanweave-core --bench steps
//!
//! Every figure is the median of interleaved rounds, followed by the best round. `--list` names the
//! workloads, `--count NAME` runs one of them once, for a counter of instructions
//! (tests/measure/instructions.sh).

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use fanweave_core::model::fake::Fake;
use fanweave_core::{
    Chain, Context, Delta, Event, Message, Runnable, Template, chain, json, prompt, step, text, vars,
};

/// Number of rounds for the median.
const ROUNDS: usize = 15;

type Work<'a> = Box<dyn FnMut() + 'a>;

const ARTICLE: &str = "Write an article about {{ topic }} for {{ audience }}, in {{ length }} words.";

/// The template language as it is, with the settings of prompts but without limits.
fn language() -> minijinja::Environment<'static> {
    let mut env = minijinja::Environment::new();
    env.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    env.set_formatter(minijinja::escape_formatter);
    env.add_template("article", ARTICLE).expect("a template");
    env
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let cx = Context::new();

    let add = || step(|n: u64, _| std::future::ready(Ok(n + 1)));
    let few: Chain<u64, u64> = add();
    let many = (0..100).fold(add(), |chain, _| chain | add());
    let joke = prompt("Tell a joke about {{ topic }}.") | Fake::echo().model() | text();
    let seen = Arc::new(AtomicU64::new(0));
    let count = seen.clone();
    let listened = Context::new().with_observer(Arc::new(move |_: &Event| {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let deltas = (0..1000).map(|n| Delta::text(format!("word{n} "))).collect::<Vec<_>>();
    let speaker = chain(Speaker(deltas)) | text();

    let run = |chain: &Chain<u64, u64>, times: u64| {
        runtime.block_on(async {
            for n in 0..times {
                black_box(chain.run(black_box(n), &cx).await.expect("it adds"));
            }
        });
    };
    let invoke = |cx: &Context, times: u64| {
        runtime.block_on(async {
            for _ in 0..times {
                black_box(joke.invoke_in(vars! { topic: "bears" }, cx).await.expect("a joke"));
            }
        });
    };
    let short = json_text(500);
    let long = json_text(4_000);
    let article = vars! { topic: "tides", audience: "sailors", length: 300 };
    let limited = Template::parse(ARTICLE).expect("a template");
    let unlimited = language();
    let works: Vec<(&str, u64, Work<'_>)> = vec![
        ("one step", 10_000, Box::new(|| run(&few, 10_000))),
        ("101 steps", 1_000, Box::new(|| run(&many, 1_000))),
        ("prompt | fake | text", 10_000, Box::new(|| invoke(&cx, 10_000))),
        ("the same, with an observer", 10_000, Box::new(|| invoke(&listened, 10_000))),
        (
            "1,000 deltas read from a stream",
            20,
            Box::new(|| {
                runtime.block_on(async {
                    for _ in 0..20 {
                        let mut run = speaker.stream(0u64);
                        while let Some(delta) = run.next().await {
                            black_box(delta.expect("a delta"));
                        }
                    }
                });
            }),
        ),
        ("partial JSON of 500 items", 1, Box::new(|| parse(&runtime, &short))),
        ("partial JSON of 4,000 items", 1, Box::new(|| parse(&runtime, &long))),
        ("whole JSON of 500 items", 1, Box::new(|| parse_whole(&short))),
        ("whole JSON of 4,000 items", 1, Box::new(|| parse_whole(&long))),
        (
            "a prompt with three variables",
            10_000,
            Box::new(|| {
                for _ in 0..10_000 {
                    black_box(limited.render(black_box(&article)).expect("a prompt"));
                }
            }),
        ),
        (
            "the same without limits",
            10_000,
            Box::new(|| {
                for _ in 0..10_000 {
                    let template = unlimited.get_template("article").expect("a template");
                    black_box(
                        template.render(minijinja::value::Serde(black_box(&article))).expect("a prompt"),
                    );
                }
            }),
        ),
    ];

    let mut works = works;
    let args: Vec<_> = std::env::args().collect();
    if args.iter().any(|arg| arg == "--list") {
        for (name, times, _) in &works {
            println!("{name}\t{times}");
        }
        return;
    }
    if let Some(at) = args.iter().position(|arg| arg == "--count") {
        let name = args.get(at + 1).map(String::as_str);
        for (_, _, work) in works.iter_mut().filter(|(workload, ..)| Some(*workload) == name) {
            work();
        }
        return;
    }
    let mut times = vec![Vec::new(); works.len()];
    for _ in 0..ROUNDS {
        for ((_, _, work), times) in works.iter_mut().zip(&mut times) {
            let started = Instant::now();
            work();
            times.push(started.elapsed().as_secs_f64());
        }
    }
    let figure = |at: usize| -> Vec<f64> {
        times
            .iter()
            .map(|times| {
                let mut times = times.clone();
                times.sort_by(f64::total_cmp);
                times[at]
            })
            .collect()
    };
    let (best, median) = (figure(0), figure(ROUNDS / 2));
    drop(works);

    let events = seen.load(Ordering::Relaxed) as f64 / (ROUNDS as f64 * 10_000.0);
    let show = |what: &str, unit: &str, of: &dyn Fn(&[f64]) -> f64| {
        println!("{what:<26} {:>8.2} {unit}   best {:>8.2}", of(&median), of(&best));
    };
    show("a step in a chain", "ns", &|t| (t[1] / 1e3 - t[0] / 1e4) / 100.0 * 1e9);
    show("prompt | fake | text", "µs", &|t| t[2] / 1e4 * 1e6);
    show(&format!("an event, {events:.0} a run"), "µs", &|t| (t[3] - t[2]) / 1e4 / events * 1e6);
    show("a delta of a stream", "µs", &|t| t[4] / 20_000.0 * 1e6);
    show("8x the JSON costs", "x ", &|t| t[6] / t[5]);
    show("  and read once at its end", "x ", &|t| t[8] / t[7]);
    show("partial against once", "x ", &|t| t[6] / t[8]);
}

/// Emits the same deltas to every caller.
struct Speaker(Vec<Delta>);

impl Runnable for Speaker {
    type Input = u64;
    type Output = Message;

    async fn run(&self, _: u64, cx: &Context) -> fanweave_core::Result<Message> {
        for delta in &self.0 {
            cx.delta(delta.clone()).await;
        }
        Ok(Message::assistant("done"))
    }

    fn streaming(&self) -> fanweave_core::Streaming {
        fanweave_core::Streaming::Deltas
    }
}

fn json_text(items: usize) -> Vec<Delta> {
    let mut deltas = vec![Delta::text("[")];
    for n in 0..items {
        deltas.push(Delta::text(format!("{{\"id\": {n},")));
        deltas.push(Delta::text(format!(" \"name\": \"item number {n}\"}},")));
    }
    deltas.push(Delta::text("null]"));
    deltas
}

/// Reads JSON delta by delta, as a model streams it.
fn parse(runtime: &tokio::runtime::Runtime, deltas: &[Delta]) {
    struct Deltas(Vec<Delta>);
    impl Runnable for Deltas {
        type Input = u64;
        type Output = Message;
        async fn run(&self, _: u64, cx: &Context) -> fanweave_core::Result<Message> {
            let mut whole = String::new();
            for delta in &self.0 {
                whole.push_str(delta.as_text().unwrap_or_default());
                cx.delta(delta.clone()).await;
            }
            Ok(Message::assistant(whole))
        }
        fn streaming(&self) -> fanweave_core::Streaming {
            fanweave_core::Streaming::Deltas
        }
    }
    let reader = chain(Deltas(deltas.to_vec())) | json();
    runtime.block_on(async {
        black_box(reader.stream(0u64).output().await.expect("it is JSON"));
    });
}

/// Parses the same JSON once, when it is complete.
fn parse_whole(deltas: &[Delta]) {
    let text: String = deltas.iter().filter_map(Delta::as_text).collect();
    black_box(serde_json::from_str::<serde_json::Value>(&text).expect("it is JSON"));
}
