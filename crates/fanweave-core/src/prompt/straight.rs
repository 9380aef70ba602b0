//! Templates whose work is bounded by their length and their values.
//!
//! A template without loops, operators and filters that make long values runs each of its steps once, and
//! writes each value as often as it is written in the template. If that cannot reach the limits, nothing has
//! to be counted while it is rendered. Nearly all prompts are such templates.

use minijinja::machinery::{Instruction, Instructions};
use serde_json::Value;

use super::guard::{all, targets, with_constant};
use super::limits::STEP;
use super::text_filters::{CASED, ESCAPED};

/// Facts about the steps of such a template.
#[derive(Debug, Clone, Copy)]
pub(super) struct Straight {
    /// Work of its steps and of its own text.
    base: u64,
    /// Bytes of the text for each byte of a value, at most.
    growth: u64,
}

/// Bytes of an integer, or of the marks around a value in a list.
const MARKS: u64 = 32;

/// Bytes of a number that is not an integer. Source: its digits are written without an exponent, 326 for the
/// smallest.
const FLOAT: u64 = 352;

/// Maximum depth of values. Deeper ones are counted by the language.
const MAX_DEPTH: u32 = 16;

impl Straight {
    /// Looks at the steps of a template of `len` bytes.
    pub(super) fn of(steps: &Instructions<'_>, len: usize) -> Option<Self> {
        let targets = targets(steps);
        let mut count = 0_u64;
        let mut constants = 0_u64;
        // Growth of the values that are written, of one that is not written yet, and of local variables.
        let (mut written, mut pending, mut kept) = (0_u64, 1_u64, 1_u64);
        for (at, step) in all(steps) {
            count += 1;
            match step {
                Instruction::EmitRaw(_)
                | Instruction::Lookup(_)
                | Instruction::GetAttr(_)
                | Instruction::Not
                | Instruction::DupTop
                | Instruction::DiscardTop => {}
                Instruction::LoadConst(value) if value.as_object().is_none() => {
                    constants += value.as_str().map_or(MARKS, |text| text.len() as u64);
                }
                Instruction::Emit => written = written.saturating_add(std::mem::replace(&mut pending, 1)),
                Instruction::StoreLocal(_) => {
                    kept = kept.saturating_mul(std::mem::replace(&mut pending, 1));
                }
                Instruction::Jump(target)
                | Instruction::JumpIfFalse(target)
                | Instruction::JumpIfFalseOrPop(target)
                | Instruction::JumpIfTrueOrPop(target)
                    if *target > at => {}
                Instruction::Eq
                | Instruction::Ne
                | Instruction::Gt
                | Instruction::Gte
                | Instruction::Lt
                | Instruction::Lte
                    if with_constant(steps, &targets, at) => {}
                Instruction::PerformTest(
                    "defined" | "undefined" | "none" | "true" | "false" | "string",
                    ..,
                ) => {}
                Instruction::ApplyFilter(name, count, _) => {
                    pending = pending.saturating_mul(growth_of(name, *count)?);
                }
                _ => return None,
            }
        }
        let growth = written.max(1).saturating_mul(kept).saturating_mul(pending);
        let base = count.saturating_mul(STEP).saturating_add(len as u64);
        Some(Self { base: base.saturating_add(constants.saturating_mul(growth)), growth })
    }

    /// Work of a rendering at most, in bytes, with values of so many [bytes](bytes).
    pub(super) fn work(&self, bytes: u64) -> u64 {
        self.base.saturating_add(bytes.saturating_mul(self.growth))
    }
}

/// Bytes of a value that is written out, at most. `None` if that must be counted while it is rendered.
#[inline]
pub(super) fn bytes(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => Some(text.len() as u64),
        Value::Array(_) | Value::Object(_) => written(value, 0),
        Value::Number(number) if number.is_f64() => Some(FLOAT),
        _ => Some(MARKS),
    }
}

/// Bytes that a filter makes for a byte of its input, at most. `None` for those that are not bounded so.
fn growth_of(filter: &str, arguments: Option<u16>) -> Option<u64> {
    match filter {
        "default" | "d" => Some(1),
        _ if arguments != Some(1) => None,
        "trim" | "length" | "count" | "int" | "first" | "last" => Some(1),
        "upper" | "lower" | "title" | "capitalize" => Some(CASED),
        "tojson" => Some(ESCAPED),
        _ => None,
    }
}

