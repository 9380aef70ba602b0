//! Streams an answer to standard output.

use std::io::Write;

use fanweave::{Delta, Run};
use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::out::{self, written};

/// Prints the deltas of a run: text, and values as JSON. Returns its output, unless stdout was closed.
pub(crate) async fn print<O: Send + 'static>(mut run: Run<O>) -> Result<(Option<O>, Option<Exit>), Failure> {
    let mut stdout = std::io::stdout();
    let mut ends_line = true;
    while let Some(delta) = run.next().await {
        let text = match delta {
            Ok(Delta::Text { text, .. }) => text,
            Ok(Delta::Value(Value::String(text))) => text,
            Ok(Delta::Value(Value::Null)) => String::new(),
            Ok(Delta::Value(value)) => serde_json::to_string_pretty(&value).unwrap_or_default(),
            Ok(_) => continue,
            Err(error) => {
                // Ends the line of partial output, so that the error starts on a new one.
                if !ends_line {
                    let _ = writeln!(stdout);
                }
                return Err(error.into());
            }
        };
        if !text.is_empty() {
            ends_line = text.ends_with('\n');
            let shown = out::answer(&text);
            if let Some(exit) = written(write!(stdout, "{shown}").and_then(|()| stdout.flush()))? {
                return Ok((None, Some(exit)));
            }
        }
    }
    if !ends_line && let Some(exit) = written(writeln!(stdout))? {
        return Ok((None, Some(exit)));
    }
    Ok((Some(run.output().await?), None))
}
