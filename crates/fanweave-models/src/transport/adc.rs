//! Application default credentials of Google: access tokens from a service account, from the login of a user,
//! or from the metadata server of a machine.
//!
//! Source: google.aip.dev, AIP-4110 to 4115.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use fanweave_core::__private::PerProcess;
use fanweave_core::{Error, ErrorKind, Result};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Uri};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::Client;
use super::exchange::Exchange;
use super::percent::encoded;
use super::redact::register;
use super::secret::Secret;
use crate::variable::set;

/// Server of tokens, unless the file of a service account names another one of Google.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// A token is renewed this long before its end.
const MARGIN: Duration = Duration::from_secs(120);

/// Validity that is requested. Source: the maximum of the provider.
const VALIDITY: Duration = Duration::from_secs(3600);

/// Source of access tokens, shared by all calls of a model.
pub(crate) struct Adc {
    credentials: Credentials,
    client: Client,
    /// The current token, and the time of its renewal.
    current: PerProcess<Mutex<Option<(String, Instant)>>>,
    /// The project that the credentials belong to.
    pub(crate) project: Option<String>,
}

enum Credentials {
    ServiceAccount { email: String, key_id: String, key: Box<RsaKeyPair>, token_uri: String, _key: Secret },
    User { client_id: String, client_secret: Secret, refresh_token: Secret, token_uri: String },
    Machine { url: String },
}

