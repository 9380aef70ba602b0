//! Concurrent arithmetic questions: the model writes expressions, and the evaluator computes them exactly.
//!
//!     cargo run --release -p fanweave --example chains_math

use fanweave::chains::math::{Math, evaluate};
use fanweave::{Result, model};

#[tokio::main]
async fn main() -> Result<()> {
    let name = std::env::var("FANWEAVE_MODEL").unwrap_or_else(|_| "sim/writer".to_owned());
    let math = Math::new(model(&name)?).chain();
    let questions =
        ["What is 12 times 7 plus 3?", "How much is 15 percent of 240?", "What is 2 to the power of 100?"];
    for (question, computed) in questions.iter().zip(math.batch(questions).collect().await) {
        let computed = computed?;
        println!("{question}\n  {} = {}", computed.expression.as_deref().unwrap_or("?"), computed.answer);
    }

    // The evaluator rejects expressions that are not arithmetic or too large.
    for text in ["9**9**9", "__import__('os')"] {
        if let Err(error) = evaluate(text) {
            println!("{error}");
        }
    }
    Ok(())
}
