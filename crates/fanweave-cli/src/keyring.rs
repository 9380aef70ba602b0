//! The keyring of the system: the Secret Service, Keychain or Credential Manager.

use crate::exit::Failure;

/// What a key is kept under, beside the name of its provider.
#[cfg(feature = "keyring")]
const SERVICE: &str = "fanweave";

/// Puts the key of a provider into the keyring.
pub(crate) fn set(provider: &str, key: &str) -> Result<(), Failure> {
    #[cfg(feature = "keyring")]
    return with(provider, |entry| entry.set_password(key)).map_err(|e| unusable(provider, &e));
    #[cfg(not(feature = "keyring"))]
    let _ = key;
    #[cfg(not(feature = "keyring"))]
    Err(absent(provider))
}

/// The key of a provider.
pub(crate) fn get(provider: &str) -> Result<String, Failure> {
    #[cfg(feature = "keyring")]
    return with(provider, keyring::Entry::get_password).map_err(|e| unusable(provider, &e));
    #[cfg(not(feature = "keyring"))]
    Err(absent(provider))
}

/// Takes the key of a provider out. One that somebody else has taken out is gone too.
pub(crate) fn remove(provider: &str) -> Result<(), Failure> {
    #[cfg(feature = "keyring")]
    return match with(provider, keyring::Entry::delete_credential) {
        Err(keyring::Error::NoEntry) => Ok(()),
        done => done.map_err(|e| unusable(provider, &e)),
    };
    #[cfg(not(feature = "keyring"))]
    Err(absent(provider))
}

/// Asks the keyring on a thread of its own: its calls block, and some of them run a loop of events.
#[cfg(feature = "keyring")]
fn with<T: Send>(
    provider: &str,
    ask: impl FnOnce(&keyring::Entry) -> keyring::Result<T> + Send,
) -> keyring::Result<T> {
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            if let Err(keyring::Error::PlatformFailure(e) | keyring::Error::NoStorageAccess(e)) =
                keyring::Entry::store_status()
            {
                return Err(keyring::Error::Invalid("keyring".to_owned(), e.to_string()));
            }
            ask(&keyring::Entry::new(SERVICE, provider)?)
        });
        asked.join().unwrap_or(Err(keyring::Error::NoDefaultStore))
    })
}

/// Of what the keyring says only the kind: some of its errors hold what was kept.
#[cfg(feature = "keyring")]
fn unusable(provider: &str, error: &keyring::Error) -> Failure {
    let why = match error {
        keyring::Error::NoEntry => "it has none".to_owned(),
        keyring::Error::NoStorageAccess(e) => format!("it is locked: {e}"),
        keyring::Error::PlatformFailure(e) => format!("it cannot be used: {e}"),
        keyring::Error::Invalid(_, e) => format!("it cannot be used: {e}"),
        keyring::Error::NoDefaultStore => "this system has none that is known".to_owned(),
        _ => "it holds something else".to_owned(),
    };
    Failure::new(format!("the key of {provider} in the keyring of the system: {why}"))
        .with_hint(format!("unlock it, or keep the key in a file: fanweave keys set {provider}"))
}

#[cfg(not(feature = "keyring"))]
fn absent(provider: &str) -> Failure {
    Failure::usage(format!(
        "the key of {provider} in the keyring of the system: this program was built without the feature `keyring`"
    ))
    .with_hint(format!("build it with --features keyring, or keep the key in a file: fanweave keys set {provider}"))
}
