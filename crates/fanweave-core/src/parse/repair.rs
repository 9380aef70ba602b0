//! Another try where an answer cannot be read.

use crate::{Context, ErrorKind, Message, Model, Node, Prompt, Result, Runnable};

/// The step that [`repair`] makes.
#[derive(Debug, Clone)]
pub struct Repair<P> {
    parser: P,
    model: Model,
    times: usize,
}

/// Reads an answer with `parser`. Where that fails with [`ErrorKind::Parse`], shows the answer and the error to
/// `model` and reads what it writes instead, at most `times` times.
///
/// `model` sees the answer alone, not the prompt that asked for it. The answer comes in one piece: a partial
/// value could belong to an answer that is then replaced.
///
/// # Errors
/// A run fails with the error of the last try, or of `model`.
///
/// ```
/// use fanweave_core::{Message, chain, json, model::fake::Fake, repair};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> fanweave_core::Result<()> {
/// let model = Fake::script([Ok(r#"{"a": 1}"#)]).model();
/// let value = chain(repair(json(), &model, 2)).invoke(Message::assistant("{a: 1}")).await?;
/// assert_eq!(value["a"], 1);
/// # Ok(())
/// # }
/// ```
pub fn repair<P: Runnable<Input = Message>>(parser: P, model: &Model, times: usize) -> Repair<P> {
    Repair { parser, model: model.clone(), times }
}

impl<P: Runnable<Input = Message>> Runnable for Repair<P> {
    type Input = Message;
    type Output = P::Output;

    async fn run(&self, mut message: Message, cx: &Context) -> Result<P::Output> {
        // Pieces of a repaired answer are text, not pieces of what the parser gives.
        let muted = cx.muted();
        for _ in 0..self.times {
            let error = match self.parser.run(message.clone(), &muted).await {
                Err(error) if error.kind() == ErrorKind::Parse => error,
                done => return done,
            };
            let ask = format!(
                "This answer could not be read: {error}. Write it again so that it can, and nothing else."
            );
            let prompt = Prompt::new([Message::assistant(message.text()), Message::user(ask)]);
            message = self.model.run(prompt, &muted).await?;
        }
        self.parser.run(message, &muted).await
    }

    fn describe(&self) -> Node {
        Node::around("repair", [self.parser.describe()])
    }
}

#[cfg(test)]
mod tests {
    use crate::model::fake::Fake;
    use crate::{ErrorKind, Message, chain, choice, repair};

    #[tokio::test]
    async fn a_model_is_asked_at_most_so_many_times() {
        let broken = || Message::assistant("maybe");
        let model = Fake::script([Ok("perhaps"), Ok("yes")]).model();
        let parser = repair(choice(["yes", "no"]), &model, 1);
        assert_eq!(chain(parser.clone()).invoke(broken()).await.unwrap_err().kind(), ErrorKind::Parse);
        assert_eq!(chain(parser.clone()).invoke(broken()).await.unwrap(), "yes");
        // Readable answers cost nothing: the script has ended.
        assert_eq!(chain(parser).invoke(Message::assistant("no")).await.unwrap(), "no");
    }
}
