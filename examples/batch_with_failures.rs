//! Fifty rows, ten at a time. Failed rows report their errors and do not affect the others.
//!
//!     cargo run --release -p fanweave --example batch_with_failures

use fanweave::{Error, ErrorKind, Result, model, prompt, step, text, vars};

#[tokio::main]
async fn main() -> Result<()> {
    let name = std::env::var("FANWEAVE_MODEL").unwrap_or_else(|_| "sim/writer".to_owned());

    // Any function is a step. This one rejects every seventh row before its call.
    let check = step(|n: u32, _cx| async move {
        match n % 7 {
            6 => Err(Error::new(ErrorKind::Input, format!("concept #{n} is on the list of banned concepts"))),
            _ => Ok(vars! { n: n }),
        }
    });
    let define = check.named("check")
        | prompt("Give a one-sentence definition of: concept #{{ n }}")
        | model(&name)?
        | text();

    let rows = define.batch(0..50u32).concurrency(10).collect().await;

    let failed = rows.iter().filter(|row| row.is_err()).count();
    println!("completed: {} succeeded, {failed} failed", rows.len() - failed);
    for (index, row) in rows.iter().enumerate().take(8) {
        match row {
            Ok(answer) => println!("[{index}] {answer}"),
            Err(error) => println!("[{index}] failed: {error}"),
        }
    }
    Ok(())
}
