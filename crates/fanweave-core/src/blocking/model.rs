//! Blocking models.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Pool, wait};
use crate::{ChatModel, Context, Delta, Error, ErrorKind, Message, Model, Prompt, Result};

/// Maximum deltas that wait for their reader. A slow reader then slows the model down.
const CHANNEL: usize = 64;

/// A chat model without async code: a blocking library, or a model in this process.
///
/// ```
/// use fanweave::blocking::{BlockingChatModel, DeltaSender};
/// use fanweave::{Message, Model, Prompt, Result, chain, text};
///
/// struct Parrot;
///
/// impl BlockingChatModel for Parrot {
///     fn name(&self) -> &str {
///         "birds/parrot"
///     }
///
///     fn generate(&self, prompt: Prompt, deltas: &mut DeltaSender) -> Result<Message> {
///         let words = prompt.last_user_text();
///         for word in words.split_inclusive(' ') {
///             std::thread::sleep(std::time::Duration::from_millis(1));
///             deltas.text(word)?;
///         }
///         Ok(Message::assistant(words))
///     }
/// }
///
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// let parrot = chain(Model::blocking(Parrot)) | text();
/// assert_eq!(parrot.invoke("Polly wants a cracker").await?, "Polly wants a cracker");
/// # Ok(())
/// # }) }
/// ```
pub trait BlockingChatModel: Send + Sync + 'static {
    /// `provider/model`, such as `local/parrot`.
    fn name(&self) -> &str;

    /// Answers `prompt`. Emits deltas with `deltas` if the model can stream; otherwise the whole answer
    /// becomes one delta.
    fn generate(&self, prompt: Prompt, deltas: &mut DeltaSender) -> Result<Message>;
}

/// Emits deltas of an answer from a blocking thread.
#[derive(Debug)]
pub struct DeltaSender {
    /// `None` without a reader of deltas.
    sender: Option<mpsc::Sender<Delta>>,
}

impl DeltaSender {
    /// Returns true if a reader wants deltas.
    pub fn wants_deltas(&self) -> bool {
        self.sender.is_some()
    }

    /// Emits a delta. Blocks while the reader is behind.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] if the run has ended: return the error to end the work.
    pub fn delta(&mut self, delta: Delta) -> Result<()> {
        let Some(sender) = &self.sender else { return Ok(()) };
        wait(sender.send(delta)).map_err(|_| Error::new(ErrorKind::Cancelled, "the run has ended"))
    }

    /// Emits a text delta. See [`delta`](Self::delta).
    ///
    /// # Errors
    /// The errors of [`delta`](Self::delta).
    pub fn text(&mut self, text: impl Into<String>) -> Result<()> {
        self.delta(Delta::text(text))
    }
}

impl Model {
    /// A handle on a blocking model. Its calls run on the [shared pool](Pool::shared) of threads.
    pub fn blocking(model: impl BlockingChatModel) -> Self {
        Self::blocking_on(Pool::shared(), model)
    }

    /// Like [`blocking`](Self::blocking), on another pool.
    pub fn blocking_on(pool: &Pool, model: impl BlockingChatModel) -> Self {
        Self::new(OnThreads { pool: pool.clone(), model: Arc::new(model) })
    }
}

struct OnThreads<M> {
    pool: Pool,
    model: Arc<M>,
}

impl<M: BlockingChatModel> ChatModel for OnThreads<M> {
    const DRIVES_CALLS: bool = true;

    fn name(&self) -> &str {
        self.model.name()
    }

    async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        let (pool, model) = (self.pool.clone(), self.model.clone());
        cx.permit(move |cx| async move {
            let (sender, mut receiver) = mpsc::channel(CHANNEL);
            let mut deltas = DeltaSender { sender: cx.wants_deltas().then_some(sender) };
            let work = pool.run(move || model.generate(prompt, &mut deltas));
            let hear = async {
                while let Some(delta) = receiver.recv().await {
                    cx.delta(delta).await;
                }
            };
            let (message, ()) = tokio::join!(work, hear);
            message?
        })
        .await
    }
}
