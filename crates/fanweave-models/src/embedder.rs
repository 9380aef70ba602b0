//! Embeddings of texts, split into requests of the size that the provider accepts.

use std::num::NonZeroUsize;

use fanweave_core::{Context, Embedded, Embeddings, Result, Usage};
use futures::{StreamExt, TryStreamExt, stream};

use crate::once;
use crate::providers::embeddings::{Dialect, VectorParameters, Vectors, max_inputs};
use crate::transport::adapt::{Adapt, Shape};
use crate::transport::call::HttpModel;

/// Concurrent requests of one call. The account's limits apply as well.
const CONCURRENCY: usize = 16;

/// An embedder behind HTTP.
pub(crate) struct HttpEmbedder {
    pub(crate) http: HttpModel,
    pub(crate) dialect: Dialect,
    pub(crate) parameters: VectorParameters,
    /// Maximum texts per request, set by the caller.
    pub(crate) max_inputs: Option<NonZeroUsize>,
}

impl Embeddings for HttpEmbedder {
    fn name(&self) -> &str {
        &self.http.name
    }

    async fn embed(&self, texts: Vec<String>, cx: &Context) -> Result<Embedded> {
        let all = texts.len();
        let shape = Shape::of(&self.http.account.base_url, &self.http.account.model);
        let (max_texts, max_bytes) = self.dialect.limits();
        let max_texts = self.max_inputs.map_or(max_texts, NonZeroUsize::get).min(shape.max_inputs());
        let answers = stream::iter(requests(texts, max_texts, max_bytes))
            .map(|texts| self.embed_all(texts, &shape, cx))
            .buffered(CONCURRENCY);
        let whole = Embedded::new(Vec::with_capacity(all), Usage::default());
        answers
            .try_fold(whole, |mut whole, answer| async move {
                whole.vectors.extend(answer.vectors);
                whole.usage += answer.usage;
                Ok(whole)
            })
            .await
    }
}

impl HttpEmbedder {
    /// Embeds the texts of one request, or of several if the server takes fewer at once.
    async fn embed_all(&self, texts: Vec<String>, shape: &Shape, cx: &Context) -> Result<Embedded> {
        let mut whole = Embedded::new(Vec::new(), Usage::default());
        let (mut done, mut max_texts) = (0, texts.len());
        while done < texts.len() {
            // Other requests may have learned a smaller number.
            max_texts = max_texts.min(shape.max_inputs());
            let part = &texts[done..texts.len().min(done + max_texts)];
            match self.embed_at_once(part, cx).await {
                Ok(answer) => {
                    whole.vectors.extend(answer.vectors);
                    whole.usage += answer.usage;
                    done += part.len();
                }
                Err(error) => {
                    let is_strict = self.http.adapt == Adapt::Never;
                    let Some(fewer) = max_inputs(&error, part.len()).filter(|_| !is_strict) else {
                        return Err(error);
                    };
                    max_texts = fewer;
                    // A limit of tokens depends on the texts.
                    if !error.message().to_lowercase().contains("token") {
                        shape.learn_max_inputs(fewer);
                    }
                }
            }
        }
        Ok(whole)
    }

    async fn embed_at_once(&self, texts: &[String], cx: &Context) -> Result<Embedded> {
        let reader = Vectors { dialect: self.dialect, texts: texts.len() };
        let request = self.dialect.request(&self.http.model, texts, &self.parameters)?;
        let (answer, _) = once::send(&self.http, request, reader, cx).await?;
        Ok(answer)
    }
}

/// The texts of each request, in order.
fn requests(texts: Vec<String>, max_texts: usize, max_bytes: usize) -> impl Iterator<Item = Vec<String>> {
    let mut texts = texts.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut bytes = texts.peek()?.len();
        let mut request: Vec<_> = texts.next().into_iter().collect();
        while request.len() < max_texts
            && let Some(text) = texts.next_if(|text| bytes + text.len() <= max_bytes)
        {
            bytes += text.len();
            request.push(text);
        }
        Some(request)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(texts: Vec<String>, dialect: Dialect) -> impl Iterator<Item = Vec<String>> {
        let (max_texts, max_bytes) = dialect.limits();
        super::requests(texts, max_texts, max_bytes)
    }

    #[test]
    fn texts_are_cut_into_requests_by_number_and_by_size() {
        let many: Vec<_> = (0..205).map(|i| i.to_string()).collect();
        let sizes: Vec<_> = requests(many.clone(), Dialect::Gemini).map(|texts| texts.len()).collect();
        assert_eq!(sizes, [100, 100, 5]);
        let together: Vec<_> = requests(many.clone(), Dialect::Gemini).flatten().collect();
        assert_eq!(together, many);
        let long = vec!["x".repeat(Dialect::OpenAi.limits().1 - 1); 3];
        assert_eq!(requests(long, Dialect::OpenAi).count(), 3);
        assert_eq!(requests(Vec::new(), Dialect::Ollama).count(), 0);
    }
}
