//! Parses the lines of an answer.

use crate::many::lines::{LineFilter, lines_of};
use crate::think::answer_of;
use crate::{Context, Message, Node, Result, Runnable};

/// The step that [`lines`] makes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lines {
    filter: LineFilter,
}

impl Lines {
    /// Sets the lines to keep. Default: [`LineFilter::Auto`].
    #[must_use]
    pub fn filter(self, filter: LineFilter) -> Self {
        Self { filter }
    }
}

/// Returns the lines of a message, without numbering, bullets and empty lines. Prose around a list is
/// dropped: see [`LineFilter::Auto`].
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
    Lines::default()
}

impl Runnable for Lines {
    const DRIVES_CALLS: bool = true;

    type Input = Message;
    type Output = Vec<String>;

    async fn run(&self, message: Message, _: &Context) -> Result<Vec<String>> {
        Ok(lines_of(&answer_of(message), self.filter))
    }

    fn describe(&self) -> Node {
        Node::step("lines")
    }
}
