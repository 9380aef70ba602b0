//! Selects the proxy for a request.

use std::sync::Arc;

use fanweave_core::{Error, ErrorKind, Result};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, StatusCode, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::failure::broken;
use super::redact::register;
use super::secret::Secret;

/// Maximum bytes of the response headers of a proxy to `CONNECT`.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// The proxies of one client.
#[derive(Debug, Clone)]
pub(crate) struct Proxies {
    matcher: Option<Arc<Matcher>>,
    /// Passwords, which a proxy may echo.
    _passwords: Vec<Secret>,
}

/// A proxy for requests.
#[derive(Clone)]
pub(crate) struct Proxy {
    /// Without user name and password.
    pub(crate) uri: Uri,
    /// User name and password, as a header value.
    pub(crate) auth: Option<HeaderValue>,
}

impl Proxies {
    /// Sends every request directly to its host.
    pub(crate) fn none() -> Self {
        Self { matcher: None, _passwords: Vec::new() }
    }

    /// Sends all requests through the proxy at `url`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for an invalid URL. The message contains neither user name nor password.
    pub(crate) fn all(url: &str) -> Result<Self> {
        let url = checked("the proxy", url)?;
        Ok(Self::new([&*url], Matcher::builder().all(&*url).build()))
    }

    /// Reads the variables of the environment that curl reads, in lower or upper case: `https_proxy`,
    /// `http_proxy`, `all_proxy` as the fallback for both, and `no_proxy`.
    ///
    /// # Errors
    /// The same as [`all`](Self::all), with the name of the variable.
    pub(crate) fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let set = |name: &str| {
            // Like curl, lower case takes precedence.
            [name.to_owned(), name.to_ascii_uppercase()].into_iter().find_map(|name| {
                Some((env(&name)?.trim().to_owned(), name)).filter(|(value, _)| !value.is_empty())
            })
        };
        let url = |name: &str| match set(name) {
            // A web server passes the `Proxy` header of a request to CGI programs under this name.
            Some((_, name)) if name == "HTTP_PROXY" && env("REQUEST_METHOD").is_some() => Ok(String::new()),
            Some((url, name)) => checked(&name, &url),
            None => Ok(String::new()),
        };
        let (http, https, all) = (url("http_proxy")?, url("https_proxy")?, url("all_proxy")?);
        if http.is_empty() && https.is_empty() && all.is_empty() {
            return Ok(Self::none());
        }
        let no = set("no_proxy").map(|(hosts, _)| hosts).unwrap_or_default();
        let urls = [&*http, &*https, &*all];
        Ok(Self::new(urls, Matcher::builder().http(&*http).https(&*https).all(&*all).no(no).build()))
    }

    fn new<'u>(urls: impl IntoIterator<Item = &'u str>, matcher: Matcher) -> Self {
        let passwords: Vec<_> = urls.into_iter().filter_map(password).map(Secret::new).collect();
        passwords.iter().for_each(register);
        Self { matcher: Some(Arc::new(matcher)), _passwords: passwords }
    }

    /// Returns the proxy for requests to `uri`.
    pub(crate) fn of(&self, uri: &Uri) -> Option<Proxy> {
        let proxy = self.matcher.as_ref()?.intercept(uri)?;
        Some(Proxy { uri: proxy.uri().clone(), auth: proxy.basic_auth().cloned() })
    }
}

impl Proxy {
    /// Requests a tunnel to `host` over a connection to the proxy.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the proxy rejects the credentials, [`ErrorKind::Connection`] if it cannot
    /// reach the host.
    pub(crate) async fn tunnel(&self, mut socket: TcpStream, host: &Authority) -> Result<TcpStream> {
        let target = format!("{}:{}", host.host(), host.port_u16().unwrap_or(443));
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
        if let Some(auth) = &self.auth {
            request.extend_from_slice(&[b"Proxy-Authorization: ", auth.as_bytes(), b"\r\n"].concat());
        }
        request.extend_from_slice(b"\r\n");
        let at = self.uri.authority().map_or("the proxy", Authority::as_str);
        let what = format!("cannot connect through the proxy {at}");
        socket.write_all(&request).await.map_err(|e| broken(&what, &e))?;

        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            // Byte by byte: the bytes that follow belong to the host. This happens once per connection.
            match socket.read_u8().await {
                Ok(byte) if head.len() < MAX_HEAD_BYTES => head.push(byte),
                Ok(_) => {
                    return Err(Error::new(
                        ErrorKind::Connection,
                        format!("{what}: response header too large"),
                    ));
                }
                Err(e) => return Err(broken(&what, &e)),
            }
        }
        let status =
            head.split(|byte| *byte == b' ').nth(1).and_then(|code| StatusCode::from_bytes(code).ok());
        match status {
            Some(status) if status.is_success() => Ok(socket),
            Some(StatusCode::PROXY_AUTHENTICATION_REQUIRED) => {
                let wrong = if self.auth.is_some() {
                    "rejected the user name and password"
                } else {
                    "requires a user name and password"
                };
                let message = format!("the proxy {at} {wrong}: set its URL as http://NAME:PASSWORD@{at}");
                Err(Error::new(ErrorKind::Config, message).with_status(407))
            }
            Some(status) => {
                let message = format!("{what} to {target}: it responded with {}", status.as_u16());
                Err(Error::new(ErrorKind::Connection, message))
            }
            None => Err(Error::new(ErrorKind::Connection, format!("{what}: the response is not HTTP"))),
        }
    }
}

