//! Templates of `fanweave ask`: files, or names of files in the user's folder.

use std::path::Path;

use fanweave::Vars;
use fanweave::prompts::Template;

use crate::config;
use crate::exit::Failure;
use crate::text_file::{read_text, text_or_file};

/// Variable that has the prompt.
const INPUT: &str = "input";

/// Extensions of templates that are named without one.
const EXTENSIONS: [&str; 3] = ["md", "txt", "j2"];

/// The prompt that a template makes of `input`, which follows the text of a template that does not insert it.
pub(crate) fn render(name: &str, set: &[String], input: &str) -> Result<String, Failure> {
    let text = read(name)?;
    let invalid = |e: fanweave::Error| Failure::usage(format!("--template {name}: {}", e.message()));
    let template = Template::parse(text.trim_end()).map_err(invalid)?;
    let known = template.variables();
    let inserts = known.iter().any(|known| known == INPUT);
    let mut vars = Vars::new();
    for setting in set {
        let Some((variable, value)) = setting.split_once('=') else {
            return Err(
                Failure::usage(format!("--set {setting}: missing `=`")).with_hint("use --set NAME=VALUE")
            );
        };
        if !known.iter().any(|known| known == variable) {
            let names: Vec<_> = known.iter().map(|known| format!("`{known}`")).collect();
            let has = if names.is_empty() { "no variables".to_owned() } else { names.join(", ") };
            return Err(Failure::usage(format!("--set {variable}: the template has {has}")));
        }
        vars.insert(variable, text_or_file("--set", value)?);
    }
    if inserts && vars.get(INPUT).is_none() {
        if input.is_empty() {
            return Err(Failure::usage(format!("--template {name}: no prompt given for `{{{{ input }}}}`"))
                .with_hint("pass the prompt as an argument or on standard input"));
        }
        vars.insert(INPUT, input);
    }
    let prompt = template.render(&vars).map_err(|e| {
        invalid(e).with_hint("--set NAME=VALUE sets a variable, and the prompt is `{{ input }}`")
    })?;
    match inserts || input.is_empty() {
        true => Ok(prompt),
        false => Ok(format!("{prompt}\n\n{input}")),
    }
}

/// The text of a template: that of a file, or of the user's template with this name.
fn read(name: &str) -> Result<String, Failure> {
    if Path::new(name).is_file() || name.contains(['/', '\\']) {
        return read_text("--template", name);
    }
    let folder = config::folder().map(|folder| folder.join("templates"));
    let named = folder.iter().flat_map(|folder| {
        let plain = std::iter::once(folder.join(name));
        plain.chain(EXTENSIONS.iter().map(move |extension| folder.join(format!("{name}.{extension}"))))
    });
    if let Some(path) = named.into_iter().find(|path| path.is_file()) {
        return read_text("--template", &path.to_string_lossy());
    }
    let shown =
        folder.as_ref().map_or_else(|| "the user's folder".to_owned(), |folder| folder.display().to_string());
    let failure =
        Failure::usage(format!("--template {name}: no such file, and no template of this name in {shown}"));
    let files = folder.and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let stems = files.filter_map(|file| Some(file.path().file_stem()?.to_string_lossy().into_owned()));
    let mut names: Vec<_> = stems.take(100).collect();
    names.sort();
    match names.is_empty() {
        true if name.contains('.') => Err(failure),
        true => Err(failure.with_hint(format!("write it to {shown}/{name}.md"))),
        false => Err(failure.with_hint(format!("templates: {}", names.join(", ")))),
    }
}
