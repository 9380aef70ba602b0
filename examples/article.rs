//! Writes an article with overlapping steps: outline, sections, introduction.
//!
//!     cargo run --release -p fanweave --example article -- "async programming in Python"
//!
//! Each section starts as soon as its title is complete, while the outline is still being generated, and the
//! introduction starts with the last title. The waterfall at the end shows which step waited for which.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fanweave::events::RunId;
use fanweave::{Chain, Context, Event, EventKind, Parameters, Result, Vars, model, prompt, step, text, vars};

fn article(name: &str) -> Result<Chain<Vars, String>> {
    let model = model(name)?;
    let short = |max_tokens| model.clone().with(Parameters::new().max_tokens(max_tokens));

    let outline = (prompt("List five section titles for a short article about {{ topic }}.") | short(128))
        .named("outline");
    let section =
        (prompt("Write one detailed paragraph for the section '{{ input }}' of a technical article.")
            | short(256)
            | text())
        .named("section");
    let intro = step(|titles: Vec<String>, _| async move { Ok(vars! { titles: titles }) })
        | prompt(
            "Write a two-sentence introduction to an article with the sections {{ titles | join(', ') }}.",
        )
        | short(128)
        | text();

    let titles = outline.lines();
    let parts = titles.each_and_all(section, intro.named("intro"));
    Ok(parts
        | step(|(sections, intro): (Vec<String>, String), _| async move {
            Ok(format!("{intro}\n\n{}", sections.join("\n\n")))
        }))
}

#[tokio::main]
async fn main() -> Result<()> {
    let topic = std::env::args().nth(1).unwrap_or_else(|| "tidal power".to_owned());
    let name = std::env::var("FANWEAVE_MODEL").unwrap_or_else(|_| "sim/writer".to_owned());

    let waterfall = Arc::new(Waterfall::default());
    let recorder = waterfall.clone();
    let cx = Context::new().with_observer(Arc::new(move |event: &Event| recorder.note(event)));
    let text = article(&name)?.invoke_in(vars! { topic: topic }, &cx).await?;

    println!("{text}\n");
    waterfall.print();
    Ok(())
}

/// Start and end of each call.
#[derive(Default)]
struct Waterfall(Mutex<BTreeMap<RunId, Bar>>);

struct Bar {
    name: String,
    from: Duration,
    to: Duration,
}

impl Waterfall {
    fn note(&self, event: &Event) {
        let name = event.path.to_string();
        // Only model calls; the named steps around them take the same time.
        if !name.contains(" > ") {
            return;
        }
        let mut bars = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event.kind {
            EventKind::StepStarted => _ = bars.insert(event.run, Bar { name, from: event.at, to: event.at }),
            EventKind::StepFinished { .. } => {
                if let Some(bar) = bars.get_mut(&event.run) {
                    bar.to = event.at;
                }
            }
            _ => {}
        }
    }

    fn print(&self) {
        let bars = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let end = bars.values().map(|bar| bar.to).max().unwrap_or_default().as_secs_f64().max(0.001);
        let column = |time: Duration| (time.as_secs_f64() / end * 50.0).round() as usize;
        for Bar { name, from, to } in bars.values() {
            let name = name.split(" > ").next().unwrap_or_default();
            let (before, width) = (column(*from), (column(*to) - column(*from)).max(1));
            let bar = "█".repeat(width);
            println!(
                "{name:>8} {:<before$}{bar:<rest$} {:.2} s to {:.2} s",
                "",
                from.as_secs_f64(),
                to.as_secs_f64(),
                rest = 51 - before.min(50)
            );
        }
        let total: f64 = bars.values().map(|bar| (bar.to - bar.from).as_secs_f64()).sum();
        println!("{} calls of {total:.2} s together in {end:.2} s", bars.len());
    }
}
