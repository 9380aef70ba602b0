//! The keyring of the system: the Secret Service, Keychain or Credential Manager.

#[cfg(feature = "keyring")]
pub(crate) use system::{get, is_built, remove, set};

#[cfg(not(feature = "keyring"))]
pub(crate) use absent::{get, is_built, remove, set};

#[cfg(feature = "keyring")]
mod system {
    use keyring::{Entry, Error};

    use crate::exit::Failure;

    /// What a key is kept under, beside the name of its provider.
    const SERVICE: &str = "fanweave";

    /// Whether this program knows keyrings at all.
    pub(crate) fn is_built(_provider: &str) -> Result<(), Failure> {
        Ok(())
    }

    /// Puts the key of a provider into the keyring.
    pub(crate) fn set(provider: &str, key: &str) -> Result<(), Failure> {
        with(provider, |entry| entry.set_password(key)).map_err(|e| unusable(provider, &e))
    }

    /// The key of a provider.
    pub(crate) fn get(provider: &str) -> Result<String, Failure> {
        with(provider, Entry::get_password).map_err(|e| unusable(provider, &e))
    }

    /// Takes the key of a provider out. One that somebody else has taken out is gone too.
    pub(crate) fn remove(provider: &str) -> Result<(), Failure> {
        match with(provider, Entry::delete_credential) {
            Err(Error::NoEntry) => Ok(()),
            done => done.map_err(|e| unusable(provider, &e)),
        }
    }

    /// Asks the keyring on a thread of its own: its calls block, and some of them run a loop of events.
    fn with<T: Send>(
        provider: &str,
        ask: impl FnOnce(&Entry) -> keyring::Result<T> + Send,
    ) -> keyring::Result<T> {
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| {
                if let Err(Error::PlatformFailure(e) | Error::NoStorageAccess(e)) = Entry::store_status() {
                    return Err(Error::Invalid("keyring".to_owned(), e.to_string()));
                }
                ask(&Entry::new(SERVICE, provider)?)
            });
            asked.join().unwrap_or(Err(Error::NoDefaultStore))
        })
    }

    /// Of what the keyring says only the kind: some of its errors hold what was kept.
    fn unusable(provider: &str, error: &Error) -> Failure {
        let why = match error {
            Error::NoEntry => "it has none".to_owned(),
            Error::NoStorageAccess(e) => format!("it is locked: {e}"),
            Error::PlatformFailure(e) => format!("it cannot be used: {e}"),
            Error::Invalid(_, e) => format!("it cannot be used: {e}"),
            Error::NoDefaultStore => "this system has none that is known".to_owned(),
            _ => "it holds something else".to_owned(),
        };
        Failure::new(format!("the key of {provider} in the keyring of the system: {why}"))
            .with_hint(format!("unlock it, or keep the key in a file: fanweave keys set {provider}"))
    }
}

/// Where the program was built without it.
#[cfg(not(feature = "keyring"))]
mod absent {
    use crate::exit::Failure;

    pub(crate) fn is_built(provider: &str) -> Result<(), Failure> {
        Err(absent(provider))
    }

    pub(crate) fn set(provider: &str, _key: &str) -> Result<(), Failure> {
        Err(absent(provider))
    }

    pub(crate) fn get(provider: &str) -> Result<String, Failure> {
        Err(absent(provider))
    }

    pub(crate) fn remove(provider: &str) -> Result<(), Failure> {
        Err(absent(provider))
    }

    fn absent(provider: &str) -> Failure {
        Failure::usage(format!(
            "the key of {provider} in the keyring of the system: this program was built without the feature `keyring`"
        ))
        .with_hint(format!(
            "build it with --features keyring, or keep the key in a file: fanweave keys set {provider}"
        ))
    }
}
