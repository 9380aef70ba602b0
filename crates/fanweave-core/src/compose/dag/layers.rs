//! The diagram of a dag: layers of steps in execution order. The steps of a layer run concurrently.

use serde_json::json;

use super::plan::{Plan, PlannedAction, Source};
use crate::{Node, Runnable};

/// The layers in sequence: each step is one layer below the lowest step that it waits for.
pub(super) fn sequence(plan: &Plan) -> Node {
    let mut layers: Vec<usize> = vec![0; plan.steps.len()];
    // One pass per step covers the longest path.
    for _ in 0..layers.len() {
        let before = layers.clone();
        for (step, layer) in layers.iter_mut().enumerate() {
            *layer = plan.steps[step].before().map(|other| before[other] + 1).max().unwrap_or(0);
        }
        if layers == before {
            break;
        }
    }
    let last = layers.iter().copied().max().unwrap_or(0);
    let mut nodes: Vec<_> = (0..=last)
        .map(|layer| {
            let steps = (0..layers.len()).filter(|step| layers[*step] == layer);
            let mut steps: Vec<_> =
                steps.map(|step| (plan.steps[step].name.to_string(), node(plan, step))).collect();
            match steps.len() {
                1 => steps.remove(0).1,
                _ => Node::all_of("parallel", steps),
            }
        })
        .collect();
    let properties: serde_json::Map<_, _> =
        plan.inputs.iter().map(|(name, _)| (name.to_string(), json!({}))).collect();
    let required: Vec<_> =
        plan.inputs.iter().filter(|(_, default)| default.is_none()).map(|(name, _)| &**name).collect();
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    let inputs = plan.inputs.iter().map(|(name, _)| name.to_string()).collect();
    let first = nodes.remove(0).with_input(schema).with_reads(inputs);
    nodes.insert(0, first);
    Node::sequence(nodes)
}

fn node(plan: &Plan, index: usize) -> Node {
    let step = &plan.steps[index];
    let action = match &step.action {
        PlannedAction::Template(_) => " (template)",
        _ => "",
    };
    let over = match &step.for_each {
        Some(Source::Step(other, _)) => format!(", for each of {}", plan.steps[*other].name),
        Some(Source::Input(name, _)) => format!(", for each of {name}"),
        None => String::new(),
    };
    let models = match &step.action {
        PlannedAction::Vars { chain, .. } => chain.describe().models(),
        PlannedAction::Items { items, .. } => items.describe().models(),
        PlannedAction::Of(_, chain) => chain.describe().models(),
        PlannedAction::Template(_) => 0,
    };
    let times = if step.for_each.is_some() { 2 } else { 1 };
    Node::step(format!("{}{action}{over}", step.name)).with_models(models * times)
}
