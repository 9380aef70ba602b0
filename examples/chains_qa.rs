//! One question about documents, answered with four strategies.
//!
//!     cargo run --release -p fanweave --example chains_qa

use fanweave::chains::qa::{Qa, Question};
use fanweave::{Result, model};

#[tokio::main]
async fn main() -> Result<()> {
    let name = std::env::var("FANWEAVE_MODEL").unwrap_or_else(|_| "sim/writer".to_owned());
    let model = model(&name)?;
    let question = Question::new(
        "When did the Rance station open?",
        [
            "The Rance station in Brittany opened in 1966.",
            "The Rance station opened in 1966 and has 24 turbines.",
            "Sihwa Lake in Korea has been the largest tidal station since 2011.",
        ],
    );
    for (way, qa) in [
        ("stuff", Qa::stuff(model.clone())),
        ("map_reduce", Qa::map_reduce(model.clone())),
        ("refine", Qa::refine(model.clone())),
        ("map_rerank", Qa::map_rerank(model)),
    ] {
        let started = std::time::Instant::now();
        let answer = qa.chain().invoke(question.clone()).await?;
        let score = answer.score.map(|score| format!(", score {score}")).unwrap_or_default();
        let (sources, tokens) = (answer.sources.len(), answer.usage.total_tokens());
        println!(
            "{way:>10}: {}\n            {sources} sources, {tokens} tokens, {:.1?}{score}",
            answer.text,
            started.elapsed()
        );
    }
    Ok(())
}
