//! Base URLs: validated once, before any call.

use std::fmt;

use fanweave_core::{Error, ErrorKind, Result};
use http::Uri;
use http::uri::Scheme;

/// Base URL of a provider API, such as `https://api.openai.com/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    /// Without a trailing slash.
    url: String,
}

impl Endpoint {
    /// Parses a base URL.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the reason. The message contains neither a password nor a query string.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let url = url.trim();
        let (bare, query) = url.split_once(['?', '#']).map_or((url, false), |(bare, _)| (bare, true));
        if bare.contains('@') {
            return Err(refused("it contains a user name or password: pass the API key separately"));
        }
        if query {
            return Err(refused(&format!("remove the query string or fragment from `{bare}`")));
        }
        if !bare.contains("://") {
            return Err(refused(&format!("`{bare}` has no scheme: write http://{bare} or https://{bare}")));
        }
        let uri: Uri = bare.parse().map_err(|e| refused(&format!("`{bare}` is not a valid URL: {e}")))?;
        if uri.scheme().is_none_or(|scheme| *scheme != Scheme::HTTPS && *scheme != Scheme::HTTP) {
            return Err(refused(&format!("`{bare}` is neither http nor https")));
        }
        let bare = bare.trim_end_matches('/');
        if uri.host().is_none_or(str::is_empty) {
            return Err(refused(&format!("`{bare}` has no host")));
        }
        // The URL parser accepts any digits as a port, and then returns none.
        if uri.authority().is_some_and(|a| a.as_str().len() > a.host().len()) && uri.port_u16().is_none() {
            return Err(refused(&format!("the port of `{bare}` must be a number from 1 to 65535")));
        }
        if let Some(base) = bare.strip_suffix("/chat/completions") {
            return Err(refused(&format!("`{bare}` is the address of a single endpoint: write {base}")));
        }
        Ok(Self { url: bare.to_owned() })
    }

    /// The host, without its port.
    pub(crate) fn host(&self) -> &str {
        let authority = self.url.split_once("://").map_or("", |(_, rest)| rest);
        authority.split(['/', ':']).next().unwrap_or_default()
    }

    /// The URL of `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the path is invalid, or does not begin with a slash: appended to the host, it
    /// would name another one.
    pub(crate) fn uri(&self, path: &str) -> Result<Uri> {
        let uri = path.starts_with('/').then(|| [&self.url, path].concat());
        uri.and_then(|uri| Uri::try_from(uri).ok()).ok_or_else(|| {
            let path = path.escape_debug();
            let message =
                format!("`{path}` is not a valid path: it must begin with / and be percent-encoded");
            Error::new(ErrorKind::Config, message)
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::Config, format!("the base URL cannot be used: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_at_the_end_make_no_difference() {
        let endpoint = Endpoint::parse(" https://api.openai.com/v1// ").unwrap();
        let uri = endpoint.uri("/chat/completions").unwrap();
        assert_eq!(uri, "https://api.openai.com/v1/chat/completions");
    }

    #[test]
    fn a_path_never_changes_the_host() {
        let endpoint = Endpoint::parse("https://api.example").unwrap();
        for path in ["", ".evil.example/x", "@evil.example/", ":8/x", "/a b", "/é\n", "?x=1"] {
            let error = endpoint.uri(path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{path}");
            assert!(error.message().ends_with("it must begin with / and be percent-encoded"), "{error}");
        }
        assert_eq!(endpoint.uri("//evil.example/x").unwrap().host(), Some("api.example"));
        assert_eq!(endpoint.uri("/x?y=@evil").unwrap().host(), Some("api.example"));
    }

    #[test]
    fn an_invalid_url_is_rejected_with_a_hint() {
        for (url, says) in [
            ("localhost:8000/v1", "write http://localhost:8000/v1"),
            ("ftp://x", "neither http nor https"),
            ("https://", "is not a valid URL"),
            ("https://x/v1?key=canary", "remove the query string"),
            ("https://me:canary@x/v1", "user name or password"),
            ("http://x/v1/chat/completions", "write http://x/v1"),
            ("http://a b", "is not a valid URL"),
            ("http://x:99999/v1", "must be a number from 1 to 65535"),
        ] {
            let error = Endpoint::parse(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains(says), "{error}");
            assert!(!error.message().contains("canary"), "{error}");
        }
    }
}
