//! Parses expressions by operator precedence, within limits.

use super::number::{self, Number};
use super::{MAX_DEPTH, MAX_INPUT_BYTES, MAX_NODES, MathError};

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Number(Number),
    Negate(Box<Expr>),
    Binary(Op, Box<Expr>, Box<Expr>),
    Call(&'static super::functions::Function, Vec<Expr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Equal,
    NotEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    DivideDown,
    Rest,
    Power,
}

/// Operator symbols, longest first.
const OPERATORS: [(&str, Op); 20] = [
    ("**", Op::Power),
    ("//", Op::DivideDown),
    ("<=", Op::LessEqual),
    (">=", Op::GreaterEqual),
    ("==", Op::Equal),
    ("!=", Op::NotEqual),
    ("<", Op::Less),
    (">", Op::Greater),
    ("+", Op::Add),
    ("-", Op::Subtract),
    ("*", Op::Multiply),
    ("/", Op::Divide),
    ("%", Op::Rest),
    ("^", Op::Power),
    ("\u{d7}", Op::Multiply),
    ("\u{b7}", Op::Multiply),
    ("\u{22c5}", Op::Multiply),
    ("\u{f7}", Op::Divide),
    (MINUS, Op::Subtract),
    // Only as a word: see `is_times`.
    ("x", Op::Multiply),
];

/// The mathematical minus sign.
const MINUS: &str = "\u{2212}";

/// Binding power of a sign: less than a power, more than a product. `-2**2` is -4.
const SIGN: u8 = 6;

impl Op {
    /// Binding power to the left and to the right. Powers are right-associative.
    fn binding(self) -> (u8, u8) {
        match self {
            Op::Less | Op::LessEqual | Op::Greater | Op::GreaterEqual | Op::Equal | Op::NotEqual => (1, 2),
            Op::Add | Op::Subtract => (3, 3),
            Op::Multiply | Op::Divide | Op::DivideDown | Op::Rest => (5, 5),
            // The exponent may begin with a sign: `2**-1`.
            Op::Power => (8, 6),
        }
    }

    fn is_comparison(self) -> bool {
        self.binding().0 == 1
    }
}

/// Parses `text` as one expression.
pub(super) fn parse(text: &str) -> Result<Expr, MathError> {
    if text.len() > MAX_INPUT_BYTES {
        let message = format!("it has {} bytes, the maximum is {MAX_INPUT_BYTES}", text.len());
        return Err(MathError::new(0, message));
    }
    let mut parser = Parser { text, at: 0, nodes: 0, depth: 0, calls: 0 };
    let expr = parser.expression(0)?;
    parser.skip_space();
    if parser.at < text.len() {
        return Err(parser.unexpected());
    }
    Ok(expr)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    nodes: usize,
    depth: usize,
    /// Number of the enclosing calls.
    calls: usize,
}

