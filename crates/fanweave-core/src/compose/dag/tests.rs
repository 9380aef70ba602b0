use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::*;
use crate::model::fake::Fake;
use crate::{
    ChatModel, Context, Delta, Error, ErrorKind, Event, EventKind, Item, Message, Model, Prompt, Result,
    Ticket, Vars, lines, prompt, step, text, vars,
};

/// Answers with what the function makes of the last message: a line every 100 ms.
struct Scribe(fn(&str) -> Result<String>);

impl ChatModel for Scribe {
    fn name(&self) -> &str {
        "test/scribe"
    }

    async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        let text = (self.0)(&prompt.last_user_text())?;
        cx.permit(|cx| async move {
            for line in text.split_inclusive('\n') {
                sleep(Duration::from_millis(100)).await;
                cx.delta(Delta::text(line)).await;
            }
            Ok(Message::assistant(text))
        })
        .await
    }
}

fn call(says: fn(&str) -> Result<String>, template: &str) -> Chain<Vars, Message> {
    prompt(template) | Model::new(Scribe(says))
}

fn write(prompt: &str) -> Result<String> {
    Ok(match prompt {
        "outline of tides" => "1. A\n2. B\n3. C".to_owned(),
        other => format!("<{other}>"),
    })
}

fn article() -> Chain<Vars, Item> {
    dag()
        .input_or("topic", "tides")
        .step(DagStep::items("outline", call(write, "outline of {{ topic }}").lines()))
        .step(
            DagStep::new("section", call(write, "section {{ index }} {{ item }}") | text())
                .for_each("steps.outline.output"),
        )
        .step(DagStep::new("intro", call(write, "intro to {{ steps.outline.output | length }}")))
        .step(
            DagStep::template(
                "article",
                "{{ steps.intro.output }}\n\n{{ steps.section.output | join('\\n\\n') }}!",
            )
            .unwrap(),
        )
        .build()
        .unwrap()
}

const WHOLE: &str = "<intro to 3>\n\n<section 1 A>\n\n<section 2 B>\n\n<section 3 C>!";