impl Adc {
    /// The credentials that `GOOGLE_APPLICATION_CREDENTIALS` names, or those of `gcloud auth
    /// application-default login`, or those of the machine.
    ///
    /// # Errors
    /// [`ErrorKind::Authentication`] for a file that cannot be read or is of another kind.
    pub(crate) fn from_env(env: &dyn Fn(&str) -> Option<String>, client: Client) -> Result<Self> {
        let wrong = |path: &Path, why: &str| {
            let message = format!("the credentials in {} {why}", path.display());
            Error::new(ErrorKind::Authentication, message)
        };
        let named = set(env, "GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from);
        let of_user = set(env, "CLOUDSDK_CONFIG").map(PathBuf::from).or_else(|| {
            set(env, "APPDATA")
                .map(|folder| PathBuf::from(folder).join("gcloud"))
                .or_else(|| set(env, "HOME").map(|home| PathBuf::from(home).join(".config").join("gcloud")))
        });
        let of_user = of_user.map(|folder| folder.join("application_default_credentials.json"));
        let path = named.or_else(|| of_user.filter(|path| path.exists()));
        let (credentials, project) = match path {
            Some(path) => {
                let text = std::fs::read_to_string(&path)
                    .map_err(|e| wrong(&path, &format!("cannot be read: {e}")))?;
                let json: Value = serde_json::from_str(&text).map_err(|_| wrong(&path, "are not JSON"))?;
                let credentials = Credentials::read(&json).map_err(|why| wrong(&path, &why))?;
                let project = json["project_id"].as_str().or(json["quota_project_id"].as_str());
                (credentials, project.map(str::to_owned))
            }
            None => {
                let host =
                    set(env, "GCE_METADATA_HOST").unwrap_or_else(|| "metadata.google.internal".to_owned());
                let url = format!(
                    "http://{host}/computeMetadata/v1/instance/service-accounts/default/token?scopes={SCOPE}"
                );
                (Credentials::Machine { url }, None)
            }
        };
        Ok(Self { credentials, client, current: PerProcess::new(), project })
    }

    /// Identifies the account of the credentials, without any secret.
    pub(crate) fn account(&self) -> &str {
        self.credentials.account()
    }

    /// A token that is valid for the next request.
    ///
    /// # Errors
    /// Those of the exchange.
    pub(crate) async fn token(&self) -> Result<String> {
        // Held during an exchange: one renewal serves all calls.
        let current = self.current.get(Mutex::default);
        let mut current = current.lock().await;
        if let Some((token, renewal)) = &*current
            && Instant::now() < *renewal
        {
            return Ok(token.clone());
        }
        let (token, validity) = self.exchange().await?;
        let renewal = Instant::now() + validity.saturating_sub(MARGIN);
        *current = Some((token.clone(), renewal));
        Ok(token)
    }

    async fn exchange(&self) -> Result<(String, Duration)> {
        let request = self.credentials.request(SystemTime::now())?;
        let connections = self.client.connections();
        let timeouts = self.client.timeouts();
        let mut answer = Exchange::begin(&connections, request, timeouts, None)
            .await
            .map_err(|error| failed(&error.to_string(), error.kind()))?;
        let status = answer.head.status;
        let body = answer.whole().await.map_err(|error| failed(&error.to_string(), error.kind()))?;
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        if let Some(token) = json["access_token"].as_str().filter(|_| status.is_success()) {
            let seconds = json["expires_in"].as_u64().unwrap_or(VALIDITY.as_secs());
            return Ok((token.to_owned(), Duration::from_secs(seconds)));
        }
        // Only these fields: a server may quote what it was sent.
        let says =
            ["error_description", "error"].iter().find_map(|name| json[*name].as_str()).unwrap_or_default();
        let says = fanweave_core::excerpt(&self.credentials.redacted(says), 200);
        let kind = match status.as_u16() {
            500.. => ErrorKind::Server,
            429 => ErrorKind::RateLimited,
            _ => ErrorKind::Authentication,
        };
        Err(failed(&format!("status {}: {says}", status.as_u16()), kind))
    }
}

fn failed(why: &str, kind: ErrorKind) -> Error {
    Error::new(kind, format!("no access token for Google Cloud: {why}"))
}

impl Credentials {
    fn read(json: &Value) -> std::result::Result<Self, String> {
        let field = |name: &str| {
            let value = json[name].as_str().filter(|value| !value.is_empty());
            value.map(str::to_owned).ok_or_else(|| format!("have no `{name}`"))
        };
        let token_uri = match json["token_uri"].as_str() {
            None => TOKEN_URI.to_owned(),
            Some(uri) if is_google(uri) => uri.to_owned(),
            Some(_) => return Err("have a `token_uri` outside of Google".to_owned()),
        };
        match json["type"].as_str().unwrap_or_default() {
            "service_account" => {
                let pem = field("private_key")?;
                let secret = Secret::new(pem.trim().to_owned());
                register(&secret);
                let key = der(&pem).and_then(|der| RsaKeyPair::from_pkcs8(&der).ok());
                Ok(Self::ServiceAccount {
                    email: field("client_email")?,
                    key_id: json["private_key_id"].as_str().unwrap_or_default().to_owned(),
                    key: key.map(Box::new).ok_or("have a `private_key` that is not an RSA key in PKCS #8")?,
                    token_uri,
                    _key: secret,
                })
            }
            "authorized_user" => {
                let (client_secret, refresh_token) = (field("client_secret")?, field("refresh_token")?);
                let client_id = field("client_id")?;
                let (client_secret, refresh_token) = (Secret::new(client_secret), Secret::new(refresh_token));
                register(&client_secret);
                register(&refresh_token);
                Ok(Self::User { client_id, client_secret, refresh_token, token_uri })
            }
            other => Err(format!(
                "are of the type `{}`: it must be service_account or authorized_user",
                other.chars().take(40).collect::<String>()
            )),
        }
    }

    /// The request for a token.
    fn request(&self, now: SystemTime) -> Result<Request<Bytes>> {
        let post = |uri: &str, form: String| request(Method::POST, uri, form.into());
        match self {
            Self::ServiceAccount { email, key_id, key, token_uri, .. } => {
                let jwt = jwt(email, key_id, key, token_uri, now)?;
                let grant = encoded("urn:ietf:params:oauth:grant-type:jwt-bearer");
                post(token_uri, format!("grant_type={grant}&assertion={jwt}"))
            }
            Self::User { client_id, client_secret, refresh_token, token_uri } => post(
                token_uri,
                format!(
                    "grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={}",
                    encoded(client_id),
                    encoded(client_secret.expose()),
                    encoded(refresh_token.expose())
                ),
            ),
            Self::Machine { url } => {
                let mut request = request(Method::GET, url, Bytes::new())?;
                request.headers_mut().insert("metadata-flavor", HeaderValue::from_static("Google"));
                Ok(request)
            }
        }
    }

    fn redacted(&self, text: &str) -> String {
        match self {
            Self::User { client_secret, refresh_token, .. } => {
                refresh_token.redact(&client_secret.redact(text)).into_owned()
            }
            Self::ServiceAccount { _key: key, .. } => key.redact(text).into_owned(),
            Self::Machine { .. } => text.to_owned(),
        }
    }

