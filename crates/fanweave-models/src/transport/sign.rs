//! Requests that are signed just before they are sent: AWS Signature Version 4.
//!
//! Source: the AWS documentation "Create a signed AWS API request", and its test vectors.

use std::fmt::Write;
use std::time::SystemTime;

use fanweave_core::{Error, ErrorKind, Result};
use http::header::HOST;
use http::{HeaderName, HeaderValue, Request};
use ring::{digest, hmac};

use super::aws::{Credentials, Source};
use super::client::Client;
use super::percent::encoded;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Headers that are not signed: proxies and connections change them.
const UNSIGNED: [&str; 8] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "expect",
    "transfer-encoding",
    "user-agent",
];

/// Signs requests to one service in one region.
pub(crate) struct SigV4 {
    source: Source,
    region: String,
    service: &'static str,
}

impl SigV4 {
    /// Signs for Bedrock.
    pub(crate) fn new(source: Source, region: String) -> Self {
        Self { source, region, service: "bedrock" }
    }

    /// Signs with the credentials of the environment, of the user's AWS files, or of the machine, for the
    /// region of the host, of the environment or of the profile.
    ///
    /// # Errors
    /// Those of [`Source::from_env`], and [`ErrorKind::Config`] without a region.
    pub(crate) fn from_env(
        env: &dyn Fn(&str) -> Option<String>,
        host: &str,
        client: &Client,
    ) -> Result<Self> {
        let (source, region) = Source::from_env(env, client)?;
        let of_host =
            host.strip_prefix("bedrock-runtime.").and_then(|rest| rest.strip_suffix(".amazonaws.com"));
        let region = of_host.map(str::to_owned).or(region).ok_or_else(|| {
            Error::new(ErrorKind::Config, "AWS_REGION is not set: export it, such as us-east-1")
        })?;
        Ok(Self::new(source, region))
    }

    /// Identifies the account of the key.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.source.fingerprint()
    }

    /// Gets credentials for the next request.
    ///
    /// # Errors
    /// Those of [`Source::ready`].
    pub(crate) async fn ready(&self) -> Result<()> {
        self.source.ready().await
    }

    /// Adds the date and the signature to a request that is sent now.
    pub(crate) fn sign(&self, request: &mut Request<bytes::Bytes>, now: SystemTime) {
        let Some(credentials) = self.source.current() else { return };
        let time = timestamp(now);
        let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let headers = request.headers_mut();
        // Only for the signature: the connection writes the host.
        let host = HeaderValue::try_from(authority).ok();
        headers.extend(host.map(|host| (HOST, host)));
        headers.extend(HeaderValue::try_from(&time).ok().map(|time| (DATE, time)));
        headers.extend(credentials.session_token.clone().map(|token| (TOKEN, token)));
        let authorization = self.authorization(&credentials, request, &time);
        let headers = request.headers_mut();
        headers.remove(HOST);
        if let Ok(mut value) = HeaderValue::try_from(authorization) {
            value.set_sensitive(true);
            headers.insert(http::header::AUTHORIZATION, value);
        }
    }

    /// The value of the `authorization` header for a request with all other headers.
    fn authorization(
        &self,
        credentials: &Credentials,
        request: &Request<bytes::Bytes>,
        time: &str,
    ) -> String {
        let (Self { region, service, .. }, Credentials { access_key, secret_key, .. }) = (self, credentials);
        let (canonical, signed) = canonical(request);
        let date = &time[..8];
        let scope = format!("{date}/{region}/{service}/aws4_request");
        let digest = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{digest}");
        let mut key = format!("AWS4{}", secret_key.expose()).into_bytes();
        for part in [date, region, service, "aws4_request"] {
            key = mac(&key, part).as_ref().to_vec();
        }
        let signature = hex(mac(&key, &to_sign).as_ref());
        format!("{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={signed}, Signature={signature}")
    }
}

