//! Examples in a prompt: all of them, or those that fit the question.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::{Error, ErrorKind, Message, Result, Template, Vars};

/// Examples for a [`chat`](super::chat): messages of the user and the answers of the model, rendered by two
/// templates.
///
/// ```
/// use fanweave::{chain, chat, prompts::FewShot, vars};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let opposites = [vars! { word: "hot", answer: "cold" }, vars! { word: "up", answer: "down" }];
/// let question = chat()
///     .examples(FewShot::new("{{ word }}", "{{ answer }}", opposites)?)
///     .user("{{ word }}");
/// let prompt = chain(question).invoke(vars! { word: "big" }).await?;
/// assert_eq!(prompt.messages.len(), 5);
/// assert_eq!(prompt.messages[1].text(), "cold");
/// # Ok(())
/// # }) }
/// ```
pub struct FewShot {
    user: Template,
    assistant: Template,
    examples: Vec<Vars>,
    selector: Option<Arc<dyn DynSelector>>,
}

impl fmt::Debug for FewShot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FewShot")
            .field("user", &self.user)
            .field("assistant", &self.assistant)
            .field("examples", &self.examples.len())
            .finish_non_exhaustive()
    }
}

impl FewShot {
    /// Examples that are all included.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if a text is not a valid template.
    pub fn new(
        user: impl Into<String>,
        assistant: impl Into<String>,
        examples: impl IntoIterator<Item = Vars>,
    ) -> Result<Self> {
        Ok(Self {
            user: Template::parse(user)?,
            assistant: Template::parse(assistant)?,
            examples: examples.into_iter().collect(),
            selector: None,
        })
    }

    /// Includes only the examples that `selector` selects.
    #[must_use]
    pub fn select(mut self, selector: impl Selector) -> Self {
        self.selector = Some(Arc::new(selector));
        self
    }

    /// The examples for `vars`, as messages.
    pub(super) async fn messages(&self, vars: &Vars) -> Result<Vec<Message>> {
        let mut rendered = Vec::with_capacity(self.examples.len());
        for (at, example) in self.examples.iter().enumerate() {
            // Thousands of quick renderings are as long as a slow one.
            if at % 64 == 63 {
                tokio::task::yield_now().await;
            }
            rendered
                .push((self.user.render_async(example).await?, self.assistant.render_async(example).await?));
        }
        if let Some(selector) = &self.selector {
            let question = self.user.render_async(vars).await?;
            let texts = rendered.iter().map(|(user, assistant)| format!("{user}\n{assistant}")).collect();
            let chosen = selector.select(texts, question).await?;
            let pick = |at: usize| {
                let message =
                    || format!("the selector chose example {at}, but there are only {}", rendered.len());
                rendered.get(at).cloned().ok_or_else(|| Error::new(ErrorKind::Step, message()))
            };
            rendered = chosen.into_iter().map(pick).collect::<Result<_>>()?;
        }
        let pairs = rendered
            .into_iter()
            .map(|(user, assistant)| [Message::user(user), Message::assistant(assistant)]);
        Ok(pairs.flatten().collect())
    }
}

/// Selects the examples for a question.
///
/// ```
/// use fanweave::Result;
/// use fanweave::prompts::Selector;
///
/// struct First(usize);
///
/// impl Selector for First {
///     async fn select(&self, examples: Vec<String>, _question: String) -> Result<Vec<usize>> {
///         Ok((0..self.0.min(examples.len())).collect())
///     }
/// }
/// ```
pub trait Selector: Send + Sync + 'static {
    /// The indices of the examples to take, in the order in which the prompt shows them. `examples` are their
    /// texts.
    fn select(
        &self,
        examples: Vec<String>,
        question: String,
    ) -> impl Future<Output = Result<Vec<usize>>> + Send;
}

/// Dyn-compatible counterpart of [`Selector`].
trait DynSelector: Send + Sync {
    fn select(&self, examples: Vec<String>, question: String) -> BoxFuture<'_, Result<Vec<usize>>>;
}

impl<S: Selector> DynSelector for S {
    fn select(&self, examples: Vec<String>, question: String) -> BoxFuture<'_, Result<Vec<usize>>> {
        Box::pin(Selector::select(self, examples, question))
    }
}

/// Takes examples from the first on, as long as they and the question have at most `max` characters together.
///
/// ```
/// use fanweave::prompts::{ByLength, Selector};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let examples = ["1234", "1234", "1234"].map(String::from).to_vec();
/// assert_eq!(ByLength(12).select(examples, "four".to_owned()).await?, [0, 1]);
/// # Ok(())
/// # }) }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ByLength(pub usize);

