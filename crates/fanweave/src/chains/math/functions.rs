//! The functions of the evaluator.

use std::ops::RangeInclusive;

use super::number::{self, Number, Outcome};

/// A function of the evaluator.
pub(super) struct Function {
    pub(super) name: &'static str,
    /// Accepted number of arguments.
    pub(super) takes: RangeInclusive<usize>,
    pub(super) call: fn(&[Number]) -> Outcome,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// The function called `name`.
pub(super) fn named(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

const fn one(name: &'static str, call: fn(&[Number]) -> Outcome) -> Function {
    Function { name, takes: 1..=1, call }
}

macro_rules! of_float {
    ($name:literal, $function:path) => {
        one($name, |values| number::of_float(&values[0], $function))
    };
}

static FUNCTIONS: &[Function] = &[
    one("abs", |values| number::absolute(&values[0])),
    one("ceil", |values| number::to_whole(&values[0], f64::ceil)),
    one("floor", |values| number::to_whole(&values[0], f64::floor)),
    one("log", |values| number::logarithm(&values[0], f64::ln)),
    one("log10", |values| number::logarithm(&values[0], f64::log10)),
    one("log2", |values| number::logarithm(&values[0], f64::log2)),
    one("sqrt", |values| number::square_root(&values[0])),
    of_float!("exp", f64::exp),
    of_float!("sin", f64::sin),
    of_float!("cos", f64::cos),
    of_float!("tan", f64::tan),
    of_float!("asin", f64::asin),
    of_float!("arcsin", f64::asin),
    of_float!("acos", f64::acos),
    of_float!("arccos", f64::acos),
    of_float!("atan", f64::atan),
    of_float!("arctan", f64::atan),
    of_float!("sinh", f64::sinh),
    of_float!("cosh", f64::cosh),
    of_float!("tanh", f64::tanh),
    Function { name: "atan2", takes: 2..=2, call: arc_tangent },
    Function { name: "arctan2", takes: 2..=2, call: arc_tangent },
    Function { name: "round", takes: 1..=2, call: round },
    one("factorial", |values| number::factorial(&values[0])),
    Function {
        name: "gcd",
        takes: 1..=256,
        call: |values| number::fold_whole(values, number::greatest_divisor),
    },
    Function {
        name: "lcm",
        takes: 1..=256,
        call: |values| number::fold_whole(values, number::least_multiple),
    },
    Function { name: "mod", takes: 2..=2, call: |values| number::rest(&values[0], &values[1]) },
    Function { name: "min", takes: 1..=256, call: |values| best(values, std::cmp::Ordering::Less) },
    Function { name: "max", takes: 1..=256, call: |values| best(values, std::cmp::Ordering::Greater) },
];

fn arc_tangent(values: &[Number]) -> Outcome {
    number::of_floats(&values[0], &values[1], f64::atan2)
}

fn round(values: &[Number]) -> Outcome {
    match values {
        [value, digits] => number::round_to(value, digits),
        _ => number::to_whole(&values[0], f64::round_ties_even),
    }
}

fn best(values: &[Number], wanted: std::cmp::Ordering) -> Outcome {
    let mut best = &values[0];
    for value in values {
        if number::compare(value, best)? == wanted {
            best = value;
        }
    }
    Ok(best.clone())
}
