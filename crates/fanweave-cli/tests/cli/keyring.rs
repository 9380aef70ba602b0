//! Keys in the system keyring: a Secret Service in a separate session.

use std::process::{Command, Stdio};

use fanweave_sim::Settings;

use crate::support::{Folder, Provider};

const KEY: &str = "sk-canary-5e1f0a77c3";

#[test]
fn a_key_is_stored_in_the_keyring_used_and_deleted_and_never_in_the_file() {
    if Command::new("gnome-keyring-daemon").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("there is no keyring here");
        return;
    }
    let provider = Provider::start(Settings { api_key: Some(KEY.to_owned()), ..Settings::default() });
    let folder = Folder::new();
    // The keyring uses other folders of the home directory.
    let script = format!(
        "echo -n password | gnome-keyring-daemon --unlock --components=secrets >/dev/null || exit 70
         set -ex
         echo {KEY} | $FANWEAVE keys set openai --keyring
         $FANWEAVE keys list
         grep -q '\"in\": \"keyring\"' $XDG_CONFIG_HOME/fanweave/keys.json
         ! grep -r canary $XDG_CONFIG_HOME
         $FANWEAVE ask --model openai/echo hello
         $FANWEAVE keys remove openai
         $FANWEAVE keys list
         ! $FANWEAVE ask --model openai/echo hello
         echo {KEY} | $FANWEAVE keys set openai --keyring
         echo {KEY} | $FANWEAVE keys set openai
         $FANWEAVE keys list"
    );
    folder.write("script.sh", script);
    let home = folder.path().join("home");
    std::fs::create_dir(&home).expect("a folder");
    let ran = Command::new("dbus-run-session")
        .args(["--", "bash", "script.sh"])
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", &home)
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("XDG_RUNTIME_DIR", &home)
        .env("FANWEAVE", env!("CARGO_BIN_EXE_fanweave"))
        // The provider's own URL: a stored key is sent to no other.
        .env("OPENAI_BASE_URL", provider.url())
        .stdin(Stdio::null())
        .output()
        .expect("a session starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("openai: keyring\n") && stdout.contains("hello"), "{stdout}\n{stderr}");
    assert!(stdout.contains("no keys\n") && stdout.ends_with("openai: file\n"), "{stdout}\n{stderr}");
    // Without the commands that the shell prints.
    let shown: String = stderr.lines().filter(|line| !line.starts_with('+')).collect();
    assert!(!stdout.contains(KEY) && !shown.contains(KEY), "{stdout}\n{stderr}");
}

#[test]
fn an_unavailable_keyring_is_an_error_with_a_hint() {
    let folder = Folder::new();
    folder.write("key.txt", KEY);
    let mut command = folder.command(&["keys", "set", "openai", "--keyring"]);
    command.env("HOME", folder.path()).env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere");
    command.stdin(std::fs::File::open(folder.file("key.txt")).expect("it was written"));
    let ran = command.output().expect("the program starts");
    let shown = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{shown}");
    assert!(shown.contains("in the system keyring") && shown.contains("keys set openai"), "{shown}");
    assert!(!shown.contains(KEY) && !folder.file(".config/fanweave/keys.json").exists(), "{shown}");
}
