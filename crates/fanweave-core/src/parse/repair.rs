//! Retries an answer that cannot be parsed.

use std::sync::Arc;

use crate::chain::{Chain, chain};
use crate::parse::json::BeforeRetry;
use crate::runnable::run_within;
use crate::{Context, Error, ErrorKind, Message, Model, Node, Prompt, Result, Runnable};

/// The step that [`repair`] makes.
#[derive(Debug, Clone)]
pub struct Repair<P> {
    parser: P,
    model: Model,
    times: usize,
}

/// Parses an answer with `parser`. If that fails with [`ErrorKind::Parse`], sends the answer and the error to
/// `model` and parses its reply instead, at most `times` times.
///
/// `model` sees only the answer, not the original prompt. The answer arrives as one delta: a partial value
/// could belong to an answer that is then replaced.
///
/// # Errors
/// A run fails with the error of the last attempt, or of `model`.
///
/// ```
/// use fanweave::{Message, chain, json, parsers::repair, testing::Fake};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let model = Fake::script([Ok(r#"{"a": 1}"#)]).model();
/// let value = chain(repair(json(), &model, 2)).invoke(Message::assistant("a is 1")).await?;
/// assert_eq!(value["a"], 1);
/// # Ok(())
/// # }) }
/// ```
pub fn repair<P: Runnable<Input = Message>>(parser: P, model: &Model, times: usize) -> Repair<P> {
    Repair { parser, model: model.clone(), times }
}

impl<P: Runnable<Input = Message>> Runnable for Repair<P> {
    const DRIVES_CALLS: bool = true;

    type Input = Message;
    type Output = P::Output;

    async fn run(&self, mut message: Message, cx: &Context) -> Result<P::Output> {
        // Deltas of a repaired answer are text, not deltas of the parser's output.
        let without_deltas = cx.without_deltas().with_extension(Arc::new(BeforeRetry));
        for _ in 0..self.times {
            let error = match run_within(&self.parser, message.clone(), &without_deltas).await {
                Err(error) if error.kind() == ErrorKind::Parse => error,
                done => return done,
            };
            let prompt = Prompt::new(retry_messages(message.text(), &error).collect::<Vec<_>>());
            message = self.model.run(prompt, &without_deltas).await?;
        }
        run_within(&self.parser, message, &without_deltas).await
    }

    fn describe(&self) -> Node {
        Node::around("repair", [self.parser.describe()])
    }
}

/// Calls `model` and parses its answer with `parser`. If that fails with [`ErrorKind::Parse`], the
/// conversation continues: the model receives its answer and the error, and answers again, at most `times`
/// times.
///
/// ```
/// use fanweave::{json, parsers::repaired, prompt, testing::Fake, vars};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let model = Fake::script([Ok("It is of size 3."), Ok(r#"{"size": 3}"#)]).model();
/// let size = prompt("How large is {{ x }}? Answer in JSON.") | repaired(&model, json(), 2);
/// assert_eq!(size.invoke(vars! { x: "it" }).await?["size"], 3);
/// # Ok(())
/// # }) }
/// ```
///
/// # Errors
/// A run fails with the error of the last attempt, or of `model`.
pub fn repaired<P: Runnable<Input = Message>>(
    model: &Model,
    parser: P,
    times: usize,
) -> Chain<Prompt, P::Output> {
    chain(Repaired { model: model.clone(), parser, times })
}

struct Repaired<P> {
    model: Model,
    parser: P,
    times: usize,
}

impl<P: Runnable<Input = Message>> Runnable for Repaired<P> {
    const DRIVES_CALLS: bool = true;

    type Input = Prompt;
    type Output = P::Output;