/// Returns `url` with a scheme, if it is a valid proxy address.
fn checked(whose: &str, url: &str) -> Result<String> {
    let refused = |why| Err(Error::new(ErrorKind::Config, format!("{whose} cannot be used: {why}")));
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    // With such a character in the password, the part before it would be read, and shown, as the host.
    let after_scheme = url.split_once("://").map_or(&*url, |(_, rest)| rest);
    if let Some((user, _)) = after_scheme.rsplit_once('@')
        && user.contains(['/', '?', '#', '@', '\\'])
    {
        return refused("percent-encode special characters in a password, such as %2F for / and %40 for @");
    }
    let Ok(uri) = url.parse::<Uri>() else {
        return refused(
            "it is not a valid URL; percent-encode special characters in a password, such as %40 for @",
        );
    };
    if uri.scheme() != Some(&Scheme::HTTP) {
        return refused("only proxies at http:// addresses are supported");
    }
    if uri.host().is_none_or(str::is_empty) {
        return refused("it has no host");
    }
    Ok(url)
}

/// The password in the URL of a proxy, decoded.
fn password(url: &str) -> Option<String> {
    let (user, _) = url.split_once("://")?.1.rsplit_once('@')?;
    let (_, password) = user.split_once(':')?;
    Some(percent_encoding::percent_decode_str(password).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(env: &[(&str, &str)], url: &str) -> Option<String> {
        let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        let proxies = Proxies::from_env(&env).unwrap();
        Some(proxies.of(&url.parse().unwrap())?.uri.authority()?.to_string())
    }

    #[test]
    fn each_scheme_has_its_variable_and_all_proxy_fills_the_gap() {
        let env = [("HTTPS_PROXY", "http://secure:1"), ("all_proxy", "rest:2")];
        assert_eq!(through(&env, "https://api.openai.com").as_deref(), Some("secure:1"));
        assert_eq!(through(&env, "http://vllm:8000").as_deref(), Some("rest:2"));
        assert_eq!(through(&[], "https://api.openai.com"), None);
        assert_eq!(through(&[("https_proxy", " ")], "https://api.openai.com"), None);
    }

    #[test]
    fn lower_case_wins() {
        let env = [("HTTP_PROXY", "http://upper:1"), ("http_proxy", "http://lower:1")];
        assert_eq!(through(&env, "http://vllm").as_deref(), Some("lower:1"));
    }

    #[test]
    fn no_proxy_names_hosts_domains_and_networks() {
        let env = [("all_proxy", "http://p:1"), ("NO_PROXY", "localhost, .example.com,10.0.0.0/8")];
        for url in ["http://localhost:8000", "https://api.example.com", "http://10.1.2.3/v1"] {
            assert_eq!(through(&env, url), None, "{url}");
        }
        // As with curl, localhost is not an exception.
        assert_eq!(through(&env, "http://127.0.0.1").as_deref(), Some("p:1"));
        assert_eq!(through(&[("all_proxy", "http://p:1"), ("no_proxy", "*")], "http://x"), None);
    }

    #[test]
    fn a_program_that_a_web_server_runs_does_not_trust_the_upper_case_name() {
        let env = [("HTTP_PROXY", "http://evil:1"), ("REQUEST_METHOD", "GET")];
        assert_eq!(through(&env, "http://vllm"), None);
    }

    #[test]
    fn an_invalid_proxy_is_rejected_without_showing_its_password() {
        for (url, says) in [
            ("socks5://me:canary@p:1080", "only proxies at http://"),
            ("http://me:can ary@p", "is not a valid URL"),
            ("https://me:canary@p", "only proxies at http://"),
            ("http://me:8080/canary@p:1", "percent-encode special characters"),
            ("me:can/ary@p:1", "percent-encode special characters"),
            ("http://me:canary?x@p:1", "percent-encode special characters"),
            ("http://me:#canary@p:1", "percent-encode special characters"),
            ("http://me:can@ary@p:1", "percent-encode special characters"),
        ] {
            let env = |name: &str| (name == "ALL_PROXY").then(|| url.to_owned());
            let error = Proxies::from_env(&env).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().starts_with("ALL_PROXY cannot be used: "), "{error}");
            assert!(error.message().contains(says) && !error.message().contains("ary"), "{error}");
        }
    }

    #[test]
    fn the_password_of_a_proxy_is_a_header_and_never_printed() {
        let proxies = Proxies::all("http://me:s3cr%40t@p:1").unwrap();
        let proxy = proxies.of(&"https://x".parse().unwrap()).unwrap();
        assert_eq!(proxy.auth.as_ref().unwrap(), "Basic bWU6czNjckB0");
        let shown = format!("{proxies:?} {:?} {}", proxy.auth, proxy.uri);
        assert!(!shown.contains("s3c") && !shown.contains("bWU6"), "{shown}");
    }
}
