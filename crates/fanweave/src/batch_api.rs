//! Batches of files through a provider's batch API: implements the trait of [`fanweave_batch`] for the client
//! of [`fanweave_models`].

use fanweave_batch::{BatchApi, BatchLimits, BatchState};
use fanweave_models::{BatchClient, BatchStatus};

use crate::{Message, Prompt, Result};

/// A provider's batch API, for [`BatchJob::run_via`](fanweave_batch::BatchJob::run_via).
///
/// ```no_run
/// use fanweave::batch::{BatchJob, Output, Render, Source};
/// use fanweave::batch::ProviderBatches;
/// use fanweave::{chain, models::ModelBuilder};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { fanweave::blocking::wait(async {
/// let api = ProviderBatches::new(ModelBuilder::new("openai/gpt-5-mini").batch_api()?);
/// let source = Source::open("questions.txt", None)?;
/// let output = Output::File("answers.jsonl".into());
/// let job = BatchJob::new(source, Render::default(), chain(fanweave::model("openai/gpt-5-mini")?), output);
/// let summary = job.run_via(&api).await?;
/// println!("{} answered", summary.ok);
/// # Ok(())
/// # }) }
/// ```
#[derive(Debug)]
pub struct ProviderBatches(BatchClient);

impl ProviderBatches {
    /// The batch API of `client`.
    pub fn new(client: BatchClient) -> Self {
        Self(client)
    }
}

impl BatchApi for ProviderBatches {
    fn model(&self) -> &str {
        self.0.name()
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits { requests: BatchClient::MAX_REQUESTS, bytes: BatchClient::MAX_BYTES }
    }

    fn line(&self, id: &str, mut prompt: Prompt) -> Result<Vec<u8>> {
        // All rows of a batch use its model, even if a row names another one.
        prompt.parameters.model = None;
        self.0.line(id, prompt)
    }

    async fn submit(&self, tag: &str, lines: Vec<Vec<u8>>) -> Result<String> {
        self.0.submit(tag, lines).await
    }

    async fn find(&self, tag: &str, requests: usize) -> Result<Option<String>> {
        self.0.find(tag, requests).await
    }

    async fn poll(&self, batch: &str) -> Result<BatchState> {
        Ok(match self.0.poll(batch).await? {
            BatchStatus::Ended => BatchState::Ended,
            BatchStatus::Failed(why) => BatchState::Failed(why),
            _ => BatchState::Running,
        })
    }

    async fn collect(&self, batch: &str) -> Result<Vec<(String, Result<Message>)>> {
        self.0.collect(batch).await
    }
}
