//! Measures the rows per second that a batch can handle with a model that answers immediately.
//!
//! `cargo run --release -p fanweave-batch --example rows_per_second [ROWS] [pipe|file]`
//!
//! With `pipe` or `file`, only that part runs, so that the peak memory of the process is that of the part.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::num::NonZeroUsize;
use std::time::Instant;

use fanweave_batch::{BatchJob, Output, Render, Settings, Source};
use fanweave_core::{Template, chain, model::fake::Fake};

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let rows: u64 = std::env::args().nth(1).map_or(Ok(200_000), |rows| rows.parse())?;
    let folder = tempfile::tempdir()?;
    let input = folder.path().join("questions.jsonl");
    let mut file = BufWriter::new(File::create(&input)?);
    for n in 0..rows {
        writeln!(file, r#"{{"id":"row-{n}","topic":"the number {n} and what it is good for"}}"#)?;
    }
    file.into_inner()?;

    let file = || Output::File(folder.path().join("answers.jsonl"));
    let only = std::env::args().nth(2);
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    if wanted("pipe") {
        run("to a pipe, a temporary journal", &input, Output::Writer(Box::new(std::io::sink()))).await?;
    }
    if wanted("file") {
        run("to a file, journalled", &input, file()).await?;
    }
    if only.is_none() {
        run("to a file, all resumed", &input, file()).await?;
    }
    Ok(())
}

async fn run(what: &str, input: &std::path::Path, output: Output) -> Result<(), Failure> {
    let render = Render::new().template(Template::parse("Tell me about {{ topic }}.")?);
    let concurrency = const { NonZeroUsize::new(256).expect("not 0") };
    let job = BatchJob::new(Source::open(input, None)?, render, chain(Fake::echo()), output)
        .settings(Settings::new().concurrency(concurrency));
    let began = Instant::now();
    let summary = job.run().await?;
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "this is what the example is for")]
    {
        println!("{what}: {} rows in {seconds:.2} s, {:.0} rows/s", summary.ok, summary.ok as f64 / seconds);
    }
    Ok(())
}
