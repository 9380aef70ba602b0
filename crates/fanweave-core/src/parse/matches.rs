//! Parses answers with a regular expression.

use std::sync::Arc;

use regex::Regex;

use super::unreadable;
use crate::think::answer_of;
use crate::{Context, Error, ErrorKind, Message, Node, Result, Runnable, Vars};

/// The step that [`matches()`] makes.
#[derive(Debug, Clone)]
pub struct Matches {
    regex: Arc<Regex>,
}

/// Returns the matches of the named groups of a regular expression, by name. A group that did not participate
/// is omitted; an expression without named groups returns its whole match as `match`.
///
/// Matching takes time in proportion to the answer, whatever the expression.
///
/// ```
/// use fanweave::{Message, chain, parsers::matches, vars};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let score = chain(matches(r"Score: (?<score>\d+)(?: of (?<most>\d+))?")?);
/// let found = score.invoke(Message::assistant("Fine work. Score: 7 of 10")).await?;
/// assert_eq!(found, vars! { score: "7", most: "10" });
/// # Ok(())
/// # }) }
/// ```
///
/// # Errors
/// [`ErrorKind::Config`] if `pattern` is not a valid regular expression. A run fails with
/// [`ErrorKind::Parse`] if nothing matches.
pub fn matches(pattern: &str) -> Result<Matches> {
    let regex = Regex::new(pattern).map_err(|e| {
        Error::new(ErrorKind::Config, format!("`{pattern}` is not a valid regular expression: {e}"))
            .with_source(e)
    })?;
    Ok(Matches { regex: Arc::new(regex) })
}

impl Runnable for Matches {
    const DRIVES_CALLS: bool = true;

    type Input = Message;
    type Output = Vars;

    async fn run(&self, message: Message, _: &Context) -> Result<Vars> {
        let text = answer_of(message);
        let Some(found) = self.regex.captures(&text) else {
            return Err(unreadable(&format!("text that matches `{}`", self.regex), &text));
        };
        let named = self.regex.capture_names().flatten();
        let groups: Vars = named.filter_map(|name| Some((name, found.name(name)?.as_str()))).collect();
        let whole = || [("match", &found[0])].into_iter().collect();
        Ok(if self.regex.capture_names().flatten().next().is_none() { whole() } else { groups })
    }

    fn describe(&self) -> Node {
        Node::step("matches")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chain, vars};

    #[tokio::test]
    async fn an_answer_that_does_not_match_is_an_error_that_shows_it() {
        let year = chain(matches(r"\d{4}").unwrap());
        assert_eq!(year.invoke(Message::assistant("in 1888.")).await.unwrap(), vars! { match: "1888" });
        let error = year.invoke(Message::assistant("long ago")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Parse);
        assert_eq!(error.to_string(), r#"expected text that matches `\d{4}`, found "long ago""#);
        assert_eq!(matches("(").unwrap_err().kind(), ErrorKind::Config);
    }
}
