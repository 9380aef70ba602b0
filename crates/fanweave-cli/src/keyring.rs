//! The system keyring: Secret Service, Keychain or Credential Manager.

#[cfg(feature = "keyring")]
pub(crate) use system::{get, is_built, remove, set};

#[cfg(not(feature = "keyring"))]
pub(crate) use absent::{get, is_built, remove, set};

#[cfg(feature = "keyring")]
mod system {
    use keyring::{Entry, Error};

    use crate::exit::Failure;

    /// Service name of the entries; the user name is the provider.
    const SERVICE: &str = "fanweave";

    /// Returns an error if the program was built without keyring support.
    pub(crate) fn is_built(_provider: &str) -> Result<(), Failure> {
        Ok(())
    }

    /// Stores the key of a provider.
    pub(crate) fn set(provider: &str, key: &str) -> Result<(), Failure> {
        with(provider, |entry| entry.set_password(key)).map_err(|e| unusable(provider, &e))
    }

    /// Reads the key of a provider.
    pub(crate) fn get(provider: &str) -> Result<String, Failure> {
        with(provider, Entry::get_password).map_err(|e| unusable(provider, &e))
    }

    /// Deletes the key of a provider. A missing key is not an error.
    pub(crate) fn remove(provider: &str) -> Result<(), Failure> {
        match with(provider, Entry::delete_credential) {
            Err(Error::NoEntry) => Ok(()),
            done => done.map_err(|e| unusable(provider, &e)),
        }
    }

    /// Calls the keyring on a separate thread: its calls block, and some of them run an event loop.
    fn with<T: Send>(
        provider: &str,
        call: impl FnOnce(&Entry) -> keyring::Result<T> + Send,
    ) -> keyring::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                if let Err(Error::PlatformFailure(e) | Error::NoStorageAccess(e)) = Entry::store_status() {
                    return Err(Error::Invalid("keyring".to_owned(), e.to_string()));
                }
                call(&Entry::new(SERVICE, provider)?)
            });
            thread.join().unwrap_or(Err(Error::NoDefaultStore))
        })
    }

    /// The error for a failed call. Only names the kind of error, because some errors contain the key.
    fn unusable(provider: &str, error: &Error) -> Failure {
        let why = match error {
            Error::NoEntry => "not found".to_owned(),
            Error::NoStorageAccess(e) => format!("the keyring is locked: {e}"),
            Error::PlatformFailure(e) => format!("the keyring is not available: {e}"),
            Error::Invalid(_, e) => format!("the keyring is not available: {e}"),
            Error::NoDefaultStore => "this system has no supported keyring".to_owned(),
            _ => "the entry is not a key".to_owned(),
        };
        Failure::new(format!("cannot access the key for {provider} in the system keyring: {why}")).with_hint(
            format!("unlock the keyring, or store the key in a file: fanweave keys set {provider}"),
        )
    }
}

/// Stubs for builds without the feature `keyring`.
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
            "cannot access the key for {provider} in the system keyring: built without the feature `keyring`"
        ))
        .with_hint(format!(
            "build with --features keyring, or store the key in a file: fanweave keys set {provider}"
        ))
    }
}
