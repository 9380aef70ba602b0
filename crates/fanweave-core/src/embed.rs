//! Embeddings: the step that turns texts into vectors.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::{Context, EventKind, Node, Reply, Result, Runnable, Streaming, Usage};

/// A model that turns texts into vectors: implemented by the author of a provider. Users hold an
/// [`Embedder`].
///
/// ```
/// use fanweave::{Context, Embedder, Result, Usage, models::{Embedded, Embeddings}};
///
/// struct Lengths;
///
/// impl Embeddings for Lengths {
///     fn name(&self) -> &str {
///         "test/lengths"
///     }
///
///     async fn embed(&self, texts: Vec<String>, _cx: &Context) -> Result<Embedded> {
///         let vectors = texts.iter().map(|text| vec![text.len() as f32]).collect();
///         Ok(Embedded::new(vectors, Usage::default()))
///     }
/// }
///
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// let answer = Embedder::new(Lengths).embed(["bear", "cat"]).await?;
/// assert_eq!(answer.vectors, [[4.0], [3.0]]);
/// # Ok(())
/// # }) }
/// ```
pub trait Embeddings: Send + Sync + 'static {
    /// `provider/model`, such as `openai/text-embedding-3-small`.
    fn name(&self) -> &str;

    /// Embeds `texts`: one vector for each, in their order, all of the same length.
    ///
    /// Accepts any number of texts: the implementation splits them into requests. Takes a [`Context::permit`]
    /// for each request.
    fn embed(&self, texts: Vec<String>, cx: &Context) -> impl Future<Output = Result<Embedded>> + Send;
}

/// Vectors and their usage.
///
/// ```
/// use fanweave::{Usage, models::Embedded};
///
/// let answer = Embedded::new(vec![vec![0.6, 0.8]], Usage::new(3, 0));
/// assert_eq!(answer.vectors[0].len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Embedded {
    /// One vector for each text, in order.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all texts together. Zero if the provider did not report it.
    pub usage: Usage,
}

impl Embedded {
    /// One vector for each text, in order, and the tokens of all texts together.
    pub fn new(vectors: Vec<Vec<f32>>, usage: Usage) -> Self {
        Self { vectors, usage }
    }
}

/// Dyn-compatible counterpart of [`Embeddings`].
trait DynEmbeddings: Send + Sync {
    fn embed<'a>(&'a self, texts: Vec<String>, cx: &'a Context) -> BoxFuture<'a, Result<Embedded>>;
}

impl<E: Embeddings> DynEmbeddings for E {
    fn embed<'a>(&'a self, texts: Vec<String>, cx: &'a Context) -> BoxFuture<'a, Result<Embedded>> {
        Box::pin(Embeddings::embed(self, texts, cx))
    }
}

/// A model that turns texts into vectors: a step from texts to [`Embedded`]. Cheap to clone.
///
/// ```
/// use fanweave::{Embedder, Result, chain};
///
/// async fn count(embedder: &Embedder, texts: Vec<String>) -> Result<usize> {
///     let answer = chain(embedder.clone()).invoke(texts).await?;
///     Ok(answer.vectors.len())
/// }
/// ```
#[derive(Clone)]
pub struct Embedder {
    inner: Arc<dyn DynEmbeddings>,
    name: Arc<str>,
}

impl Embedder {
    /// A handle on `model`.
    pub fn new(model: impl Embeddings) -> Self {
        let name = model.name().into();
        Self { inner: Arc::new(model), name }
    }

    /// `provider/model`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Embeds texts. Sends no request for an empty list.
    ///
    /// # Errors
    /// The error of the provider or the transport. One request that fails permanently fails them all.
    pub async fn embed<T: Into<String>>(&self, texts: impl IntoIterator<Item = T>) -> Result<Embedded> {
        self.run(texts.into_iter().map(Into::into).collect(), &Context::new()).await
    }
}

impl Runnable for Embedder {
    type Input = Vec<String>;
    type Output = Embedded;

    async fn run(&self, texts: Vec<String>, cx: &Context) -> Result<Embedded> {
        let cx = cx.begin(&self.name).await;
        let result = if texts.is_empty() {
            Ok(Embedded::default())
        } else {
            cx.emit(EventKind::EmbeddingRequested(texts.len())).await;
            self.inner.embed(texts, &cx).await.inspect(|answer| cx.count_embedding(answer.usage))
        };
        // The number of requests is not known; it is one for most lists of texts.
        let reply = |answer: &Embedded| {
            let attempts = u32::from(*answer != Embedded::default());
            Some(Arc::new(Reply { usage: answer.usage, attempts, ..Reply::default() }))
        };
        cx.end(&self.name, result, reply).await
    }

    fn streaming(&self) -> Streaming {
        Streaming::Whole
    }

    fn describe(&self) -> Node {
        Node::step(&*self.name)
    }
}

impl fmt::Debug for Embedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedder").field("name", &self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, ErrorKind, chain};

    struct Refuses;

    impl Embeddings for Refuses {
        fn name(&self) -> &str {
            "test/refuses"
        }

        async fn embed(&self, _: Vec<String>, _: &Context) -> Result<Embedded> {
            Err(Error::new(ErrorKind::Server, "no"))
        }
    }

    #[tokio::test]
    async fn an_error_names_its_model_and_an_empty_list_makes_no_request() {
        let embedder = Embedder::new(Refuses);
        let error = embedder.embed(["x"]).await.unwrap_err();
        assert_eq!(error.to_string(), "step test/refuses: no");
        let none = chain(embedder).invoke(Vec::new()).await.unwrap();
        assert_eq!(none, Embedded::default());
    }
}