    async fn run(&self, mut prompt: Prompt, cx: &Context) -> Result<P::Output> {
        // A partial value could belong to an answer that is then replaced.
        let without_deltas = cx.without_deltas().with_extension(Arc::new(BeforeRetry));
        for _ in 0..self.times {
            let message = self.model.run(prompt.clone(), &without_deltas).await?;
            let answer = message.text();
            let error = match run_within(&self.parser, message, &without_deltas).await {
                Err(error) if error.kind() == ErrorKind::Parse => error,
                done => return done,
            };
            prompt.messages.extend(retry_messages(answer, &error));
        }
        let message = self.model.run(prompt, &without_deltas).await?;
        run_within(&self.parser, message, &without_deltas).await
    }

    fn describe(&self) -> Node {
        Node::around("repaired", [self.model.describe(), self.parser.describe()])
    }
}

/// The messages that follow an answer that cannot be parsed. Providers reject empty messages.
pub(super) fn retry_messages(answer: String, error: &Error) -> impl Iterator<Item = Message> {
    let answer = Some(answer).filter(|answer| !answer.trim().is_empty()).map(Message::assistant);
    answer.into_iter().chain([Message::user(retry_text(error))])
}

/// The message for the model about an answer that does not fit.
fn retry_text(error: &Error) -> String {
    format!("This answer could not be parsed: {error}. Reply with the corrected answer only.")
}

#[cfg(test)]
mod tests {
    use crate::model::fake::Fake;
    use crate::{ErrorKind, Message, chain, choice, repair};

    #[tokio::test]
    async fn a_model_is_called_at_most_that_many_times() {
        let broken = || Message::assistant("maybe");
        let model = Fake::script([Ok("perhaps"), Ok("yes")]).model();
        let parser = repair(choice(["yes", "no"]), &model, 1);
        assert_eq!(chain(parser.clone()).invoke(broken()).await.unwrap_err().kind(), ErrorKind::Parse);
        assert_eq!(chain(parser.clone()).invoke(broken()).await.unwrap(), "yes");
        // A valid answer needs no repair: the script is empty.
        assert_eq!(chain(parser).invoke(Message::assistant("no")).await.unwrap(), "no");
    }

    #[tokio::test]
    async fn a_second_call_is_not_paid_for_what_can_be_read() {
        let answer = || Message::assistant("{size: 3,}");
        // The script is empty: a call fails.
        let model = || Fake::script::<&str>([]).model();
        let read = chain(repair(crate::json(), &model(), 1)).invoke(answer()).await;
        assert_eq!(read.unwrap()["size"], 3);
        assert!(chain(crate::json()).invoke(answer()).await.is_err());
        assert!(chain(repair(crate::json().strict(), &model(), 1)).invoke(answer()).await.is_err());
        let once = Fake::script([Ok("{size: 3,}")]).model();
        assert_eq!(crate::repaired(&once, crate::json(), 1).invoke("?").await.unwrap()["size"], 3);
        let once = Fake::script([Ok("{size: 3,}")]);
        let sized = crate::structured_value(once, "size", serde_json::json!({ "type": "object" }));
        assert_eq!(chain(sized).invoke("?").await.unwrap()["size"], 3);
        let once = Fake::script([Ok("{size: 3,}")]);
        let sized = crate::structured_value(once, "size", serde_json::json!({ "type": "object" })).strict();
        assert!(chain(sized.max_retries(0)).invoke("?").await.is_err());
    }

    #[tokio::test]
    async fn a_model_sees_the_whole_conversation_when_it_is_retried() {
        struct Counts;
        impl crate::ChatModel for Counts {
            fn name(&self) -> &str {
                "test/counts"
            }
            async fn generate(&self, prompt: crate::Prompt, _: &crate::Context) -> crate::Result<Message> {
                assert_eq!(prompt.messages[0].text(), "Yes or no?");
                Ok(Message::assistant(if prompt.messages.len() < 5 { "maybe" } else { "yes" }))
            }
        }
        let model = crate::Model::new(Counts);
        let repairing = |times| crate::repaired(&model, choice(["yes", "no"]), times);
        assert_eq!(repairing(2).invoke("Yes or no?").await.unwrap(), "yes");
        assert_eq!(repairing(1).invoke("Yes or no?").await.unwrap_err().kind(), ErrorKind::Parse);
    }
}
