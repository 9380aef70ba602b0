//! Connections to servers: addresses, users and encryption.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::context::ContextBuilder;
use async_nats::{ConnectOptions, Event, ServerAddr, ServerError};

use super::{ANSWER_WAIT, Nats, with_cause};
use crate::error::{Error, ErrorKind, Result};

/// Maximum number of refusals that are kept.
const MAX_DENIALS: usize = 256;

/// Way in which a broker is accessed.
///
/// ```
/// use fanweave::workers::Access;
///
/// let access = Access::new().creds("worker.creds").ca("ca.pem");
/// assert!(!access.plaintext);
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Access {
    /// File with credentials: a JWT and an nkey. Default: none, or the user and the password in the URL.
    pub creds: Option<PathBuf>,
    /// File with the seed of an nkey. Default: none.
    pub nkey: Option<PathBuf>,
    /// File with the certificates of the broker's authority. Default: those of the system.
    pub ca: Option<PathBuf>,
    /// Files with the certificate of this client and with its key, for brokers that require one. Default:
    /// none.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Allows connections without encryption to other machines. Default: false.
    pub plaintext: bool,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { creds, nkey, ca, certificate, plaintext } = self;
        let mut access = f.debug_struct("Access");
        access.field("creds", creds).field("nkey", nkey).field("ca", ca).field("certificate", certificate);
        access.field("plaintext", plaintext).finish()
    }
}

impl Access {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the file with the credentials.
    #[must_use]
    pub fn creds(self, path: impl Into<PathBuf>) -> Self {
        Self { creds: Some(path.into()), ..self }
    }

    /// Sets the file with the certificates of the broker's authority.
    #[must_use]
    pub fn ca(self, path: impl Into<PathBuf>) -> Self {
        Self { ca: Some(path.into()), ..self }
    }

    /// Sets the file with the seed of an nkey.
    #[must_use]
    pub fn nkey(self, path: impl Into<PathBuf>) -> Self {
        Self { nkey: Some(path.into()), ..self }
    }

    /// Sets the files with the certificate of this client and with its key.
    #[must_use]
    pub fn certificate(self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { certificate: Some((certificate.into(), key.into())), ..self }
    }

    /// Allows connections without encryption to other machines.
    #[must_use]
    pub fn plaintext(self, allow: bool) -> Self {
        Self { plaintext: allow, ..self }
    }

    /// Checks the URLs of servers, separated by commas, without a connection.
    ///
    /// # Errors
    /// [`Usage`](ErrorKind::Usage) if a URL is not valid, or the connection to another machine would not be
    /// encrypted.
    pub fn check(&self, urls: &str) -> Result<()> {
        self.addresses(urls).map(|_| ())
    }

    /// The servers in `urls`.
    fn addresses(&self, urls: &str) -> Result<Vec<ServerAddr>> {
        let parse = |url: &str| url.trim().parse::<ServerAddr>();
        let urls: Vec<_> = urls
            .split(',')
            .map(parse)
            .collect::<Result<_, _>>()
            .map_err(|_| usage("not a valid URL of a broker; use nats://HOST:PORT"))?;
        let is_plain = |url: &&ServerAddr| !url.tls_required() && !is_this_machine(url.host());
        match urls.iter().find(is_plain).filter(|_| !self.plaintext) {
            None => Ok(urls),
            Some(url) => Err(usage(format!(
                "the connection to {} would not be encrypted, and prompts and answers pass through it; use \
                 tls://, or allow it with `plaintext` in a network that you trust",
                url.host()
            ))),
        }
    }
}

fn usage(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, message)
}

/// Refusals of the server that no operation has returned yet, in the order in which they arrived: a server
/// that does not permit an operation says so separately, and the operation gets no answer.
#[derive(Clone, Default)]
pub(super) struct Denials(Arc<Mutex<VecDeque<String>>>);

impl Denials {
    fn add(&self, why: String) {
        let mut all = self.lock();
        if all.contains(&why) {
            return;
        }
        if all.len() == MAX_DENIALS {
            all.pop_front();
        }
        all.push_back(why);
    }

