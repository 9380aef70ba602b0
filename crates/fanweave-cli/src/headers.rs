//! The headers of `--header`, checked and read from their files.

use crate::args::{Header, HeaderFlag};
use crate::exit::Failure;
use crate::text_file::read_text;

/// Headers that the transport sets, or that would change where a request ends.
const OWN: [&str; 6] =
    ["host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding"];

/// Headers of API keys, with their providers; `None` is any provider.
const KEYS: [(&str, Option<&str>); 4] = [
    ("authorization", None),
    ("x-api-key", Some("anthropic")),
    ("api-key", Some("azure")),
    ("x-goog-api-key", Some("gemini")),
];

/// The headers for requests to the model called `name`, as provider/model.
///
/// # Errors
/// For a header that cannot be sent, or that the program sets itself. No message contains a value.
pub(crate) fn headers(flags: &[HeaderFlag], name: &str) -> Result<Vec<Header>, Failure> {
    let mut all = Vec::new();
    for flag in flags {
        match flag {
            HeaderFlag::One(header) => all.push(header.clone()),
            HeaderFlag::File(file) => all.extend_from_slice(file.get(read)?),
            HeaderFlag::Invalid => {
                return Err(Failure::usage("--header: missing `:`").with_hint("use --header 'NAME: VALUE'"));
            }
        }
    }
    let provider = name.split_once('/').map(|(provider, _)| provider);
    for header in &all {
        check(header, provider)?;
    }
    Ok(all)
}

fn read(path: &str) -> Result<Vec<Header>, Failure> {
    let text = read_text("--header", path)?;
    let lines =
        text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let header = |(n, line): (usize, &str)| {
        Header::parse(line)
            .map(|header| Header { is_secret: true, ..header })
            .ok_or_else(|| Failure::usage(format!("--header: {path}: line {}: missing `:`", n + 1)))
    };
    lines.map(header).collect()
}

fn check(header: &Header, provider: Option<&str>) -> Result<(), Failure> {
    let Header { name, value, .. } = header;
    let lower = name.to_ascii_lowercase();
    if OWN.contains(&lower.as_str()) {
        return Err(Failure::usage(format!("--header: `{name}` is set by the program")));
    }
    if KEYS.iter().any(|(key, of)| *key == lower && (of.is_none() || *of == provider)) {
        return Err(Failure::usage(format!("--header: `{name}` carries the API key"))
            .with_hint("pass the key in an environment variable: --key-env, or the one of the provider"));
    }
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if !name.chars().all(is_token) {
        return Err(Failure::usage(format!("--header: `{}` is not a valid name", name.escape_debug())));
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(Failure::usage(format!(
            "--header: the value of `{name}` contains a line break or another \
                                           control character"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(flags: &[&str], model: &str) -> Result<Vec<String>, String> {
        let flags: Vec<_> = flags
            .iter()
            .map(|text| Header::parse(text).map_or(HeaderFlag::Invalid, HeaderFlag::One))
            .collect();
        let pair = |Header { name, value, .. }: Header| format!("{name}={value}");
        let all = headers(&flags, model).map_err(|failure| failure.message().to_owned())?;
        Ok(all.into_iter().map(pair).collect())
    }

    /// Each model of a batch, and each of its keys, has a connection with the same flags.
    #[test]
    fn a_file_of_headers_is_read_once_for_all_models() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# team\nX-Team: a\n\nX-Key: canary\n").unwrap();
        let flags = vec![HeaderFlag::from(format!("@{}", file.path().display()))];
        let copy = flags.clone();
        assert_eq!(headers(&flags, "openai/x").unwrap().len(), 2);
        drop(file);
        assert_eq!(headers(&copy, "openai/y").unwrap(), headers(&flags, "openai/x").unwrap());
        assert!(!format!("{copy:?}").contains("canary"));
    }

    #[test]
    fn headers_are_read_and_those_of_the_program_are_refused() {
        assert_eq!(read_all(&["X-Team: a: b", "x-empty:"], "openai/x").unwrap(), ["X-Team=a: b", "x-empty="]);
        assert!(read_all(&["x-api-key: 1"], "openai/x").is_ok());
        for (header, model) in [
            ("no value canary", "openai/x"),
            ("Authorization: Bearer canary", "openai/x"),
            ("X-Api-Key: canary", "anthropic/x"),
            ("host: canary", "openai/x"),
            ("X-A: can\nary", "openai/x"),
            ("X A: canary", "openai/x"),
        ] {
            let why = read_all(&[header], model).unwrap_err();
            assert!(why.starts_with("--header") && !why.contains("canary"), "{header}: {why}");
        }
    }
}
