//! Evaluates each line of stdin: prints its value, or `error: ..`. Built for `tests/math/run.sh`.

use std::io::{BufRead, Write};

use fanweave::chains::math::{Number, evaluate};

fn main() -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        match evaluate(&line?) {
            Ok(Number::Float(x)) => writeln!(out, "{x:?}")?,
            Ok(number) => writeln!(out, "{number}")?,
            Err(error) => writeln!(out, "error: {error}")?,
        }
    }
    out.flush()
}
