//! Measures an exact search of 100,000 vectors of 384 numbers. Run by `tests/vectors/run.sh`, next to numpy.
//!
//!     cargo run --release -p fanweave --example vector_scan -- [FILE FOR THE VECTORS]

use std::io::Write;
use std::time::{Duration, Instant};

use fanweave::retrieval::{Document, Entry, Search, Store};
use fanweave::stores::{MemoryStore, SqliteStore};
use fanweave::{Context, Error, Result};

const ROWS: usize = 100_000;
const DIMENSIONS: usize = 384;
const QUERIES: usize = 50;

fn vectors(rows: usize) -> Vec<Vec<f32>> {
    let mut state = 7u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f32::from(u16::try_from(state >> 48).unwrap_or_default()) / 32768.0 - 1.0
    };
    (0..rows).map(|_| (0..DIMENSIONS).map(|_| next()).collect()).collect()
}

async fn time(name: &str, store: Store, all: &[Vec<f32>]) -> Result<()> {
    let cx = Context::new();
    let started = Instant::now();
    for (at, some) in all[..ROWS].chunks(10_000).enumerate() {
        let entry = |(n, vector): (usize, &Vec<f32>)| Entry {
            id: (at * 10_000 + n).to_string(),
            vector: vector.clone(),
            document: Document::new("text"),
        };
        store.upsert(some.iter().enumerate().map(entry).collect(), &cx).await?;
    }
    println!("{name}: {ROWS} entries written in {:.1?}", started.elapsed());
    let started = Instant::now();
    store.search(Search::new(all[0].clone()), &cx).await?;
    println!("{name}: the first search in {:.1?}", started.elapsed());
    let mut times: Vec<Duration> = Vec::new();
    for wanted in &all[ROWS..] {
        let search = Search::new(wanted.clone()).limit(10);
        let started = Instant::now();
        store.search(search, &cx).await?;
        times.push(started.elapsed());
    }
    times.sort();
    println!(
        "{name}: a search in {:.1?} (median of {QUERIES}), {:.1?} at best",
        times[QUERIES / 2],
        times[0]
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let all = vectors(ROWS + QUERIES);
    if let Some(path) = std::env::args().nth(1) {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path).map_err(Error::step)?);
        for x in all.iter().flatten() {
            file.write_all(&x.to_le_bytes()).map_err(Error::step)?;
        }
        file.flush().map_err(Error::step)?;
    }
    time("memory", MemoryStore::store(), &all).await?;
    let path = std::env::temp_dir().join(format!("vector_scan-{}.db", std::process::id()));
    time("sqlite", SqliteStore::open(&path).await?.store(), &all).await?;
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{ending}", path.display()));
    }
    Ok(())
}
