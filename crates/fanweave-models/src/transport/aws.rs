//! Credentials of AWS: of the environment, of the user's files, of a container, or of an EC2 instance.
//!
//! Source: the AWS SDKs and Tools Reference Guide, "Standardized credential providers".

use std::cell::LazyCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use fanweave_core::__private::PerProcess;
use fanweave_core::{Error, ErrorKind, Result};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::client::Client;
use super::exchange::Exchange;
use super::redact::register;
use super::secret::Secret;
use crate::variable::set;

/// Address of the instance metadata service.
const INSTANCE: &str = "http://169.254.169.254";

/// Address of the credentials of a container, if the environment names a path alone.
const CONTAINER: &str = "http://169.254.170.2";

/// Hosts that may answer for a container without TLS. Source: the AWS SDKs.
const CONTAINER_HOSTS: [&str; 6] =
    ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]", "localhost", "127.0.0.1", "[::1]"];

/// Maximum time of each request for credentials. The addresses are on the machine or in its network: without
/// an answer by then, there is no such service. Source: the AWS SDKs.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Credentials are renewed this long before their end, and at least once an hour.
const MARGIN: Duration = Duration::from_secs(300);
const MAX_AGE: Duration = Duration::from_secs(3600);

/// Minimum time between two renewals.
const MIN_AGE: Duration = Duration::from_secs(10);

/// The keys of an account.
pub(crate) struct Credentials {
    pub(crate) access_key: String,
    pub(crate) secret_key: Secret,
    pub(crate) session_token: Option<HeaderValue>,
    /// Keeps the token known as long as requests are signed with it.
    _token: Option<Secret>,
}

impl Credentials {
    pub(crate) fn new(access_key: String, secret_key: String, token: Option<String>) -> Result<Self> {
        let (secret_key, secret_token) = (Secret::new(secret_key), token.clone().map(Secret::new));
        register(&secret_key);
        secret_token.iter().for_each(register);
        let session_token = token.map(|token| {
            let mut value = HeaderValue::try_from(token).map_err(|_| {
                Error::new(ErrorKind::Authentication, "the AWS session token is not a valid header value")
            })?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        });
        Ok(Self { access_key, secret_key, session_token: session_token.transpose()?, _token: secret_token })
    }
}

/// Source of credentials.
pub(crate) enum Source {
    Fixed(Arc<Credentials>),
    Fetched(Box<Fetched>),
}

/// Credentials of a service, which expire.
pub(crate) struct Fetched {
    service: Service,
    client: Client,
    /// The time of the next renewal.
    renewal: PerProcess<Mutex<Option<Instant>>>,
    last: ArcSwapOption<Credentials>,
    /// Advice for a user without credentials.
    advice: String,
}

/// A service that has credentials.
enum Service {
    Container { url: String, token: Option<Token> },
    Instance { url: String },
}

/// The value of the `authorization` header of a container.
enum Token {
    Fixed(Secret),
    /// Read for each request: it changes.
    File(PathBuf),
}

