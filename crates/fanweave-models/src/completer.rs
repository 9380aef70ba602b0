//! Several prompts in one request.

use std::fmt;
use std::num::NonZeroUsize;

use fanweave_core::{Context, Message, Parameters, Result};
use futures::{StreamExt, TryStreamExt, stream};

use crate::once;
use crate::providers::completions::{Several, several};
use crate::providers::openai::Quirks;
use crate::transport::call::HttpModel;

/// Default prompts per request. Servers may reject many more.
const PROMPTS: NonZeroUsize = NonZeroUsize::new(20).expect("20 is not 0");

/// Concurrent requests of one call. The account's limits apply as well.
const CONCURRENCY: usize = 16;

/// A completion model that takes several prompts per request, for servers on which requests cost more than
/// prompts.
///
/// ```no_run
/// use fanweave::{Context, Parameters};
/// use fanweave::models::ModelBuilder;
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let completer = ModelBuilder::new("openai-completions/gpt-3.5-turbo-instruct").build_completer()?;
/// let prompts = ["The capital of France is", "The capital of Italy is"].map(str::to_owned);
/// let parameters = Parameters::new().max_tokens(8);
/// for answer in completer.complete(prompts, &parameters, &Context::new()).await? {
///     println!("{}", answer.text());
/// }
/// # Ok(())
/// # }) }
/// ```
#[derive(Clone)]
pub struct Completer {
    http: HttpModel,
    quirks: Quirks,
    prompts: NonZeroUsize,
}

impl Completer {
    pub(crate) fn new(http: HttpModel, quirks: Quirks) -> Self {
        Self { http, quirks, prompts: PROMPTS }
    }

    /// Maximum prompts per request. Default 20.
    #[must_use]
    pub fn prompts_per_request(mut self, prompts: NonZeroUsize) -> Self {
        self.prompts = prompts;
        self
    }

    /// Completes each prompt: one message per prompt, in order. The provider counts the tokens of a request
    /// as a whole; they are reported on its first message.
    ///
    /// # Errors
    /// Those of a model. If one request fails after its retries, the whole call fails.
    ///
    /// # Cancellation
    /// Dropping the future closes the sockets of its requests.
    pub async fn complete(
        &self,
        prompts: impl IntoIterator<Item = String> + Send,
        parameters: &Parameters,
        cx: &Context,
    ) -> Result<Vec<Message>> {
        let prompts: Vec<_> = prompts.into_iter().collect();
        let requests: Vec<_> = prompts.chunks(self.prompts.get()).map(<[_]>::to_vec).collect();
        let answers = stream::iter(requests).map(|prompts| self.complete_at_once(prompts, parameters, cx));
        let answers: Vec<_> = answers.buffered(CONCURRENCY).try_collect().await?;
        Ok(answers.into_iter().flatten().collect())
    }

    async fn complete_at_once(
        &self,
        prompts: Vec<String>,
        parameters: &Parameters,
        cx: &Context,
    ) -> Result<Vec<Message>> {
        let reader = Several(prompts.len());
        let model = parameters.model.as_deref().unwrap_or(&self.http.model);
        let request = several(model, prompts, parameters, self.quirks)?;
        let (mut messages, sent) = once::send(&self.http, request, reader, cx).await?;
        for reply in messages.iter_mut().filter_map(|message| message.reply.as_deref_mut()) {
            reply.request_id.clone_from(&sent.request_id);
            reply.attempts = sent.attempts;
        }
        Ok(messages)
    }
}

/// Shows no key.
impl fmt::Debug for Completer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completer").field("name", &self.http.name).finish_non_exhaustive()
    }
}