impl<'a> Parser<'a> {
    /// An expression whose operators have a higher binding power than `min`.
    fn expression(&mut self, min: u8) -> Result<Expr, MathError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(format!("it has more than {MAX_DEPTH} levels of nesting")));
        }
        let mut left = self.operand()?;
        let mut compared = false;
        while let Some((length, op)) = self.operator() {
            let (before, after) = op.binding();
            if before <= min {
                break;
            }
            if op.is_comparison() {
                if compared {
                    return Err(self.error("comparisons cannot be chained: compare two values".to_owned()));
                }
                compared = true;
            }
            self.at += length;
            let right = self.expression(after)?;
            left = self.node(Expr::Binary(op, Box::new(left), Box::new(right)))?;
        }
        self.depth -= 1;
        Ok(left)
    }

    /// A number, a name, a call, an expression in parentheses, or one of these with a sign.
    fn operand(&mut self) -> Result<Expr, MathError> {
        self.skip_space();
        if self.rest().starts_with(MINUS) {
            self.at += MINUS.len();
            let operand = self.expression(SIGN)?;
            return self.node(Expr::Negate(Box::new(operand)));
        }
        match self.rest().bytes().next() {
            Some(b'-') => {
                self.at += 1;
                let operand = self.expression(SIGN)?;
                self.node(Expr::Negate(Box::new(operand)))
            }
            Some(b'+') => {
                self.at += 1;
                self.expression(SIGN)
            }
            Some(b'(') => {
                self.at += 1;
                let inner = self.expression(0)?;
                self.close()?;
                Ok(inner)
            }
            Some(b'0'..=b'9' | b'.') => self.number(),
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => self.name(),
            _ => Err(self.unexpected()),
        }
    }

    fn number(&mut self) -> Result<Expr, MathError> {
        let rest = self.rest().as_bytes();
        let digits = |from: usize| rest[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let mut length = digits(0);
        // Within a call, a comma separates arguments, not thousands.
        if self.calls == 0 && (1..=3).contains(&length) && rest[0] != b'0' {
            while rest.get(length) == Some(&b',') && digits(length + 1) == 3 {
                length += 4;
            }
        }
        if rest.get(length) == Some(&b'.') {
            length += 1 + digits(length + 1);
        }
        if length == 1 && rest[0] == b'.' {
            return Err(self.unexpected());
        }
        if let Some(b'e' | b'E') = rest.get(length) {
            let sign = usize::from(matches!(rest.get(length + 1), Some(b'+' | b'-')));
            let exponent = digits(length + 1 + sign);
            if exponent > 0 {
                length += 1 + sign + exponent;
            }
        }
        let text = self.rest()[..length].replace(',', "");
        let number = number::literal(&text).map_err(|why| self.error(why))?;
        self.at += length;
        // `0x10` is not a product.
        if text != "0" && is_times(self.rest()) {
            return self.node(Expr::Number(number));
        }
        if let Some(b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'.') = self.rest().bytes().next() {
            return Err(self.unexpected());
        }
        self.node(Expr::Number(number))
    }

    fn name(&mut self) -> Result<Expr, MathError> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = &rest[..end];
        let start = self.at;
        self.at += end;
        self.skip_space();
        if !self.rest().starts_with('(') {
            let constant = match name {
                "pi" => std::f64::consts::PI,
                "e" => std::f64::consts::E,
                _ => return Err(unknown(start, name)),
            };
            return self.node(Expr::Number(Number::Float(constant)));
        }
        let function = super::functions::named(name).ok_or_else(|| unknown(start, name))?;
        self.at += 1;
        self.calls += 1;
        let mut arguments = vec![self.expression(0)?];
        loop {
            self.skip_space();
            if !self.rest().starts_with(',') {
                break;
            }
            self.at += 1;
            arguments.push(self.expression(0)?);
        }
        self.close()?;
        self.calls -= 1;
        if !function.takes.contains(&arguments.len()) {
            let message = format!("{} does not take {} arguments", function.name, arguments.len());
            return Err(MathError::new(start, message));
        }
        self.node(Expr::Call(function, arguments))
    }

    fn close(&mut self) -> Result<(), MathError> {
        self.skip_space();
        if !self.rest().starts_with(')') {
            return Err(if self.at == self.text.len() {
                self.error("a `)` is missing".to_owned())
            } else {
                self.unexpected()
            });
        }
        self.at += 1;
        Ok(())
    }

    /// The next operator and its length.
    fn operator(&mut self) -> Option<(usize, Op)> {
        self.skip_space();
        let rest = self.rest();
        let found = OPERATORS.iter().find(|(sign, _)| rest.starts_with(sign));
        found.filter(|(sign, _)| *sign != "x" || is_times(rest)).map(|(sign, op)| (sign.len(), *op))
    }

    fn node(&mut self, expr: Expr) -> Result<Expr, MathError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.error(format!("it has more than {MAX_NODES} parts")));
        }
        Ok(expr)
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        // Also the spaces of other widths that models write between digits and signs.
        let space = |c: char| c.is_ascii_whitespace() || matches!(c, '\u{a0}' | '\u{2009}' | '\u{202f}');
        self.at = self.text.len() - self.rest().trim_start_matches(space).len();
    }

    fn unexpected(&self) -> MathError {
        self.error(match self.rest().chars().next() {
            Some(c) => format!("`{}` is not expected here", c.escape_debug()),
            None if self.text.trim().is_empty() => "it is empty".to_owned(),
            None => "it ends where a number is expected".to_owned(),
        })
    }

    fn error(&self, message: String) -> MathError {
        MathError::new(self.at, message)
    }
}

/// Returns true if `text` begins with an `x` that is a sign of multiplication, not the beginning of a name.
fn is_times(text: &str) -> bool {
    text.strip_prefix('x')
        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
}

fn unknown(at: usize, name: &str) -> MathError {
    let name: String = name.chars().take(32).collect();
    MathError::new(at, format!("`{name}` is neither a function nor a constant"))
}
