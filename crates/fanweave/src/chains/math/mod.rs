//! Evaluates arithmetic expressions written by a model, without running code.
//!
//! The evaluator supports numbers, operators and a fixed list of functions. It has no variables, no
//! attributes and no access to anything else. Input length, nesting, number of nodes and size of numbers are
//! limited, so that every evaluation ends quickly.

mod chain;
mod functions;
mod number;
mod parse;

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::fmt;

pub use chain::{MATH_PROMPT, Math, MathAnswer};
pub use number::Number;
use parse::{Expr, Op};

/// Maximum bytes of an expression.
pub const MAX_INPUT_BYTES: usize = 4096;

/// Maximum levels of nesting.
pub const MAX_DEPTH: usize = 64;

/// Maximum numbers, operators and calls in one expression.
pub const MAX_NODES: usize = 256;

/// Error of an evaluation: the text is not a valid expression, or has no value. `Display` shows the text.
///
/// ```
/// let error = fanweave::chains::math::evaluate("2 +* 3").unwrap_err();
/// assert_eq!(error.to_string(), "cannot evaluate `2 +* 3`: at character 4: `*` is not expected here");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MathError {
    text: String,
    /// Byte offset of the error. `None` if the text is a valid expression.
    at: Option<usize>,
    message: String,
}

impl MathError {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self { text: String::new(), at: Some(at), message: message.into() }
    }
}

impl fmt::Display for MathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot evaluate `{}`: ", self.text)?;
        if let Some(at) = self.at.filter(|at| *at > 0) {
            write!(f, "at character {}: ", at + 1)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for MathError {}

/// Maximum bytes of an expression in an error.
const MAX_EXCERPT_BYTES: usize = 120;

/// Evaluates an expression.
///
/// Supports numbers, `+ - * / // %`, powers as `**` or `^`, comparisons, parentheses, `pi`, `e`, and `abs
/// acos asin atan atan2 ceil cos cosh exp factorial floor gcd lcm log log10 log2 max min mod round sin sinh
/// sqrt tan tanh`, with the numpy names such as `arcsin` as aliases. `x`, `×` and `·` multiply, `÷` divides,
/// `−` is a minus, and numbers outside of calls may be written as `1,234`. `log` is the natural logarithm,
/// powers are right-associative and bind more tightly than a sign, `//` and `%` round down, `round` rounds
/// half to even. Integers are exact up to 4,900 digits.
///
/// ```
/// use fanweave::chains::math::evaluate;
///
/// assert_eq!(evaluate("2**3**2")?.to_string(), "512");
/// assert_eq!(evaluate("-2**2")?.to_string(), "-4");
/// assert_eq!(evaluate("-7 % 3")?.to_string(), "2");
/// assert_eq!(evaluate("round(100 * (1.05 ^ 10 - 1), 2)")?.to_string(), "62.89");
/// assert!(evaluate("9**9**9").is_err());
/// # Ok::<_, fanweave::chains::math::MathError>(())
/// ```
///
/// # Errors
/// If the text is not a valid expression, exceeds the limits ([`MAX_INPUT_BYTES`], [`MAX_DEPTH`],
/// [`MAX_NODES`]), or the result is not a finite real number.
pub fn evaluate(text: &str) -> Result<Number, MathError> {
    let text = text.trim_ascii();
    let shown = |error: MathError| MathError { text: shorten(text), ..error };
    let expr = parse::parse(text).map_err(shown)?;
    value(&expr).map_err(|message| shown(MathError { text: String::new(), at: None, message }))
}

fn shorten(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_EXCERPT_BYTES);
    let more = if end < text.len() { ".." } else { "" };
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text[..end].chars().map(plain).chain(more.chars()).collect()
}

/// The value of an expression. Recursion is bounded, since a tree has at most [`MAX_NODES`].
fn value(expr: &Expr) -> number::Outcome {
    match expr {
        Expr::Number(number) => Ok(number.clone()),
        Expr::Negate(operand) => number::negate(&value(operand)?),
        Expr::Binary(op, left, right) => {
            let (left, right) = (value(left)?, value(right)?);
            let compared = |holds: fn(Ordering) -> bool| {
                number::compare(&left, &right).map(|order| Number::Truth(holds(order)))
            };
            match op {
                Op::Add => number::add(&left, &right),
                Op::Subtract => number::subtract(&left, &right),
                Op::Multiply => number::multiply(&left, &right),
                Op::Divide => number::divide(&left, &right),
                Op::DivideDown => number::divide_down(&left, &right),
                Op::Rest => number::rest(&left, &right),
                Op::Power => number::power(&left, &right),
                Op::Less => compared(Ordering::is_lt),
                Op::LessEqual => compared(Ordering::is_le),
                Op::Greater => compared(Ordering::is_gt),
                Op::GreaterEqual => compared(Ordering::is_ge),
                Op::Equal => compared(Ordering::is_eq),
                Op::NotEqual => compared(Ordering::is_ne),
            }
        }
        Expr::Call(function, arguments) => {
            let values = arguments.iter().map(value).collect::<Result<Vec<_>, _>>()?;
            (function.call)(&values).map_err(|why| format!("{}: {why}", function.name))
        }
    }
}
