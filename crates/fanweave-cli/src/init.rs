//! `fanweave init`: the files of a new project.

use std::path::Path;

use fanweave::models::{ModelBuilder, vendors};

use crate::args::InitArgs;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::out::tell;

/// The files, with the texts of their templates.
const FILES: [(&str, &str); 3] = [
    ("fanweave.toml", include_str!("init/fanweave.toml")),
    ("reviews.csv", include_str!("init/reviews.csv")),
    ("summary.yaml", include_str!("init/summary.yaml")),
];

pub(crate) fn run(args: &InitArgs, config: &Config) -> Result<Exit, Failure> {
    let model = args.model.as_deref().unwrap_or("sim/writer");
    check(&config.named(model))?;
    let folder = &args.folder;
    let shown = folder.display();
    if let Some((name, _)) = FILES.iter().find(|(name, _)| folder.join(name).exists()) {
        return Err(Failure::usage(format!("{shown} already has a file {name}"))
            .with_hint("choose another folder, or move the file"));
    }
    let failed =
        |path: &Path, e: std::io::Error| Failure::new(format!("cannot write {}: {e}", path.display()));
    std::fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
    // As a string of TOML, which JSON strings are.
    let quoted = serde_json::to_string(model).expect("a text is JSON");
    for (name, text) in FILES {
        let path = folder.join(name);
        let text = text.replace("\"MODEL\"", &quoted);
        std::fs::write(&path, text).map_err(|e| failed(&path, e))?;
    }
    tell!("wrote fanweave.toml, reviews.csv and summary.yaml to {shown}");
    let into = if folder == Path::new(".") { String::new() } else { format!("  cd {shown}\n") };
    tell!(
        "try:\n{into}  fanweave batch reviews.csv -o moods.csv --prompt 'Positive or negative? {{{{ review }}}}'\n  \
         fanweave run summary.yaml --set topic='tidal power'\n  \
         fanweave run summary.yaml --rows reviews.csv -o summaries.csv --all-steps\n\
         the model is that of fanweave.toml: {model}"
    );
    Ok(Exit::Ok)
}

/// Checks that a model has a known provider. Whether there is a key or a server is not known yet.
fn check(name: &str) -> Result<(), Failure> {
    let invalid = |e: fanweave::Error| Failure::usage(format!("--model: {}", e.message()));
    let vendor = name.split_once('/').map(|(vendor, _)| vendor);
    match vendor.filter(|vendor| *vendor != "sim") {
        Some(vendor) if vendors().any(|known| known == vendor) => Ok(()),
        Some(_) => ModelBuilder::new(name).api_key("none").build().map(|_| ()).map_err(invalid),
        None => fanweave::model(name).map(|_| ()).map_err(invalid),
    }
}
