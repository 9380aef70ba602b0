//! Parses the lines of an answer.

use crate::many::lines::strip;
use crate::think::answer_of;
use crate::{Context, Message, Node, Result, Runnable};

/// The step that [`lines`] makes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lines;

/// Returns the lines of a message, without numbering, bullets and empty lines.
///
/// [`Chain::lines`](crate::Chain::lines) emits each line as soon as it is complete.
///
/// ```
/// use fanweave::{Message, chain, lines};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let all = chain(lines()).invoke(Message::assistant("1. Tides\n\n2. Turbines")).await?;
/// assert_eq!(all, ["Tides", "Turbines"]);
/// # Ok(())
/// # }) }
/// ```
pub fn lines() -> Lines {
    Lines
}

impl Runnable for Lines {
    const DRIVES_CALLS: bool = true;

    type Input = Message;
    type Output = Vec<String>;

    async fn run(&self, message: Message, _: &Context) -> Result<Vec<String>> {
        let text = answer_of(message);
        Ok(text.lines().map(strip).filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }

    fn describe(&self) -> Node {
        Node::step("lines")
    }
}
