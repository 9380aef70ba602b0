//! Parses the items of a comma-separated answer.

use crate::think::answer_of;
use crate::{Context, Message, Node, Result, Runnable};

/// The step that [`list`] makes.
#[derive(Debug, Clone, Copy, Default)]
pub struct List;

/// Returns the items of a comma-separated message. A comma between double quotes belongs to its item, `""`
/// within quotes is a quote, and empty items are skipped.
///
/// ```
/// use fanweave::{Message, chain, parsers::list};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let all = chain(list()).invoke(Message::assistant(r#"red, "green, or blue""#)).await?;
/// assert_eq!(all, ["red", "green, or blue"]);
/// # Ok(())
/// # }) }
/// ```
pub fn list() -> List {
    List
}

impl Runnable for List {
    const DRIVES_CALLS: bool = true;

    type Input = Message;
    type Output = Vec<String>;

    async fn run(&self, message: Message, _: &Context) -> Result<Vec<String>> {
        Ok(split(&answer_of(message)))
    }

    fn describe(&self) -> Node {
        Node::step("list")
    }
}

fn split(text: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut item = String::new();
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                item.push('"');
            }
            '"' if quoted => quoted = false,
            // Inside a word a quote is literal: `5" pipe`.
            '"' if item.trim().is_empty() => quoted = true,
            ',' | '\n' if !quoted => end(&mut items, &mut item),
            c => item.push(c),
        }
    }
    end(&mut items, &mut item);
    items
}

fn end(items: &mut Vec<String>, item: &mut String) {
    let trimmed = item.trim();
    if !trimmed.is_empty() {
        items.push(trimmed.to_owned());
    }
    item.clear();
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn commas_in_quotes_stay_and_empty_items_go() {
        assert_eq!(split(r#" a,, "b, ""c""" ,5" pipe, "#), ["a", r#"b, "c""#, r#"5" pipe"#]);
        assert!(split("").is_empty());
    }
}