/// Bytes of a list or an object that is written out, at most.
fn written(value: &Value, depth: u32) -> Option<u64> {
    let mut bytes = MARKS;
    match value {
        Value::String(text) => bytes += ESCAPED * text.len() as u64,
        Value::Number(number) if number.is_f64() => bytes += FLOAT,
        _ if depth == MAX_DEPTH => return None,
        Value::Array(items) => {
            for item in items {
                bytes += written(item, depth + 1)?;
            }
        }
        Value::Object(fields) => {
            for (name, item) in fields {
                bytes += ESCAPED * name.len() as u64 + written(item, depth + 1)?;
            }
        }
        _ => {}
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use crate::prompt::RenderLimits;
    use crate::prompt::values::Values;
    use crate::{Template, Vars, vars};

    fn is_free(text: &str, vars: &Vars) -> bool {
        Template::parse(text).unwrap().is_rendered_without_limits(vars)
    }

    #[test]
    fn prompts_without_loops_and_growing_filters_are_rendered_without_limits() {
        let vars = vars! { x: "a bear", n: 3, user: { "name": "Ada", "tags": ["a", "b"] }, text: "x".repeat(50_000) };
        for text in [
            "Tell a joke about {{ x }}.",
            "{{ x | trim | upper }} {{ user.name }} {{ user }} {{ user.tags | tojson }}",
            "{% if n > 2 and x == 'b' %}{{ x }}{% elif y is defined %}{{ y }}{% else %}{{ n }}{% endif %}",
            "{{ y | default('none') }}{% set z = x %}{{ z }}",
            "Summarise:\n{{ text }}",
        ] {
            assert!(is_free(text, &vars), "{text}");
        }
        for text in [
            "{% for t in user.tags %}{{ t }}{% endfor %}",
            "{{ x * n }}",
            "{{ x ~ x }}",
            "{{ user.tags | join(text) }}",
            "{{ x | replace('a', text) }}",
            "{{ '%9d' | format(n) }}",
            "{% set s %}{{ text }}{% endset %}{{ s }}{{ s }}",
            "{{ user | tojson(indent=2) }}",
            "{{ range(n) }}",
        ] {
            assert!(!is_free(text, &vars), "{text}");
        }
    }

    #[test]
    fn values_that_could_reach_a_limit_are_counted() {
        let long = vars! { x: "x".repeat(3 << 20) };
        assert!(!is_free("{{ x }}", &long));
        let often = "{{ x }}".repeat(1_000);
        assert!(is_free(&often, &vars! { x: "x".repeat(100) }));
        assert!(!is_free(&often, &vars! { x: "x".repeat(10_000) }));
        let small = RenderLimits::default().max_output_bytes(1_000);
        let template = Template::parse("{{ x }}").unwrap().with_limits(small);
        assert!(!template.is_rendered_without_limits(&vars! { x: "x".repeat(1_000) }));
        let limits = RenderLimits::default().max_output_bytes(300);
        let template = Template::parse("{{ x }}").unwrap().with_limits(limits);
        assert!(!template.is_rendered_without_limits(&vars! { x: -1e-258 }), "it has 261 digits");
        let deep = (0..100).fold(json!(1), |value, _| json!([value]));
        assert!(!is_free("{{ x }}", &vars! { x: deep }));
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let text = prop_oneof!["[a-z<&'\"ΐßŉ\u{1}\u{200b}\n\\\\]{0,40}", Just(String::new())];
        let leaf = prop_oneof![
            text.prop_map(|text| json!(text)),
            any::<f64>().prop_map(|n| json!(n)),
            Just(json!(null))
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|list| json!(list)),
                prop::collection::btree_map("[a-zΐ\\n]{1,8}", inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_text_is_never_longer_than_its_bound(
            parts in prop::collection::vec(0..9_usize, 1..8),
            a in value(),
            b in value(),
        ) {
            let filters = ["", "|trim", "|upper", "|tojson", "|tojson|tojson", "|default('none')", "|title|upper", "|lower", "|first"];
            let text: String = parts.iter().enumerate()
                .map(|(at, part)| format!("{{{{ {}{} }}}}", if at % 2 == 0 { "a" } else { "b" }, filters[*part])).collect();
            let vars = vars! { a: a, b: b };
            let template = Template::parse(&text).unwrap();
            let (straight, free, counted) = template.free_and_counted(&vars).expect("neither loops nor operators");
            if let (Some(bytes), Ok(free)) = (Values::of(&vars, true).bytes(&vars), &free) {
                let bound = straight.work(bytes);
                prop_assert!(free.len() as u64 <= bound, "{} > {bound}: {text}", free.len());
            }
            prop_assert_eq!(free.map_err(|e| e.to_string()), counted.map_err(|e| e.to_string()));
        }
    }
}
