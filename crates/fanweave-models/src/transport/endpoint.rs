//! Base URLs: validated once, before any call.

use std::fmt;

use fanweave_core::{Error, ErrorKind, Result};
use http::Uri;
use http::uri::Scheme;

/// Base URL of a provider API, such as `https://api.openai.com/v1`.
///
/// Its query, such as `?api-version=2024-10-21`, is part of every request and is never shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    /// Without a trailing slash and without the query.
    url: String,
    query: Option<String>,
}

impl Endpoint {
    /// Parses a base URL.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the reason. The message contains neither a password nor a query string.
    #[cfg(any(test, feature = "chroma", feature = "promptlayer"))]
    pub(crate) fn parse(url: &str) -> Result<Self> {
        Self::parse_with(url, |bare| bare)
    }

    /// Parses a base URL. `base` cuts off paths that do not belong to it.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the reason. The message contains neither a password nor a query string.
    pub(crate) fn parse_with(url: &str, base: impl FnOnce(&str) -> &str) -> Result<Self> {
        let url = url.trim();
        let (url, has_fragment) = url.split_once('#').map_or((url, false), |(url, _)| (url, true));
        let (bare, query) = url.split_once('?').map_or((url, None), |(bare, query)| (bare, Some(query)));
        if bare.contains('@') {
            return Err(refused("it contains a user name or password: pass the API key separately"));
        }
        if has_fragment {
            return Err(refused(&format!("remove the fragment from `{bare}`")));
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
        let query = query.filter(|query| !query.is_empty()).map(str::to_owned);
        if query.as_ref().is_some_and(|query| Uri::try_from(format!("/?{query}")).is_err()) {
            return Err(refused(&format!("the query string of `{bare}` must be percent-encoded")));
        }
        Ok(Self { url: base(bare).trim_end_matches('/').to_owned(), query })
    }

    /// The values of the query that may be secrets.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        let pairs = self.query.as_deref().unwrap_or_default().split('&');
        let pairs = pairs.filter_map(|pair| pair.split_once('='));
        // Shorter values would be found in ordinary words.
        pairs.filter(|(name, value)| !name.ends_with("version") && value.len() >= 8).map(|(_, value)| value)
    }

    /// Advice for a server that does not know the path of a request, if the base URL has no path although
    /// that of most servers ends in `/v1`.
    pub(crate) fn advice(&self, path: &str) -> Option<String> {
        let authority = self.url.split_once("://").map_or("", |(_, rest)| rest);
        let has_version = path.starts_with("/v1") || path.starts_with("/api");
        (!authority.contains('/') && !has_version)
            .then(|| format!("the base URL has no path: try {}/v1", self.url))
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
        let uri = path.starts_with('/').then(|| match &self.query {
            None => [&self.url, path].concat(),
            Some(query) => {
                let separator = if path.contains('?') { "&" } else { "?" };
                [&self.url, path, separator, query].concat()
            }
        });
        uri.and_then(|uri| Uri::try_from(uri).ok()).ok_or_else(|| {
            let path = path.escape_debug();
            let message =
                format!("`{path}` is not a valid path: it must begin with / and be percent-encoded");
            Error::new(ErrorKind::Config, message)
        })
    }
}

/// Shows that there is a query, but not the query.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)?;
        f.write_str(if self.query.is_some() { "?.." } else { "" })
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
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
    fn a_query_string_is_sent_and_never_shown() {
        let endpoint = Endpoint::parse("https://x/openai/deployments/d/?api-version=2024-10-21&key=canary99");
        let endpoint = endpoint.unwrap();
        let uri = endpoint.uri("/chat/completions").unwrap();
        assert_eq!(
            uri,
            "https://x/openai/deployments/d/chat/completions?api-version=2024-10-21&key=canary99"
        );
        let uri = endpoint.uri("/m:stream?alt=sse").unwrap();
        assert_eq!(uri.query(), Some("alt=sse&api-version=2024-10-21&key=canary99"));
        assert_eq!(endpoint.to_string(), "https://x/openai/deployments/d?..");
        assert!(!format!("{endpoint:?}").contains("canary"));
        assert_eq!(endpoint.secrets().collect::<Vec<_>>(), ["canary99"]);
        assert_eq!(Endpoint::parse("https://x?").unwrap().to_string(), "https://x");
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
            ("https://x/v1?key=canary#y", "remove the fragment"),
            ("https://x/v1?key=canary é", "must be percent-encoded"),
            ("https://me:canary@x/v1", "user name or password"),
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