/// The request in canonical form, and the names of the headers in it.
fn canonical(request: &Request<bytes::Bytes>) -> (String, String) {
    let mut headers: Vec<(&str, String)> = Vec::new();
    for name in request.headers().keys() {
        let name = name.as_str();
        if UNSIGNED.contains(&name) {
            continue;
        }
        let values = request.headers().get_all(name).iter();
        let values: Vec<_> = values
            .map(|value| {
                String::from_utf8_lossy(value.as_bytes())
                    .split_ascii_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect();
        headers.push((name, values.join(",")));
    }
    headers.sort_unstable();
    let signed = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines = headers.iter().fold(String::new(), |mut lines, (name, value)| {
        let _ = writeln!(lines, "{name}:{value}");
        lines
    });
    // The path is encoded once more: its percent signs are part of it.
    let path: Vec<_> = request.uri().path().split('/').map(encoded).collect();
    let mut query: Vec<_> = request.uri().query().unwrap_or_default().split('&').collect();
    query.retain(|pair| !pair.is_empty());
    query.sort_unstable();
    let query: Vec<_> = query
        .iter()
        .map(|pair| if pair.contains('=') { (*pair).to_owned() } else { format!("{pair}=") })
        .collect();
    let body = hex(digest::digest(&digest::SHA256, request.body()).as_ref());
    let (method, path, query) = (request.method(), path.join("/"), query.join("&"));
    (format!("{method}\n{path}\n{query}\n{lines}\n{signed}\n{body}"), signed)
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// A time in the basic format of ISO 8601: `20150830T123600Z`.
fn timestamp(time: SystemTime) -> String {
    let written = humantime::format_rfc3339_seconds(time).to_string();
    written.chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// 2015-08-30, 12:36:00 UTC.
    const TIME: Duration = Duration::from_secs(1_440_938_160);

    fn signed_by(key: &str, secret: String, token: Option<String>) -> SigV4 {
        let credentials = Credentials::new(key.to_owned(), secret, token).unwrap();
        SigV4::new(Source::Fixed(credentials.into()), "us-east-1".to_owned())
    }

    fn signer(service: &'static str) -> SigV4 {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned();
        SigV4 { service, ..signed_by("AKIDEXAMPLE", secret, None) }
    }

    fn signature(
        service: &'static str,
        method: &str,
        url: &str,
        headers: &[(&'static str, &'static str)],
        body: &'static str,
    ) -> (String, String) {
        let mut request = Request::new(bytes::Bytes::from_static(body.as_bytes()));
        *request.method_mut() = method.parse().unwrap();
        *request.uri_mut() = url.parse().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        signer(service).sign(&mut request, SystemTime::UNIX_EPOCH + TIME);
        assert_eq!(request.headers()["x-amz-date"], "20150830T123600Z");
        assert!(!request.headers().contains_key(HOST));
        let header = request.headers()["authorization"].to_str().unwrap().to_owned();
        let of = |name: &str| {
            let (_, rest) = header.split_once(name).unwrap();
            rest.split(',').next().unwrap().to_owned()
        };
        (of("Signature="), of("SignedHeaders="))
    }

    /// The published test suite of AWS, and the example of its documentation.
    #[test]
    fn the_published_test_vectors_have_these_signatures() {
        const ROOT: &str = "https://example.amazonaws.com/";
        let form = ("content-type", "application/x-www-form-urlencoded");
        for (method, url, headers, body, expected) in [
            ("GET", ROOT, &[][..], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("POST", ROOT, &[], "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            (
                "GET",
                "https://example.amazonaws.com/?Param2=value2&Param1=value1",
                &[],
                "",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "GET",
                "https://example.amazonaws.com/?Param1=value1",
                &[],
                "",
                "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
            ),
            (
                "GET",
                ROOT,
                &[("my-header1", " value1"), ("my-header2", " \"a   b   c\"")],
                "",
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
            (
                "POST",
                ROOT,
                &[("my-header1", "value1")],
                "",
                "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
            ),
            (
                "POST",
                ROOT,
                &[form],
                "Param1=value1",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ] {
            assert_eq!(
                signature("service", method, url, headers, body).0,
                expected,
                "{method} {url} {headers:?}"
            );
        }
        let users = "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08";
        let form = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        let expected = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7".to_owned();
        assert_eq!(
            signature("iam", "GET", users, &[form], ""),
            (expected, "content-type;host;x-amz-date".into())
        );
        // Not in the suite as a URL: a path of other characters, which is sent encoded.
        assert_eq!(encoded("a:b/ሴ"), "a%3Ab%2F%E1%88%B4");
    }

    #[test]
    fn headers_that_proxies_change_are_not_signed_and_the_token_is() {
        let mut request = Request::new(bytes::Bytes::new());
        *request.uri_mut() =
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/a%3Ab/converse".parse().unwrap();
        request.headers_mut().insert("accept", HeaderValue::from_static("*/*"));
        let token = Some("session-token-canary".to_owned());
        let signer = signed_by("AKID", "secret-key-canary-1".to_owned(), token);
        signer.sign(&mut request, SystemTime::UNIX_EPOCH + TIME);
        let authorization = request.headers()["authorization"].to_str().unwrap();
        assert!(
            authorization.contains("SignedHeaders=host;x-amz-date;x-amz-security-token,"),
            "{authorization}"
        );
        assert!(authorization.contains("Credential=AKID/20150830/us-east-1/bedrock/aws4_request"));
        assert!(!format!("{request:?}").contains("canary"), "{request:?}");
    }

    #[test]
    fn the_region_is_that_of_the_host_or_of_the_environment() {
        let region = |host: &str, region: Option<&str>| {
            let env = |name: &str| match name {
                "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("x".to_owned()),
                "AWS_REGION" => region.map(str::to_owned),
                _ => None,
            };
            SigV4::from_env(&env, host, &Client::default()).map(|signer| signer.region)
        };
        let host = "bedrock-runtime.ap-south-1.amazonaws.com";
        assert_eq!(region(host, Some("us-east-1")).unwrap(), "ap-south-1");
        assert_eq!(region("x", Some("us-east-1")).unwrap(), "us-east-1");
        assert!(region("x", None).unwrap_err().message().starts_with("AWS_REGION is not set"));
    }
}
