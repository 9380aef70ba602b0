//! The same dag in code and in a file gives the same events. Other languages are held against the same
//! fixture.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use serde_json::{Value, json};

use super::ChainFile;
use crate::{
    Chain, Context, DagStep, Event, Item, Model, OnError, Vars, dag, json, model, prompt, text, vars,
};

const FILE: &str = include_str!("../../tests/fixtures/dag/article.yaml");
const EVENTS: &str = include_str!("../../tests/fixtures/dag/events.json");

fn in_code(model: &Model) -> Chain<Vars, Item> {
    let ask = |text: &str| -> Chain<Vars, crate::Message> { prompt(text) | model };
    let is_not_second = |vars: Vars, _: Context| async move { Ok(vars.get("index") != Some(&json!(2))) };
    dag()
        .input_or("topic", "tidal power")
        .step(DagStep::items("outline", ask("List 4 titles for an article about {{ topic }}.").lines()))
        .step(
            DagStep::new(
                "section",
                ask("Write two sentences for section {{ index }}, '{{ item }}'.") | text(),
            )
            .for_each("steps.outline.output")
            .when(is_not_second),
        )
        .step(DagStep::new(
            "intro",
            ask("Write a sentence that introduces {{ steps.outline.output | length }} sections.") | text(),
        ))
        .step(
            DagStep::new("review", ask("Write a sentence about {{ inputs.topic }}.") | json())
                .on_error(OnError::Null),
        )
        .step(
            DagStep::template(
                "article",
                "{{ steps.intro.output }}\n\n{{ steps.section.output | join('\\n\\n') }}",
            )
            .unwrap()
            .needs(["review"]),
        )
        .build()
        .unwrap()
}

/// The kind of an event, as it is serialised.
fn kind(event: &Event) -> String {
    match serde_json::to_value(&event.kind).unwrap() {
        Value::String(kind) => kind,
        Value::Object(kind) => kind.keys().next().unwrap().clone(),
        other => panic!("{other} is not a kind"),
    }
}

fn path(event: &Event) -> Vec<String> {
    event.path.names().map(str::to_owned).collect()
}

/// The kinds of each run of each step in their order, with deltas in a row as one, and all labels.
fn listing(events: &[Event]) -> Value {
    let mut runs = BTreeMap::<_, (Vec<String>, Vec<String>)>::new();
    let mut labels = BTreeSet::new();
    for event in events {
        // The deltas of the whole dag belong to no run of a step.
        let run = (!event.path.is_empty()).then_some(event.run);
        let (_, kinds) = runs.entry(run).or_insert_with(|| (path(event), Vec::new()));
        let kind = kind(event);
        if kind != "delta" || kinds.last() != Some(&kind) {
            kinds.push(kind);
        }
        let metadata = event.metadata("team").cloned().unwrap_or_default();
        labels.insert(json!({ "tags": event.tags().collect::<Vec<_>>(), "team": metadata }).to_string());
    }
    let mut steps = BTreeMap::<_, usize>::new();
    for run in runs.into_values() {
        *steps.entry(run).or_default() += 1;
    }
    let steps =
        steps.into_iter().map(|((path, kinds), runs)| json!({ "path": path, "kinds": kinds, "runs": runs }));
    let labels = labels.iter().map(|labels| serde_json::from_str::<Value>(labels).unwrap());
    json!({ "labels": labels.collect::<Vec<_>>(), "steps": steps.collect::<Vec<_>>() })
}

/// The number of the first or last event of a step with that kind.
fn position(events: &[Event], at: &Value) -> usize {
    let is = |event: &Event| json!(path(event)) == at["path"] && at["kind"] == *kind(event);
    let found = match at["which"].as_str() {
        Some("first") => events.iter().position(is),
        Some("last") => events.iter().rposition(is),
        which => panic!("{which:?} is neither first nor last"),
    };
    found.unwrap_or_else(|| panic!("no event is {at}"))
}

#[tokio::test(start_paused = true)]
async fn the_same_dag_in_code_and_in_yaml_gives_the_same_events() {
    let fixture: Value = serde_json::from_str(EVENTS).unwrap();
    let file = ChainFile::parse("article.yaml", FILE).unwrap();
    let in_yaml = file.chain(|name| model(name.unwrap())).unwrap();
    let in_code = in_code(&model("sim/writer").unwrap()).output_as::<Value>();
    let mut outputs = Vec::new();
    for (what, chain) in [("yaml", in_yaml), ("code", in_code)] {
        let cx = Context::new().with_tag("nightly").with_metadata("team", "docs");
        let events: Vec<_> = chain.events_in(vars! { topic: "wind" }, &cx).collect().await;
        let listed = listing(&events);
        assert_eq!(
            listed["labels"],
            fixture["labels"],
            "{what}: {}",
            serde_json::to_string_pretty(&listed).unwrap()
        );
        assert_eq!(
            listed["steps"],
            fixture["steps"],
            "{what}: {}",
            serde_json::to_string_pretty(&listed).unwrap()
        );
        for pair in fixture["order"].as_array().unwrap() {
            assert!(position(&events, &pair["before"]) < position(&events, &pair["after"]), "{what}: {pair}");
        }
        outputs.push(chain.invoke(vars! { topic: "wind" }).await.unwrap());
    }
    assert_eq!(outputs[0], outputs[1]);
    assert!(outputs[0].as_str().unwrap().len() > 100);
}