    /// Takes the refusal of `subject`, or of one that begins with it if it ends with a dot, or of answers.
    pub(super) fn take(&self, subject: &str) -> Option<String> {
        // The server writes the subject in quotes.
        let named = match subject.ends_with('.') {
            true => format!("\"{subject}"),
            false => format!("\"{subject}\""),
        };
        let mut all = self.lock();
        let at = all.iter().position(|why| why.contains(&named) || why.contains("\"_INBOX."))?;
        all.remove(at)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Nats {
    /// Connects to one of the servers in `urls`, separated by commas. Names of streams and subjects begin
    /// with `space`.
    ///
    /// # Errors
    /// [`Usage`](ErrorKind::Usage) if a URL is not valid, the credentials cannot be read, or the connection
    /// to another machine would not be encrypted; [`Denied`](ErrorKind::Denied) if the user is not known;
    /// [`Broker`](ErrorKind::Broker) if no server is reached.
    pub async fn connect(urls: &str, space: &str, access: &Access) -> Result<Self> {
        let urls = access.addresses(urls)?;
        let denials = Denials::default();
        let noted = denials.clone();
        let mut options = ConnectOptions::new()
            .max_reconnects(None)
            .ping_interval(Duration::from_secs(5))
            .connection_timeout(ANSWER_WAIT)
            .request_timeout(Some(ANSWER_WAIT))
            .reconnect_delay_callback(|attempts| {
                Duration::from_millis((100 * attempts as u64).clamp(100, 2_000))
            })
            .event_callback(move |event| {
                if let Event::ServerError(ServerError::Other(why)) = event
                    && why.to_ascii_lowercase().contains("permissions violation")
                {
                    noted.add(why);
                }
                std::future::ready(())
            });
        // The client reads no user from URLs by itself.
        let user = urls.iter().find_map(|url| url.username().zip(url.password()));
        if let Some((user, password)) = user {
            // Each user gets answers of its own: `broker config` permits no others.
            options = options
                .user_and_password(user.to_owned(), password.to_owned())
                .custom_inbox_prefix(format!("_INBOX.{user}"));
        }
        if let Some(path) = &access.creds {
            let read = options.credentials_file(path).await;
            options =
                read.map_err(|e| usage(format!("{}: cannot read the credentials: {e}", path.display())))?;
        }
        if let Some(path) = &access.nkey {
            let read = std::fs::read_to_string(path);
            let seed = read.map_err(|e| usage(format!("{}: cannot read the nkey: {e}", path.display())))?;
            options = options.nkey(seed.trim().to_owned());
        }
        if let Some(path) = &access.ca {
            options = options.add_root_certificates(path.clone());
        }
        if let Some((certificate, key)) = &access.certificate {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        // Without the user and the password.
        let named: Vec<_> = urls.iter().map(|url| format!("{}:{}", url.host(), url.port())).collect();
        let client = options.connect(urls).await.map_err(|e| {
            let why = with_cause(&e);
            let (kind, advice) = match &why {
                _ if why.contains("authorization violation") => (ErrorKind::Denied, ""),
                _ if why.contains("Connection refused") => {
                    (ErrorKind::Broker, "; is nats-server running there?")
                }
                _ => (ErrorKind::Broker, ""),
            };
            Error::new(kind, format!("cannot connect to the broker at {}: {why}{advice}", named.join(",")))
        })?;
        let js = ContextBuilder::new()
            .timeout(ANSWER_WAIT)
            .ack_timeout(ANSWER_WAIT)
            .backpressure_on_inflight(true)
            .build(client.clone());
        Ok(Self { client, js, space: space.to_owned(), denials, trouble: Arc::default() })
    }
}

/// Returns true if a connection to `host` does not leave this machine.
fn is_this_machine(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_returned_by_the_operation_on_its_subject() {
        let denials = Denials::default();
        denials.add("Permissions Violation for Publish to \"fw.res.rows-1.10\"".to_owned());
        denials.add("Permissions Violation for Publish to \"$JS.API.CONSUMER.CREATE.x\"".to_owned());
        assert_eq!(denials.take("fw.res.rows-1.1"), None);
        assert!(denials.take("$JS.API.CONSUMER.").is_some());
        assert!(denials.take("fw.res.rows-1.10").is_some_and(|why| why.contains("rows-1.10")));
        assert_eq!(denials.take("fw.res.rows-1.10"), None, "it was taken");
    }

    #[tokio::test]
    async fn other_machines_are_not_reached_without_encryption() {
        for url in ["nats://10.0.0.1:4222", "nats://127.0.0.1:1,nats://broker.example"] {
            let refused = Nats::connect(url, "fw", &Access::new()).await;
            let error = refused.err().expect("it is refused");
            assert_eq!(error.kind(), ErrorKind::Usage);
            assert!(error.message().contains("with `plaintext`"), "{error}");
        }
        assert!(is_this_machine("[::1]") && is_this_machine("localhost") && !is_this_machine("a.localhost"));
    }
}
