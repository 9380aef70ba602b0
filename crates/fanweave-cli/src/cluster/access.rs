//! Connections to the brokers that flags and the environment name.

use fanweave::workers::{Access, Nats};

use crate::args::{AccessArgs, BrokerArgs};
use crate::exit::Failure;
use crate::out::tell;

/// Prefix of the names of streams and subjects.
pub(crate) const SPACE: &str = "fw";

/// Connects to the broker of the flags, or of `FANWEAVE_ON`.
pub(crate) async fn broker(args: &BrokerArgs) -> Result<Nats, Failure> {
    connect(&url_of(args)?, &args.access).await
}

/// The URL of the flags, or of `FANWEAVE_ON`.
pub(crate) fn url_of(args: &BrokerArgs) -> Result<String, Failure> {
    if let Some(on) = &args.on {
        return given(on);
    }
    let url = std::env::var("FANWEAVE_ON").ok().filter(|url| !url.trim().is_empty());
    let url = url.ok_or_else(|| {
        Failure::usage("no broker given")
            .with_hint("add --on, such as --on nats://127.0.0.1:4222, or set FANWEAVE_ON")
    })?;
    if url.starts_with('@') { given(&url) } else { Ok(url) }
}

/// The URL in an argument: itself, or the contents of the file after `@`.
pub(crate) fn given(on: &str) -> Result<String, Failure> {
    if on == "local" {
        return Err(Failure::usage("--on local is the broker of one `fanweave batch` or `fanweave run`")
            .with_hint("pass the URL of a broker, such as --on nats://127.0.0.1:4222"));
    }
    let Some(path) = on.strip_prefix('@') else {
        if on.contains('@') {
            return Err(Failure::usage(
                "--on: a password in an argument can be seen in the list of processes",
            )
            .with_hint("write the URL to a file and pass --on @FILE, or set FANWEAVE_ON"));
        }
        return Ok(on.to_owned());
    };
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::usage(format!("--on: cannot read the URL in {path}: {e}")))?;
    let url = text.trim();
    if url.is_empty() || url.contains(char::is_whitespace) {
        return Err(Failure::usage(format!(
            "--on: {path} must have one URL, such as tls://USER:PASSWORD@HOST:4222"
        )));
    }
    Ok(url.to_owned())
}

/// Connects to the broker at `url`.
pub(crate) async fn connect(url: &str, args: &AccessArgs) -> Result<Nats, Failure> {
    let mut access = Access::new().plaintext(args.plaintext);
    access.creds.clone_from(&args.creds);
    access.nkey.clone_from(&args.nkey);
    access.ca.clone_from(&args.ca);
    access.certificate = args.cert.clone().zip(args.cert_key.clone());
    let broker = Nats::connect(url, SPACE, &access).await?;
    broker.on_trouble(|text| tell!("note: {text}"));
    Ok(broker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_a_password_is_read_from_a_file_and_refused_as_an_argument() {
        let refused = given("nats://a:secret@h:4222").unwrap_err();
        assert!(!refused.message().contains("secret") && refused.hint().unwrap().contains("--on @FILE"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker.url");
        std::fs::write(&path, "nats://a:secret@h:4222\n").unwrap();
        let on = format!("@{}", path.display());
        assert_eq!(given(&on).unwrap(), "nats://a:secret@h:4222");
        std::fs::write(&path, "\n").unwrap();
        assert!(given(&on).unwrap_err().message().contains("must have one URL"));
        assert_eq!(given("nats://h:4222").unwrap(), "nats://h:4222");
        assert!(given("local").unwrap_err().message().contains("of one `fanweave batch`"));
    }
}
