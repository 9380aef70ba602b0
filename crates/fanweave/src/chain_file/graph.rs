//! The graph of a chain file: layers of steps in execution order. The steps of a layer run concurrently.

use super::check::{Checked, Source};
use super::spec::{Action, Spec};
use crate::{Graph, Node, Vars};

/// Builds the layers: each step is one layer below the lowest step that it waits for.
pub(super) fn of(spec: &Spec, checked: &[Checked]) -> Graph {
    let mut layers: Vec<usize> = vec![0; checked.len()];
    // One pass per step covers the longest path.
    for _ in 0..checked.len() {
        for step in 0..checked.len() {
            let source = match checked[step].source {
                Some(Source::Step(index, _)) => Some(index),
                _ => None,
            };
            let before = checked[step].waits_for.iter().copied().chain(source);
            layers[step] = before.map(|other| layers[other] + 1).max().unwrap_or(0);
        }
    }
    let last = layers.iter().copied().max().unwrap_or(0);
    let nodes = (0..=last).map(|layer| {
        let steps = (0..checked.len()).filter(|step| layers[*step] == layer);
        let mut steps: Vec<_> =
            steps.map(|step| (spec.steps[step].name.value.clone(), node(spec, checked, step))).collect();
        match steps.len() {
            1 => steps.remove(0).1,
            _ => Node::all_of("parallel", steps),
        }
    });
    let properties: serde_json::Map<_, _> =
        spec.inputs.iter().map(|input| (input.name.clone(), serde_json::json!({}))).collect();
    let required: Vec<_> =
        spec.inputs.iter().filter(|input| input.default.is_none()).map(|input| input.name.clone()).collect();
    let schema = serde_json::json!({ "type": "object", "properties": properties, "required": required });
    let mut nodes: Vec<_> = nodes.collect();
    if !nodes.is_empty() {
        let first = nodes.remove(0).with_input(schema);
        nodes.insert(0, first);
    }
    Graph::of::<Vars, serde_json::Value>(Node::sequence(nodes))
}

fn node(spec: &Spec, checked: &[Checked], index: usize) -> Node {
    let step = &spec.steps[index];
    let action = match &step.action {
        Action::Template(_) => " (template)",
        Action::Call { .. } => "",
    };
    let over = match &checked[index].source {
        Some(Source::Step(other, _)) => format!(", for each of {}", spec.steps[*other].name.value),
        Some(Source::Input(name, _)) => format!(", for each of {name}"),
        None => String::new(),
    };
    Node::step(format!("{}{action}{over}", step.name.value))
}