impl Source {
    /// The credentials of the environment, of a profile of the user's files, or of the machine. The second
    /// value is the region that the profile names.
    ///
    /// # Errors
    /// [`ErrorKind::Authentication`] without any.
    pub(crate) fn from_env(
        env: &dyn Fn(&str) -> Option<String>,
        client: &Client,
    ) -> Result<(Self, Option<String>)> {
        let profile = set(env, "AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
        let home = set(env, "HOME").or_else(|| set(env, "USERPROFILE"));
        let file = |variable: &str, name: &str| {
            let path = set(env, variable).map(PathBuf::from);
            let path = path.or_else(|| Some(PathBuf::from(home.as_ref()?).join(".aws").join(name)))?;
            std::fs::read_to_string(path).ok()
        };
        // Read if the environment does not have all.
        let credentials =
            LazyCell::new(|| file("AWS_SHARED_CREDENTIALS_FILE", "credentials").unwrap_or_default());
        let config = LazyCell::new(|| file("AWS_CONFIG_FILE", "config").unwrap_or_default());
        let stored = |name: &str| {
            setting(&credentials, &profile, name)
                .or_else(|| setting(&config, &profile, name))
                .or_else(|| setting(&config, &format!("profile {profile}"), name))
        };
        let region =
            set(env, "AWS_REGION").or_else(|| set(env, "AWS_DEFAULT_REGION")).or_else(|| stored("region"));
        // All of one source: a key of the environment has no token of a file.
        let own = set(env, "AWS_ACCESS_KEY_ID").zip(set(env, "AWS_SECRET_ACCESS_KEY"));
        let own = own.map(|(access, secret)| (access, secret, set(env, "AWS_SESSION_TOKEN")));
        let keys = own.or_else(|| {
            let (access, secret) = stored("aws_access_key_id").zip(stored("aws_secret_access_key"))?;
            Some((access, secret, stored("aws_session_token")))
        });
        if let Some((access, secret, token)) = keys {
            return Ok((Self::Fixed(Arc::new(Credentials::new(access, secret, token)?)), region));
        }
        let no_credentials = |why: String| Error::new(ErrorKind::Authentication, why);
        // Known, and of other programs: the profile has to be exported.
        for (name, what) in [
            ("sso_session", "single sign-on"),
            ("sso_start_url", "single sign-on"),
            ("role_arn", "a role that is assumed"),
            ("credential_process", "a process for its credentials"),
            ("web_identity_token_file", "a web identity"),
        ] {
            if stored(name).is_some() {
                return Err(no_credentials(format!(
                    "the AWS profile `{profile}` uses {what} (`{name}`), which is not supported: export its keys with \
                     eval \"$(aws configure export-credentials --profile {profile} --format env)\", or set \
                     AWS_BEARER_TOKEN_BEDROCK"
                )));
            }
        }
        if set(env, "AWS_WEB_IDENTITY_TOKEN_FILE").is_some() {
            return Err(no_credentials(
                "a web identity (AWS_WEB_IDENTITY_TOKEN_FILE) is not supported: use EKS Pod Identity, set \
                 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or set AWS_BEARER_TOKEN_BEDROCK"
                    .to_owned(),
            ));
        }
        let advice = format!(
            "no AWS credentials: set AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or keys \
             of the profile `{profile}` in ~/.aws/credentials"
        );
        let Some(service) = Service::from_env(env)? else { return Err(no_credentials(advice)) };
        // A proxy has other credentials than this machine, or none.
        let client = match service.url().starts_with("https:") {
            true => client.clone(),
            false => Client::builder().no_proxy().build()?,
        };
        let (renewal, last) = (PerProcess::new(), ArcSwapOption::empty());
        let fetched = Fetched { service, client, renewal, last, advice };
        Ok((Self::Fetched(Box::new(fetched)), region))
    }

    /// Credentials for a request that is sent now. `None` before [`ready`](Self::ready).
    pub(crate) fn current(&self) -> Option<Arc<Credentials>> {
        match self {
            Self::Fixed(credentials) => Some(credentials.clone()),
            Self::Fetched(fetched) => fetched.last.load_full(),
        }
    }

    /// Renews credentials that are about to end.
    ///
    /// # Errors
    /// [`ErrorKind::Authentication`] if the service refuses them.
    pub(crate) async fn ready(&self) -> Result<()> {
        match self {
            Self::Fixed(_) => Ok(()),
            // Boxed: most models have no such credentials.
            Self::Fetched(fetched) => Box::pin(fetched.ready()).await,
        }
    }

    /// Identifies the account.
    pub(crate) fn fingerprint(&self) -> u64 {
        match self {
            Self::Fixed(credentials) => credentials.secret_key.fingerprint(),
            Self::Fetched(fetched) => Secret::new(fetched.service.url().to_owned()).fingerprint(),
        }
    }
}

impl Fetched {
    async fn ready(&self) -> Result<()> {
        // Held during a request: one renewal serves all calls.
        let renewal = self.renewal.get(Mutex::default);
        let mut renewal = renewal.lock().await;
        if renewal.is_some_and(|renewal| Instant::now() < renewal) {
            return Ok(());
        }
        let (credentials, validity) = self.service.fetch(&self.client).await.map_err(|why| {
            let message = format!("{}; {} gave no credentials: {why}", self.advice, self.service.name());
            Error::new(ErrorKind::Authentication, message)
        })?;
        let wait = validity.saturating_sub(MARGIN).clamp(MIN_AGE, MAX_AGE);
        self.last.store(Some(Arc::new(credentials)));
        *renewal = Some(Instant::now() + wait);
        Ok(())
    }
}

impl Service {
    /// The service of a container if the environment names one, or else that of an instance, unless
    /// `AWS_EC2_METADATA_DISABLED` is `true`.
    fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let relative =
            set(env, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").map(|path| format!("{CONTAINER}{path}"));
        if let Some(url) = relative.or_else(|| set(env, "AWS_CONTAINER_CREDENTIALS_FULL_URI")) {
            if !is_container(&url) {
                let message =
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or an address of this machine";
                return Err(Error::new(ErrorKind::Config, message));
            }
            let file =
                set(env, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(|path| Token::File(path.into()));
            let fixed = || {
                set(env, "AWS_CONTAINER_AUTHORIZATION_TOKEN").map(|token| Token::Fixed(Secret::new(token)))
            };
            return Ok(Some(Self::Container { url, token: file.or_else(fixed) }));
        }
        if set(env, "AWS_EC2_METADATA_DISABLED").is_some_and(|is| is.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let url = set(env, "AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|| INSTANCE.to_owned());
        Ok(Some(Self::Instance { url: url.trim_end_matches('/').to_owned() }))
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Container { .. } => "the container",
            Self::Instance { .. } => "this machine, asked as an EC2 instance,",
        }
    }

    fn url(&self) -> &str {
        match self {
            Self::Container { url, .. } | Self::Instance { url } => url,
        }
    }

    /// The current credentials, and the time until their end.
    async fn fetch(&self, client: &Client) -> std::result::Result<(Credentials, Duration), String> {
        let json = match self {
            Self::Container { url, token } => {
                let token = match token {
                    None => None,
                    Some(Token::Fixed(token)) => Some(token.clone()),
                    Some(Token::File(path)) => {
                        let text = std::fs::read_to_string(path);
                        let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
                        Some(Secret::new(text.trim().to_owned()))
                    }
                };
                token.iter().for_each(register);
                let header = token.as_ref().map(|token| token.header("")).transpose();
                let header = header.map_err(|error| error.message().to_owned())?;
                let headers = header.map(|header| (http::header::AUTHORIZATION, header));
                send(client, Method::GET, url, headers).await?
            }
            Self::Instance { url } => {
                const VALIDITY: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
                const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
                let validity = Some((VALIDITY, HeaderValue::from_static("21600")));
                let token = send(client, Method::PUT, &format!("{url}/latest/api/token"), validity).await?;
                let token =
                    HeaderValue::try_from(token.trim()).map_err(|_| "its token is not text".to_owned())?;
                let roles = format!("{url}/latest/meta-data/iam/security-credentials/");
                let header = || Some((TOKEN, token.clone()));
                let role = send(client, Method::GET, &roles, header()).await?;
                let role = role.lines().next().unwrap_or_default().trim().to_owned();
                if role.is_empty() {
                    return Err("the instance has no role".to_owned());
                }
                send(client, Method::GET, &format!("{roles}{}", super::percent::encoded(&role)), header())
                    .await?
            }
        };
        read(&json, SystemTime::now())
    }
}

/// Reads the answer of a service.
fn read(json: &str, now: SystemTime) -> std::result::Result<(Credentials, Duration), String> {
    let json: Value = serde_json::from_str(json).map_err(|_| "its answer is not JSON".to_owned())?;
    let field = |name: &str| {
        let value = json[name].as_str().filter(|value| !value.is_empty()).map(str::to_owned);
        value.ok_or_else(|| format!("its answer has no `{name}`"))
    };
    let token = json["Token"].as_str().map(str::to_owned);
    let credentials = Credentials::new(field("AccessKeyId")?, field("SecretAccessKey")?, token);
    let credentials = credentials.map_err(|error| error.message().to_owned())?;
    let end = json["Expiration"].as_str().and_then(|end| humantime::parse_rfc3339_weak(end).ok());
    let validity = end.map_or(MAX_AGE, |end| end.duration_since(now).unwrap_or_default());
    Ok((credentials, validity))
}

/// The body of the answer to a request with one more header.
async fn send(
    client: &Client,
    method: Method,
    url: &str,
    header: Option<(HeaderName, HeaderValue)>,
) -> std::result::Result<String, String> {
    let uri: Uri = url.parse().map_err(|_| format!("`{url}` is not a valid URL"))?;
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    request.headers_mut().extend(header);
    let connections = client.connections();
    let sent = async {
        let mut answer = Exchange::begin(&connections, request, client.timeouts(), None).await?;
        let status = answer.head.status;
        let body = answer.whole().await?;
        Ok::<_, Error>((status, String::from_utf8_lossy(&body).into_owned()))
    };
    match timeout(MAX_WAIT, sent).await {
        Err(_) => Err(format!("no answer within {MAX_WAIT:?}")),
        Ok(Err(error)) => Err(error.message().to_owned()),
        Ok(Ok((StatusCode::OK, body))) => Ok(body),
        Ok(Ok((status, _))) => Err(format!("status {}", status.as_u16())),
    }
}

/// Returns true for a URL that may have the credentials of a container: another server would get its token.
fn is_container(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => CONTAINER_HOSTS.contains(&uri.host().unwrap_or_default()),
        _ => false,
    }
}

/// A setting of an INI file: the value of `name` in `[section]`.
fn setting(text: &str, section: &str, name: &str) -> Option<String> {
    let mut is_there = false;
    for line in text.lines().map(str::trim) {
        if let Some(title) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            is_there = title.trim() == section;
        } else if is_there
            && let Some((key, value)) = line.split_once('=')
            && key.trim().eq_ignore_ascii_case(name)
        {
            return Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(env: &[(&str, &str)]) -> Result<(Source, Option<String>)> {
        let env =
            |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Source::from_env(&env, &Client::default())
    }

    #[test]
    fn credentials_are_of_the_environment_or_of_a_profile() {
        let folder = std::env::temp_dir().join(format!("fanweave-aws-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("credentials");
        let text = "[default]\naws_access_key_id = AKIDDEFAULT\naws_secret_access_key = s1\n\n[other]\n\
                    aws_access_key_id=AKIDOTHER\naws_secret_access_key=s2\naws_session_token = t2\nregion = eu-west-3\n\
                    [sso]\nsso_session = work\n[role]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = other\n";
        std::fs::write(&path, text).unwrap();
        let off = ("AWS_EC2_METADATA_DISABLED", "true");
        let read = |more: &[(&str, &str)]| {
            let file = [("AWS_SHARED_CREDENTIALS_FILE", path.to_str().unwrap()), off];
            from(&[&file[..], more].concat()).map(|(source, region)| {
                let credentials = source.current().unwrap();
                (credentials.access_key.clone(), region, credentials.session_token.is_some())
            })
        };
        let region = ("AWS_REGION", "us-east-1");
        assert_eq!(read(&[region]).unwrap(), ("AKIDDEFAULT".into(), Some("us-east-1".into()), false));
        let other = ("AWS_PROFILE", "other");
        assert_eq!(read(&[other]).unwrap(), ("AKIDOTHER".into(), Some("eu-west-3".into()), true));
        let own = [other, ("AWS_ACCESS_KEY_ID", "AKIDENV"), ("AWS_SECRET_ACCESS_KEY", "s3"), region];
        assert_eq!(read(&own).unwrap(), ("AKIDENV".into(), Some("us-east-1".into()), false));
        assert_eq!(read(&[]).unwrap().1, None);
        for (profile, says) in [
            ("none", "keys of the profile `none`"),
            ("sso", "uses single sign-on (`sso_session`), which is not supported: export its keys"),
            ("role", "uses a role that is assumed (`role_arn`)"),
        ] {
            let error = read(&[("AWS_PROFILE", profile), region]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication);
            assert!(error.message().contains(says), "{error}");
        }
        let web = read(&[("AWS_PROFILE", "none"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/x")]).unwrap_err();
        assert!(web.message().starts_with("a web identity"), "{web}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn only_addresses_of_the_machine_have_credentials_of_a_container() {
        for url in ["http://169.254.170.23/v1/credentials", "http://[fd00:ec2::23]/x", "https://x.example/y"]
        {
            assert!(is_container(url), "{url}");
            assert!(from(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)]).is_ok());
        }
        for url in ["http://x.example/y", "http://169.254.170.2.evil.example/", "ftp://localhost/", "x"] {
            let error = from(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)]).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
        }
    }

    #[test]
    fn credentials_without_an_end_are_renewed_hourly_and_others_before_it() {
        let now = SystemTime::UNIX_EPOCH;
        let json =
            r#"{"AccessKeyId":"A","SecretAccessKey":"s","Token":"t","Expiration":"1970-01-01T06:00:00Z"}"#;
        let (credentials, validity) = read(json, now).unwrap();
        assert_eq!((&*credentials.access_key, validity), ("A", Duration::from_secs(6 * 3600)));
        let (_, validity) = read(r#"{"AccessKeyId":"A","SecretAccessKey":"s"}"#, now).unwrap();
        assert_eq!(validity, MAX_AGE);
        assert_eq!(read("{}", now).err().unwrap(), "its answer has no `AccessKeyId`");
        assert_eq!(read("<html>", now).err().unwrap(), "its answer is not JSON");
    }
}
