//! Returns the text of an answer.

use crate::{Context, Delta, Message, Node, Result, Runnable, Streaming};

/// The step that [`text`] makes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Text;

/// Returns the text of a message. When streamed, emits each text delta as it arrives and drops other deltas.
///
/// ```
/// use fanweave::{Message, chain, text};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// assert_eq!(chain(text()).invoke(Message::assistant("hello")).await?, "hello");
/// # Ok(())
/// # }) }
/// ```
pub fn text() -> Text {
    Text
}

impl Runnable for Text {
    const DRIVES_CALLS: bool = true;

    type Input = Message;
    type Output = String;

    async fn run(&self, message: Message, _: &Context) -> Result<String> {
        Ok(message.into_text())
    }

    fn streaming(&self) -> Streaming {
        Streaming::Through(Box::new(|delta: Delta| delta.as_text().is_some().then_some(delta)))
    }

    fn describe(&self) -> Node {
        Node::step("text")
    }
}