impl Selector for ByLength {
    async fn select(&self, examples: Vec<String>, question: String) -> Result<Vec<usize>> {
        let mut left = self.0.saturating_sub(question.chars().count());
        let fits = |example: &String| {
            let length = example.chars().count();
            let fits = length <= left;
            left -= length.min(left);
            fits
        };
        let n = examples.iter().take_while({
            let mut fits = fits;
            move |example| fits(example)
        });
        Ok((0..n.count()).collect())
    }
}

/// Takes the `max_examples` examples most similar to the question, the most similar last. Similarity is
/// measured between vectors that `embed` returns for texts, such as those of an embedding model.
///
/// ```
/// use fanweave::prompts::{BySimilarity, Selector};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// // The count of each letter.
/// let letters = |text: &String| ('a'..='z').map(|c| text.matches(c).count() as f32).collect::<Vec<_>>();
/// let alike = BySimilarity::new(1, move |texts: Vec<String>| {
///     let vectors = texts.iter().map(letters).collect::<Vec<_>>();
///     async move { Ok(vectors) }
/// });
/// let examples = ["tides", "turbines"].map(String::from).to_vec();
/// assert_eq!(alike.select(examples, "turbine".to_owned()).await?, [1]);
/// # Ok(())
/// # }) }
/// ```
pub struct BySimilarity<F> {
    max_examples: usize,
    embed: F,
}

impl<F> fmt::Debug for BySimilarity<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BySimilarity").field("max_examples", &self.max_examples).finish_non_exhaustive()
    }
}

impl<F> BySimilarity<F> {
    /// A selector that embeds the question and all examples for every call.
    pub fn new<Fut>(max_examples: usize, embed: F) -> Self
    where
        F: Fn(Vec<String>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<Vec<f32>>>> + Send,
    {
        Self { max_examples, embed }
    }
}

impl<F, Fut> Selector for BySimilarity<F>
where
    F: Fn(Vec<String>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Vec<Vec<f32>>>> + Send + 'static,
{
    async fn select(&self, examples: Vec<String>, question: String) -> Result<Vec<usize>> {
        let wanted = examples.len() + 1;
        let texts = std::iter::once(question).chain(examples).collect();
        let vectors = (self.embed)(texts).await?;
        let [question, examples @ ..] = vectors.as_slice() else {
            return Err(Error::new(ErrorKind::Step, "the embedding model returned no vectors"));
        };
        if vectors.len() != wanted {
            let message =
                format!("the embedding model returned {} vectors for {wanted} texts", vectors.len());
            return Err(Error::new(ErrorKind::Step, message));
        }
        let mut ranked: Vec<_> =
            examples.iter().map(|example| cosine(question, example)).enumerate().collect();
        ranked.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        ranked.truncate(self.max_examples);
        Ok(ranked.into_iter().rev().map(|(index, _)| index).collect())
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { dot(a, b) / lengths } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vars;

    #[tokio::test]
    async fn a_selector_chooses_by_the_question_of_the_call() {
        let examples = ["big", "small", "bigger"].map(|word| vars! { word: word, answer: word });
        let letters = |texts: Vec<String>| async move {
            let count = |text: &String| ('a'..='z').map(|c| text.matches(c).count() as f32).collect();
            Ok(texts.iter().map(count).collect())
        };
        let few = FewShot::new("{{ word }}", "{{ answer }}", examples).unwrap();
        let few = few.select(BySimilarity::new(2, letters));
        let messages = few.messages(&vars! { word: "bigg" }).await.unwrap();
        let texts: Vec<_> = messages.iter().map(Message::text).collect();
        assert_eq!(texts, ["bigger", "bigger", "big", "big"]);
    }

    #[tokio::test]
    async fn a_selector_that_is_wrong_is_an_error() {
        struct Beyond;
        impl Selector for Beyond {
            async fn select(&self, _: Vec<String>, _: String) -> Result<Vec<usize>> {
                Ok(vec![7])
            }
        }
        let few = FewShot::new("{{ a }}", "x", [vars! { a: 1 }]).unwrap().select(Beyond);
        let error = few.messages(&vars! { a: 2 }).await.unwrap_err();
        assert_eq!(error.to_string(), "the selector chose example 7, but there are only 1");
    }
}
