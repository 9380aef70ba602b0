//! Files that the program trusts: which kinds of file it reads, and whose.
//!
//! Settings, keys and chains are regular files: a named pipe would block the program for ever. A project's
//! settings must belong to the user, since the program also finds them in parent folders. Keys and the
//! history must be readable only by the user.

use std::fs::Metadata;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

use fanweave::__private::open_regular;

use crate::exit::Failure;

/// Maximum bytes of a file of settings or keys.
const MAX_BYTES: u64 = 1 << 20;

/// Returns an error unless `path` is a regular file, or does not exist.
pub(crate) fn check_regular(path: &Path) -> std::result::Result<(), Failure> {
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            Err(Failure::usage(format!("{}: not a regular file", path.display())))
        }
        _ => Ok(()),
    }
}

/// Reads a small regular file as text.
///
/// # Errors
/// Also for other kinds of files, and for a file of more than 1 MiB.
pub(crate) fn read_small(path: &Path) -> Result<(String, Metadata)> {
    let (file, metadata) = open_regular(path)?;
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Error::new(ErrorKind::InvalidInput, format!("larger than {MAX_BYTES} bytes")));
    }
    Ok((text, metadata))
}

/// Returns why a project's settings are not trusted: another user can change them. `None` if they are.
///
/// As with git, a file of root is trusted, and for root also one of the user who called sudo.
#[cfg(unix)]
pub(crate) fn distrust(metadata: &Metadata) -> Option<(String, Option<&'static str>)> {
    use std::os::unix::fs::MetadataExt;
    let (owner, user) = (metadata.uid(), nix::unistd::geteuid().as_raw());
    let is_caller = || {
        let caller = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
        user == 0 && caller == Some(owner)
    };
    if owner != user && owner != 0 && !is_caller() {
        return Some((format!("the file belongs to another user ({owner})"), None));
    }
    match metadata.mode() & 0o022 {
        0 => None,
        0o020 => Some(("the file can be changed by its group".into(), Some("chmod g-w"))),
        _ => Some(("the file can be changed by every user".into(), Some("chmod go-w"))),
    }
}

/// Returns why the user's own settings are not trusted, and the command that repairs it. A group may be
/// allowed to write: on many systems, each user has a group of his own.
#[cfg(unix)]
pub(crate) fn distrust_own(metadata: &Metadata) -> Option<(String, &'static str)> {
    use std::os::unix::fs::MetadataExt;
    match distrust(metadata) {
        Some((why, None)) => Some((why, "chown $USER")),
        Some((why, _)) if metadata.mode() & 0o002 != 0 => Some((why, "chmod o-w")),
        _ => None,
    }
}

/// Ownership is not checked on this platform.
#[cfg(not(unix))]
pub(crate) fn distrust_own(_: &Metadata) -> Option<(String, &'static str)> {
    None
}

/// Ownership is not checked on this platform.
#[cfg(not(unix))]
pub(crate) fn distrust(_: &Metadata) -> Option<(String, Option<&'static str>)> {
    None
}

/// Returns an error if other users can read or own the private file at `path`. A link is followed: the file
/// that it leads to decides. A file that does not exist passes.
pub(crate) fn check_private(path: &Path) -> std::result::Result<(), Failure> {
    check_regular(path)?;
    match std::fs::metadata(path) {
        Ok(metadata) => check_private_file(path, &metadata),
        // A link to a file that does not exist would create it anywhere.
        Err(_) if path.is_symlink() => {
            Err(Failure::usage(format!("{}: the link leads to no file", path.display())))
        }
        Err(_) => Ok(()),
    }
}

/// Like [`check_private`], for an open file.
#[cfg(unix)]
pub(crate) fn check_private_file(path: &Path, metadata: &Metadata) -> std::result::Result<(), Failure> {
    use std::os::unix::fs::MetadataExt;
    let shown = path.display();
    let user = nix::unistd::geteuid().as_raw();
    if metadata.uid() != user && user != 0 {
        let owner = metadata.uid();
        return Err(Failure::usage(format!("{shown}: the file belongs to another user ({owner})")));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(Failure::usage(format!("{shown}: the file can be read by other users"))
            .with_hint(format!("restrict the permissions: chmod 600 {shown}")));
    }
    Ok(())
}

/// Permissions are not checked on this platform.
#[cfg(not(unix))]
pub(crate) fn check_private_file(_: &Path, _: &Metadata) -> std::result::Result<(), Failure> {
    Ok(())
}