async fn output(dag: &Chain<Vars, Item>, vars: Vars) -> Value {
    dag.invoke(vars).await.unwrap().into_value().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_fan_out_starts_while_its_source_is_still_being_written() {
    let started = Instant::now();
    assert_eq!(output(&article(), Vars::new()).await, WHOLE);
    // The outline takes 300 ms, and the last section and the introduction 100 ms more.
    assert_eq!(started.elapsed().as_millis(), 400);
}

#[tokio::test(start_paused = true)]
async fn the_deltas_of_a_streamed_dag_are_its_text() {
    let mut run = article().stream(Vars::new());
    let (mut deltas, started) = (Vec::new(), Instant::now());
    let mut first = None;
    while let Some(delta) = run.next().await {
        first = first.or(Some(started.elapsed().as_millis()));
        deltas.push(delta.unwrap().to_string());
    }
    assert!(deltas.len() > 4, "{deltas:?}");
    assert_eq!((deltas.concat().as_str(), first), (WHOLE, Some(400)));
    assert_eq!(run.output().await.unwrap(), Item::Text(WHOLE.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_message_streams_and_is_its_text_in_templates() {
    let model = Fake::echo().per_word(Duration::from_millis(100)).model();
    let steps =
        |last: DagStep| dag().input("x").step(DagStep::new("ask", prompt("{{ x }}") | &model)).step(last);
    let shown = steps(DagStep::template("shown", "[{{ steps.ask.output }}]").unwrap()).build().unwrap();
    let deltas = shown.stream(vars! { x: "a b" }).map(|delta| delta.unwrap().to_string());
    assert_eq!(deltas.collect::<Vec<_>>().await, ["[", "a ", "b", "]"]);

    let last = DagStep::new("ask", prompt("{{ x }}") | &model);
    let alone = dag().input("x").step(last).build().unwrap();
    let mut run = alone.stream(vars! { x: "a b" });
    assert_eq!(run.next().await.unwrap().unwrap().to_string(), "a ");
    let Item::Message(message) = run.output().await.unwrap() else { panic!("not a message") };
    assert_eq!(message.text(), "a b");
}

#[tokio::test(start_paused = true)]
async fn a_fan_out_keeps_order_and_reads_its_source_ahead() {
    let (running, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, max) = (running.clone(), peak.clone());
    let started = Instant::now();
    let outline = call(|_| Ok("a\nb\nc\nd\ne\nf".to_owned()), "x").lines();
    let written = step(move |_: Vars, _| async move { Ok(started.elapsed().as_millis() as u64) });
    let slow = step(move |item: String, _| {
        let (now, max) = (now.clone(), max.clone());
        async move {
            max.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // The earlier ones take longer.
            sleep(Duration::from_millis(1000 - 100 * u64::from(item.as_bytes()[0] - b'a'))).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(item.to_uppercase())
        }
    });
    let dag = dag()
        .step(DagStep::items("outline", outline))
        .step(DagStep::of("each", "item", slow).for_each("steps.outline.output"))
        .step(DagStep::new("written", written).needs(["outline"]))
        .step(DagStep::template("all", "{{ steps.each.output | join }} {{ steps.written.output }}").unwrap())
        .concurrency(2)
        .build()
        .unwrap();
    // The outline is complete at its own pace, long before the fan-out.
    assert_eq!(output(&dag, Vars::new()).await, "ABCDEF 600");
    assert_eq!(peak.load(Ordering::SeqCst), 2);
    assert!(started.elapsed().as_millis() > 2000);
}

#[test]
fn concurrency_0_is_refused_when_the_dag_is_built() {
    let error = dag().step(DagStep::template("a", "x").unwrap()).concurrency(0).build().unwrap_err();
    assert_eq!(error.message(), "concurrency must be at least 1 (got 0)");
}

#[tokio::test(start_paused = true)]
async fn a_failed_step_fails_the_run_is_skipped_or_is_null() {
    let run = async |policy: OnError, output: &str| {
        let fails = step(|_: Vars, _| async { Err::<String, _>(Error::new(ErrorKind::Step, "no")) });
        let dag = dag()
            .step(DagStep::new("a", fails).on_error(policy))
            .step(DagStep::template("b", "of {{ steps.a.output }}").unwrap())
            .step(DagStep::template("c", "c").unwrap())
            .output(output)
            .build()
            .unwrap();
        dag.invoke(Vars::new()).await.map(|item| item.into_value().unwrap())
    };
    assert_eq!(run(OnError::Fail, "c").await.unwrap_err().to_string(), "step a: no");
    assert_eq!(run(OnError::Skip, "b").await.unwrap(), Value::Null);
    assert_eq!(run(OnError::Skip, "c").await.unwrap(), "c");
    assert_eq!(run(OnError::Null, "b").await.unwrap(), "of None");
}

#[tokio::test(start_paused = true)]
async fn a_failed_item_fails_the_run_is_skipped_or_is_null() {
    let run = async |policy: OnError| {
        let inverse = step(|n: i64, _| async move {
            if n == 0 { Err(Error::new(ErrorKind::Step, "no zeros")) } else { Ok(10 / n) }
        });
        let each = DagStep::of("each", "item", inverse).for_each("numbers").on_error(policy);
        let dag = dag().input("numbers").step(each).build().unwrap();
        dag.invoke(vars! { numbers: [5, 0, 2] }).await.map(|item| item.into_value().unwrap())
    };
    assert_eq!(run(OnError::Skip).await.unwrap(), json!([2, 5]));
    assert_eq!(run(OnError::Null).await.unwrap(), json!([2, null, 5]));
    assert_eq!(run(OnError::Fail).await.unwrap_err().to_string(), "step item 2 > each: no zeros");
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_drops_its_siblings() {
    let alive = Arc::new(());
    let held = alive.clone();
    let slow = step(move |_: Vars, _| {
        let held = held.clone();
        async move {
            sleep(Duration::from_secs(60)).await;
            drop(held);
            Ok("late")
        }
    });
    let fails = step(|_: Vars, _| async { Err::<String, _>(Error::new(ErrorKind::Step, "no")) });
    let dag = dag()
        .step(DagStep::new("slow", slow.map(str::to_owned)))
        .step(DagStep::new("fails", fails))
        .build()
        .unwrap();
    let started = Instant::now();
    assert_eq!(dag.invoke(Vars::new()).await.unwrap_err().to_string(), "step fails: no");
    assert_eq!((started.elapsed().as_millis(), Arc::strong_count(&alive)), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn the_first_item_that_fails_ends_the_run_while_items_before_it_run() {
    let wait = step(|seconds: u64, _| async move {
        if seconds == 0 {
            return Err(Error::new(ErrorKind::Step, "no zeros"));
        }
        sleep(Duration::from_secs(seconds)).await;
        Ok("late".to_owned())
    });
    let each = DagStep::of("each", "item", wait).for_each("numbers");
    let dag = dag().input("numbers").step(each).build().unwrap();
    let started = Instant::now();
    let error = dag.invoke(vars! { numbers: [60, 30, 0, 60] }).await.unwrap_err();
    assert_eq!(error.to_string(), "step item 3 > each: no zeros");
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn values_between_steps_are_items() {
    struct Handle(AtomicUsize);
    let open = step(|_: Vars, _| async { Ok(Ticket::new(Handle(AtomicUsize::new(1)))) });
    let read = step(|ticket: Ticket, _| async move {
        let handle = ticket.downcast::<Handle>().unwrap();
        Ok(handle.0.fetch_add(1, Ordering::SeqCst))
    });
    let dag = || {
        dag()
            .step(DagStep::new("open", open.clone()))
            .step(DagStep::of("first", "steps.open.output", read.clone()))
            .step(DagStep::of("second", "steps.open.output", read.clone()).needs(["first"]))
            .step(DagStep::new("ask", prompt("a\nb") | Fake::echo()))
            .step(DagStep::of("split", "steps.ask.output", chain(lines())))
    };
    assert_eq!(output(&dag().output("second").build().unwrap(), Vars::new()).await, 2);
    assert_eq!(output(&dag().build().unwrap(), Vars::new()).await, json!(["a", "b"]));

    let printed = dag().step(DagStep::template("print", "{{ steps.open.output }}").unwrap()).build().unwrap();
    assert_eq!(
        printed.invoke(Vars::new()).await.unwrap_err().to_string(),
        "step print: `steps.open.output` cannot be a variable: a foreign value has no JSON form: return a serialisable \
         value from its step"
    );
    let wrong = dag().step(DagStep::of("twice", "steps.split.output", chain(lines()))).build().unwrap();
    let error = wrong.invoke(Vars::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert_eq!(
        error.to_string(),
        "step twice: step `lines` expects a message, but step `split` returned a list"
    );
}

#[tokio::test]
async fn steps_with_closures_read_all_that_they_need() {
    let seen = step(|vars: Vars, _| async move {
        let mut names: Vec<_> = vars.names().map(str::to_owned).collect();
        names.sort();
        Ok(names.join(" "))
    });
    let constant = |text: &'static str| step(move |_: Vars, _| async move { Ok(text.to_owned()) });
    let dag = dag()
        .input_or("x", 1)
        .step(DagStep::new("a", constant("a")))
        .step(DagStep::new("all", seen.clone()).needs(["a"]))
        .step(DagStep::new("one", seen).reads(["steps.a.output"]))
        .step(DagStep::template("both", "{{ steps.all.output }} | {{ steps.one.output }}").unwrap())
        .build()
        .unwrap();
    assert_eq!(output(&dag, Vars::new()).await, "inputs steps x | steps");
}

#[tokio::test]
async fn each_step_and_item_is_a_branch_of_its_own_whatever_other_steps_there_are() {
    let seen = |vars: Vars, cx: Context| async move {
        let item = vars.get("item").cloned().unwrap_or_default();
        Ok(json!([item, serde_json::to_value(cx.branch_id()).unwrap()]))
    };
    let each = || DagStep::new("each", seen).for_each("list");
    let list = || dag().input_or("list", vec!["a", "b"]);
    let alone = output(&list().step(each()).build().unwrap(), Vars::new()).await;
    let with_others = list().step(DagStep::new("other", seen)).step(each()).build().unwrap();
    assert_eq!(output(&with_others, Vars::new()).await, alone);
    let other = list().step(DagStep::new("other", seen)).step(DagStep::new("third", seen));
    let other = [other.clone().output("other"), other].map(|dag| dag.build().unwrap());
    let branches = [
        alone[0][1].clone(),
        alone[1][1].clone(),
        output(&other[0], Vars::new()).await[1].clone(),
        output(&other[1], Vars::new()).await[1].clone(),
    ];
    for (i, branch) in branches.iter().enumerate() {
        assert!(!branches[..i].contains(branch), "{branches:?}");
    }
}

#[tokio::test]
async fn a_dag_may_be_a_step_of_a_dag() {
    let inner = dag().input("x").step(DagStep::template("y", "<{{ x }}>").unwrap()).build().unwrap();
    let outer = dag()
        .input("x")
        .step(DagStep::new("inner", inner))
        .step(DagStep::template("z", "{{ steps.inner.output }}!").unwrap())
        .build()
        .unwrap();
    assert_eq!(output(&outer, vars! { x: 1 }).await, "<1>!");
}

#[test]
fn a_dag_with_references_that_do_not_exist_is_refused() {
    let refused = |dag: Dag| {
        let error = dag.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        error.to_string()
    };
    let template = |name: &str, text: &str| DagStep::template(name, text).unwrap();
    let tides = || dag().input("topic").step(template("a", "{{ topic }}"));
    assert_eq!(refused(dag()), "a dag needs at least one step");
    assert_eq!(refused(tides().step(template("a", ""))), "the dag has two steps named `a`");
    assert_eq!(refused(tides().output("b")), "unknown step `b`: the steps are `a`");
    assert_eq!(
        refused(tides().step(template("b", "{{ topc }}"))),
        "step b: unknown variable `topc`: did you mean `topic`?"
    );
    assert_eq!(
        refused(tides().step(template("b", "{{ a }}"))),
        "step b: unknown variable `a`: did you mean `steps.a.output`?"
    );
    assert_eq!(
        refused(tides().step(template("b", "{{ steps.a.text }}"))),
        "step b: a step has no field other than its output: write `steps.a.output`"
    );
    assert_eq!(
        refused(tides().step(template("b", "{{ item }}"))),
        "step b: `item` is only available with `for_each`, which the step does not have"
    );
    assert_eq!(
        refused(tides().step(template("b", "{{ item }}").for_each("steps.c.output"))),
        "step b: unknown step `c`: the steps are `a`, `b`"
    );
    assert_eq!(refused(tides().step(template("b", "").needs(["b"]))), "step b: step `b` depends on itself");
    let cycle = tides().step(template("b", "").needs(["c"])).step(template("c", "{{ steps.b.output }}"));
    assert_eq!(refused(cycle), "the steps form a cycle: `b` waits for `c` waits for `b`");
    assert_eq!(refused(tides().input("item")), "`item` is a reserved name of variables: choose another name");
}

#[tokio::test]
async fn inputs_are_checked_before_any_call() {
    let error_of = async |vars| article().invoke(vars).await.unwrap_err().to_string();
    assert_eq!(error_of(vars! { topc: 1 }).await, "the chain has no input `topc`: did you mean `topic`?");
    let strict = dag().input("x").step(DagStep::template("a", "{{ x }}").unwrap()).build().unwrap();
    let missing = strict.invoke(Vars::new()).await.unwrap_err();
    assert_eq!(missing.to_string(), "the input `x` is missing and has no default");
}

#[tokio::test(start_paused = true)]
async fn every_step_and_item_has_its_events_under_its_name() {
    let slow = Fake::echo().latency(Duration::from_millis(100));
    let dag = dag()
        .input("words")
        .step(DagStep::new("each", prompt("{{ item }}") | slow | text()).for_each("words"))
        .step(DagStep::template("all", "{{ steps.each.output | join }}").unwrap())
        .build()
        .unwrap();
    let events: Vec<Event> = dag.events(vars! { words: ["a", "b"] }).collect().await;
    let of = |path: &str| {
        let kinds = events.iter().filter(|event| event.path.to_string() == path).map(|event| &event.kind);
        kinds
            .filter_map(|kind| match kind {
                EventKind::StepStarted => Some("started"),
                EventKind::StepFinished { .. } => Some("finished"),
                _ => None,
            })
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(of("each"), "started started finished finished");
    assert_eq!(of("each > fake/echo"), "started started finished finished");
    assert_eq!(of("all"), "started finished");
}

#[tokio::test]
async fn the_time_of_a_fan_out_grows_with_its_items_and_not_with_their_square() {
    let dag = dag()
        .input("list")
        .step(DagStep::template("a", "{{ index }} {{ item }}").unwrap().for_each("list.items"))
        .step(DagStep::template("b", "{{ item }}!").unwrap().for_each("steps.a.output"))
        .build()
        .unwrap();
    let run = async |items: usize| {
        let list: Vec<_> = (0..items).map(|n| format!("item {n}")).collect();
        let began = std::time::Instant::now();
        let made = output(&dag, vars! { list: json!({ "items": list }) }).await;
        assert_eq!(made[items - 1], format!("{items} item {}!", items - 1));
        began.elapsed()
    };
    let (few, many) = (run(500).await, run(8_000).await);
    // Sixteen times as many items: of the square it would be 256 times as long.
    assert!(many < few * 100, "{few:?}, then {many:?}");
}

#[test]
fn a_dag_draws_its_layers() {
    let dag = dag()
        .input_or("topic", "tides")
        .step(DagStep::items("outline", call(write, "{{ topic }}").lines()))
        .step(DagStep::new("section", call(write, "{{ item }}")).for_each("steps.outline.output"))
        .step(DagStep::new("intro", call(write, "{{ steps.outline.output }}")))
        .step(DagStep::template("article", "{{ steps.intro.output }}{{ steps.section.output }}").unwrap());
    assert_eq!(
        dag.graph().unwrap().to_string(),
        "\
outline
parallel
├─ section: section, for each of outline
└─ intro: intro
article (template)
"
    );
}

/// Runs with 1 MiB of memory.
async fn within_a_mebibyte(dag: Dag, vars: Vars) -> Result<Item> {
    dag.max_memory_bytes(1 << 20).build().unwrap().invoke(vars).await
}

#[tokio::test(start_paused = true)]
async fn values_that_the_run_keeps_end_at_its_memory_and_the_error_names_the_step() {
    let template = |name: &str, text: &str| DagStep::template(name, text).unwrap();
    let long = |_: Vars, _| async { Ok("x".repeat(400_000)) };
    let lines = |_: &str| Ok("an item of a few bytes\n".repeat(12_000));
    let names = || vars! { names: (0..40).collect::<Vec<_>>() };
    let input = || dag().input("names");
    for (dag, step) in [
        (input().step(template("page", "{{ 'x' * 50000 }}").for_each("names")), "step item "),
        (input().step(DagStep::new("code", long).for_each("names")), "step item "),
        (input().step(DagStep::new("a", long)).step(DagStep::new("b", long)), "step b"),
        // One output of 0.4 MB, which the next step copies three times.
        (
            input().step(DagStep::new("a", long)).step(template("b", "{{ steps.a.output | length }}")),
            "step b",
        ),
        (input().step(DagStep::items("items", call(lines, "{{ names }}").lines())), "step items"),
        (
            input()
                .step(DagStep::items("items", call(lines, "{{ names }}").lines()))
                .step(template("each", "{{ item }}").for_each("steps.items.output")),
            "step item ",
        ),
        (input().step(DagStep::new("a", prompt("{{ 'x' * 600000 }}") | Fake::echo())), "step a"),
    ] {
        let error = within_a_mebibyte(dag, names()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        let text = error.to_string();
        assert!(text.starts_with(step) && text.contains("more than its limit of 1 MiB"), "{text}");
    }
    let large = vars! { names: "x".repeat(1 << 20) };
    let error = within_a_mebibyte(input().step(template("a", "{{ names | length }}")), large).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Input);
}

#[tokio::test(start_paused = true)]
async fn a_large_value_that_each_item_copies_is_counted_for_the_items_in_flight() {
    let slow = step(|_: Vars, _| async {
        sleep(Duration::from_millis(1)).await;
        Ok("done".to_owned())
    });
    let each = |concurrency: usize| {
        let each = DagStep::new("each", slow.clone()).reads(["text", "item"]).for_each("names");
        let dag = dag().input("names").input("text").step(each).concurrency(concurrency);
        let vars = vars! { names: (0..50).collect::<Vec<_>>(), text: "x".repeat(50_000) };
        within_a_mebibyte(dag, vars)
    };
    assert_eq!(each(1).await.unwrap().into_value().unwrap().as_array().unwrap().len(), 50);
    let error = each(20).await.unwrap_err().to_string();
    assert!(error.contains(" > each: the prompts and outputs of the run need"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_calls_that_have_ended_is_released() {
    let last = call(|text| Ok(text[..1].to_owned()), "{{ 'x' * 100000 }}") | text();
    let one = DagStep::new("each", last).for_each("names");
    let dag = dag().input("names").step(one).concurrency(2);
    let done = within_a_mebibyte(dag, vars! { names: (0..40).collect::<Vec<_>>() }).await;
    assert_eq!(done.unwrap().into_value().unwrap().as_array().unwrap().len(), 40);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_counts_when_it_is_rendered_and_not_only_when_its_call_begins() {
    let began = Arc::new(AtomicUsize::new(0));
    let seen = began.clone();
    let observer = move |event: &Event| {
        let is_model = event.path.name().is_some_and(|name| name.contains('/'));
        if is_model && matches!(event.kind, EventKind::StepStarted) {
            seen.fetch_add(1, Ordering::Relaxed);
        }
    };
    let cx = Context::new().with_observer(Arc::new(observer));
    // A prompt counts with its request: 0.4 MB.
    let steps = (0..100).fold(dag().max_memory_bytes(1 << 20), |dag, n| {
        let short = call(|_| Ok("short".to_owned()), "{{ 'x' * 200000 }}") | text();
        dag.step(DagStep::new(format!("s{n}"), short))
    });
    let error = steps.build().unwrap().invoke_in(Vars::new(), &cx).await.unwrap_err();
    assert!(error.to_string().starts_with("step s2: the prompts and outputs"), "{error}");
    assert_eq!(began.load(Ordering::Relaxed), 2, "the third prompt does not get to its call");
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_of_many_steps_ends_the_run() {
    let slow = step(|_: Vars, _| async {
        sleep(Duration::from_secs(3600)).await;
        Ok("late".to_owned())
    });
    let broken = step(|_: Vars, _| async { Err::<String, _>(Error::new(ErrorKind::Step, "broken")) });
    let mut dag = dag();
    for n in 0..60 {
        dag = match n {
            50 => dag.step(DagStep::new("s50", broken.clone()).reads(Vec::<String>::new())),
            n => dag.step(DagStep::new(format!("s{n}"), slow.clone()).reads(Vec::<String>::new())),
        };
    }
    let began = Instant::now();
    let error = dag.build().unwrap().invoke(Vars::new()).await.unwrap_err();
    assert!(error.to_string().contains("s50"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_runs_of_a_dag_share_no_memory_and_a_dag_within_another_does() {
    let inner = dag().step(DagStep::template("page", "{{ 'x' * 100000 }}").unwrap());
    let chain = inner.clone().max_memory_bytes(1 << 20).build().unwrap();
    for row in chain.batch((0..20).map(|_| Vars::new())).collect().await {
        row.unwrap();
    }
    let cx = Context::new().with_max_memory(1 << 20);
    for _ in 0..20 {
        chain.invoke_in(Vars::new(), &cx).await.unwrap();
    }
    let each = DagStep::new("each", inner.max_memory_bytes(1 << 30).build().unwrap()).for_each("names");
    let outer = dag().input("names").step(each.reads(Vec::<String>::new()));
    let error = within_a_mebibyte(outer, vars! { names: (0..40).collect::<Vec<_>>() }).await.unwrap_err();
    assert!(error.to_string().contains("more than its limit of 1 MiB"), "{error}");
}