    /// Identifies the account.
    fn account(&self) -> &str {
        match self {
            Self::ServiceAccount { email, .. } => email,
            Self::User { client_id, .. } => client_id,
            Self::Machine { url } => url,
        }
    }
}

fn request(method: Method, uri: &str, body: Bytes) -> Result<Request<Bytes>> {
    let uri: Uri =
        uri.parse().map_err(|_| Error::new(ErrorKind::Config, format!("`{uri}` is not a valid URL")))?;
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(CONTENT_TYPE, form);
    Ok(request)
}

/// Returns true for a server of Google, or one on this machine.
fn is_google(uri: &str) -> bool {
    let Ok(uri) = uri.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default();
    match uri.scheme_str() {
        Some("https") => host == "accounts.google.com" || host.ends_with(".googleapis.com"),
        Some("http") => matches!(host, "localhost" | "127.0.0.1" | "[::1]"),
        _ => false,
    }
}

/// The bytes of the first block of PEM.
fn der(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN PRIVATE KEY-----")?;
    let (base64, _) = rest.split_once("-----END PRIVATE KEY-----")?;
    STANDARD.decode(base64.split_ascii_whitespace().collect::<String>()).ok()
}

/// A signed statement that a service account wants a token.
fn jwt(email: &str, key_id: &str, key: &RsaKeyPair, audience: &str, now: SystemTime) -> Result<String> {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": key_id });
    let claims = json!({
        "iss": email, "scope": SCOPE, "aud": audience, "iat": seconds, "exp": seconds + VALIDITY.as_secs(),
    });
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| failed("the private key cannot sign", ErrorKind::Authentication))?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    /// Made for these tests.
    const KEY: &str = include_str!("adc/test_key.pem");

    fn account() -> Value {
        json!({
            "type": "service_account", "project_id": "p", "private_key_id": "k1", "private_key": KEY,
            "client_email": "robot@p.iam.gserviceaccount.com", "token_uri": TOKEN_URI,
        })
    }

    #[test]
    fn the_statement_of_a_service_account_is_signed_with_its_key() {
        let key = RsaKeyPair::from_pkcs8(&der(KEY).unwrap()).unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let token = jwt("robot@p.iam.gserviceaccount.com", "k1", &key, TOKEN_URI, now).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public());
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let parts: Vec<Value> = signed
            .split('.')
            .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
            .collect();
        assert_eq!(parts[0], json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" }));
        assert_eq!(
            parts[1],
            json!({
                "iss": "robot@p.iam.gserviceaccount.com", "scope": SCOPE, "aud": TOKEN_URI,
                "iat": 1_800_000_000, "exp": 1_800_003_600,
            })
        );
    }

    #[test]
    fn credentials_are_sent_to_google_only() {
        for uri in [TOKEN_URI, "https://accounts.google.com/o/oauth2/token", "http://127.0.0.1:9/token"] {
            assert!(is_google(uri), "{uri}");
        }
        for uri in [
            "https://evil.example/token",
            "https://oauth2.googleapis.com.evil.example/token",
            "https://evilgoogleapis.com/token",
            "http://oauth2.googleapis.com/token",
            "ftp://x",
        ] {
            assert!(!is_google(uri), "{uri}");
            let mut account = account();
            account["token_uri"] = uri.into();
            let refused = Credentials::read(&account).err().unwrap();
            assert!(refused.contains("outside of Google") && !refused.contains("BEGIN"), "{refused}");
        }
    }

    #[test]
    fn an_unusable_file_says_what_is_wrong_without_its_secrets() {
        let says = |change: &dyn Fn(&mut Value)| {
            let mut account = account();
            change(&mut account);
            Credentials::read(&account).err().unwrap()
        };
        assert_eq!(says(&|json| json["client_email"] = Value::Null), "have no `client_email`");
        let key = says(&|json| {
            json["private_key"] = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----".into();
        });
        assert_eq!(key, "have a `private_key` that is not an RSA key in PKCS #8");
        let kind = says(&|json| json["type"] = "external_account".into());
        assert_eq!(kind, "are of the type `external_account`: it must be service_account or authorized_user");
        let user = json!({ "type": "authorized_user", "client_id": "c" });
        assert_eq!(Credentials::read(&user).err().unwrap(), "have no `client_secret`");
    }
}
