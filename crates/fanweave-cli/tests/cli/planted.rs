//! Files that someone else planted: settings of projects, keys, histories, pipes and links.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use fanweave_sim::Settings;
use nix::sys::stat::Mode;
use nix::unistd::{Uid, chown, geteuid, mkfifo};

use crate::support::{Folder, Provider, Ran};

/// Longer than any of these commands takes; a program that reads a pipe would never end.
const PATIENCE: Duration = Duration::from_secs(20);

fn home(folder: &Folder) -> Folder {
    let home = Folder::new();
    std::fs::create_dir_all(home.file(".config/fanweave")).unwrap();
    std::fs::create_dir_all(home.file(".local/state/fanweave")).unwrap();
    std::fs::create_dir_all(folder.file("below/deep")).unwrap();
    home
}

fn run_in(at: &Path, home: &Folder, env: &[(&str, &str)], words: &[&str]) -> Ran {
    let mut command = home.command(words);
    command.current_dir(at).env("HOME", home.path()).envs(env.iter().copied());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{words:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ran::of(child.wait_with_output().unwrap())
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A stranger's `fanweave.toml`: its text, the way it is planted, and a part of the refusal.
struct Plant {
    text: &'static str,
    how: fn(&Folder),
    says: &'static str,
}

const ALIASES: &str = "must contain neither `/` nor `,`";
const CACHE: &str = "`cache` must be inside the folder of the project";

fn plants() -> Vec<Plant> {
    let plain = |text, says| Plant { text, how: |_| {}, says };
    let moded = |how, says| Plant { text: "model = 'sim/echo'\n", how, says };
    let mut all = vec![
        plain("[aliases]\n'openai/m' = 'groq/other'\n", ALIASES),
        plain("[aliases]\n'a,b' = 'groq/other'\n", ALIASES),
        plain("[aliases]\n'' = 'groq/other'\n", ALIASES),
        plain("[aliases]\nopenai = 'groq/other'\n", ALIASES),
        plain("[aliases]\nsim = 'groq/other'\n", ALIASES),
        plain("aliases = { 'sim/echo' = 'groq/other' }\n", ALIASES),
        plain("[aliases]\na = ''\n", "must be a model"),
        plain("base-url = 'http://evil.example'\n", "`base-url` is not allowed in a project file"),
        plain("trusted-projects = ['*']\n", "`trusted-projects` is not allowed in a project file"),
        plain("cache = '../evil.db'\n", CACHE),
        plain("cache = 'below/../../evil.db'\n", CACHE),
        plain("cache = '/tmp/evil.db'\n", CACHE),
        plain("cache = './../x/evil.db'\n", CACHE),
        plain("api-key = 'abc'\n", "API keys are not allowed"),
        plain("model = 'sk-canary-1234'\n", "API keys are not allowed"),
        plain("headers = ['x: y']\n", "unknown field"),
        plain("prices = 'evil.toml'\n", "unknown field"),
        plain("model = \u{1}\n", "fanweave.toml"),
        plain("temperature = 1e9\n", "`temperature`"),
        moded(|folder| mode(&folder.file("fanweave.toml"), 0o666), "can be changed by every user"),
        moded(|folder| mode(&folder.file("fanweave.toml"), 0o664), "can be changed by its group"),
        moded(|folder| mode(&folder.file("fanweave.toml"), 0o602), "can be changed by every user"),
        moded(
            |folder| {
                std::fs::remove_file(folder.file("fanweave.toml")).unwrap();
                mkfifo(&folder.file("fanweave.toml"), Mode::S_IRWXU).unwrap();
            },
            "not a regular file",
        ),
        moded(
            |folder| {
                std::fs::remove_file(folder.file("fanweave.toml")).unwrap();
                symlink("/dev/zero", folder.file("fanweave.toml")).unwrap();
            },
            "not a regular file",
        ),
        moded(|folder| folder.write("fanweave.toml", b"model = '\xff\xfe'\n"), "cannot read the settings"),
        moded(
            |folder| folder.write("fanweave.toml", "# long\n".repeat(200_000)),
            "larger than 1048576 bytes",
        ),
        moded(
            |folder| {
                // A link to a file of the stranger.
                std::fs::rename(folder.file("fanweave.toml"), folder.file("other.toml")).unwrap();
                mode(&folder.file("other.toml"), 0o666);
                symlink(folder.file("other.toml"), folder.file("fanweave.toml")).unwrap();
            },
            "can be changed by every user",
        ),
        Plant {
            text: "cache = 'link.db'\n",
            how: |folder| symlink("/tmp/evil.db", folder.file("link.db")).unwrap(),
            says: CACHE,
        },
        Plant {
            text: "cache = 'out/answers.db'\n",
            how: |folder| symlink("/tmp", folder.file("out")).unwrap(),
            says: CACHE,
        },
    ];
    // Only root can give a file to another user.
    if geteuid().is_root() {
        all.push(moded(
            |folder| chown(&folder.file("fanweave.toml"), Some(Uid::from_raw(65_534)), None).unwrap(),
            "belongs to another user (65534)",
        ));
    }
    all
}

#[test]
fn a_planted_config_is_refused_wherever_it_is_found() {
    let provider = Provider::start(Settings::default());
    let url = provider.url();
    for Plant { text, how, says } in plants() {
        let folder = Folder::new();
        let home = home(&folder);
        folder.write("fanweave.toml", text);
        how(&folder);
        for at in ["", "below/deep"] {
            let words = ["ask", "-m", "openai/m", "--base-url", &url, "hi"];
            let env = [("OPENAI_API_KEY", "sk-openai-canary"), ("GROQ_API_KEY", "gsk-groq-canary")];
            let ran = run_in(&folder.file(at), &home, &env, &words);
            assert_eq!(ran.code, 2, "{text:?}: {} {}", ran.stdout, ran.stderr);
            assert!(ran.stderr.contains(says), "{text:?}: {}", ran.stderr);
            assert!(!ran.stderr.contains("canary"), "{}", ran.stderr);
        }
    }
    assert_eq!(provider.stats().requests, 0, "no request was sent");
}

#[test]
fn a_project_neither_moves_a_key_nor_replaces_a_choice_of_the_user() {
    let provider = Provider::start(Settings::default());
    let url = provider.url();
    let keys = [("OPENAI_API_KEY", "sk-openai-canary"), ("GROQ_API_KEY", "gsk-groq-canary")];
    for (project, words) in [
        ("model = 'groq/other'\n", &["ask", "hi", "--base-url", &url][..]),
        ("[aliases]\nm = 'groq/other'\n", &["ask", "hi", "-m", "m", "--base-url", &url]),
        ("[aliases]\nm = 'groq/other'\n", &["batch", "in.txt", "-o", "-", "-m", "m", "--base-url", &url]),
        (
            "[aliases]\nm = 'groq/other'\n",
            &["batch", "in.txt", "-o", "-", "-m", "openai/a", "--fallback-model", "m", "--base-url", &url],
        ),
        (
            "model = 'groq/other'\n",
            &["batch", "in.txt", "-o", "o.jsonl", "--via", "batch-api", "--base-url", &url],
        ),
        ("[aliases]\nm = 'groq/other'\n", &["run", "chain.yaml", "--base-url", &url]),
    ] {
        let folder = Folder::new();
        let home = home(&folder);
        folder.write("in.txt", "hi\n");
        folder.write("chain.yaml", "version: 1\nmodel: m\nsteps:\n  a: { prompt: 'Hello' }\n");
        folder.write("fanweave.toml", project);
        let ran = run_in(folder.path(), &home, &keys, words).expect_code(2);
        assert!(ran.stderr.contains("the project selects groq/other"), "{words:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("unless you name the model yourself, as groq/other"), "{}", ran.stderr);
    }
    assert_eq!(provider.stats().requests, 0, "no request was sent");

    // The user's own alias, and a full name, are what they were.
    let folder = Folder::new();
    let home = home(&folder);
    home.write(".config/fanweave/config.toml", "log = false\n[aliases]\nm = 'sim/echo'\n");
    folder.write("fanweave.toml", "log = true\n[aliases]\nm = 'sim/writer'\n");
    let ran = run_in(folder.path(), &home, &[], &["ask", "-m", "m", "Hello."]).expect_code(0);
    assert!(ran.stdout.contains("Hello.") && ran.stderr.is_empty(), "{} {}", ran.stdout, ran.stderr);
    assert!(!home.file(".local/state/fanweave/logs.db").exists(), "the user disabled the history");
}

#[test]
fn what_a_project_selects_is_said_once_and_what_it_may_set_is_used() {
    let folder = Folder::new();
    let home = home(&folder);
    folder.write("fanweave.toml", "model = 'sim/echo'\ncache = 'below/answers.db'\nmax-tokens = 50\n");
    folder.write("in.txt", "a\n");
    let ran = run_in(&folder.file("below"), &home, &[], &["ask", "Hello."]).expect_code(0);
    let real = folder.path().canonicalize().unwrap();
    let (file, cache) = (real.join("fanweave.toml"), real.join("below/answers.db"));
    let note = format!("note: model sim/echo, cache {} from {}\n", cache.display(), file.display());
    assert_eq!(ran.stderr, note);
    let words = ["batch", "in.txt", "-o", "out.jsonl", "--quiet"];
    assert_eq!(run_in(folder.path(), &home, &[], &words).expect_code(0).stderr, "");
    // Nothing to say about a choice of the user.
    let words = ["ask", "Hello.", "-m", "sim/echo", "--cache", "own.db"];
    assert_eq!(run_in(folder.path(), &home, &[], &words).expect_code(0).stderr, "");
}

#[test]
fn a_project_is_trusted_if_the_user_says_so() {
    let folder = Folder::new();
    let home = home(&folder);
    folder.write("fanweave.toml", "model = 'sim/echo'\n");
    mode(&folder.file("fanweave.toml"), 0o666);
    let real = folder.path().canonicalize().unwrap().display().to_string();
    let ask = |env: &[(&str, &str)]| run_in(folder.path(), &home, env, &["ask", "Hello."]);
    let refused = ask(&[]).expect_code(2).stderr;
    assert!(refused.contains(&format!("FANWEAVE_TRUSTED_PROJECTS={real}")), "{refused}");
    ask(&[("FANWEAVE_TRUSTED_PROJECTS", "/elsewhere")]).expect_code(2);
    ask(&[("FANWEAVE_TRUSTED_PROJECTS", &format!("/elsewhere:{real}"))]).expect_code(0);
    home.write(".config/fanweave/config.toml", format!("trusted-projects = ['{real}']\n"));
    ask(&[]).expect_code(0);
    home.write(".config/fanweave/config.toml", "trusted-projects = ['*']\n");
    ask(&[]).expect_code(0);
}

#[test]
fn settings_of_the_user_that_others_can_change_are_refused() {
    let folder = Folder::new();
    let home = home(&folder);
    home.write(".config/fanweave/config.toml", "model = 'sim/echo'\n");
    let config = home.file(".config/fanweave/config.toml");
    let ask = || run_in(folder.path(), &home, &[], &["ask", "Hello."]);
    // A group of one's own is usual.
    mode(&config, 0o664);
    ask().expect_code(0);
    mode(&config, 0o666);
    let refused = ask().expect_code(2).stderr;
    assert!(refused.contains("can be changed by every user") && refused.contains("chmod o-w"), "{refused}");
}

#[test]
fn files_of_flags_that_never_end_are_refused() {
    let folder = Folder::new();
    let home = home(&folder);
    folder.write("in.jsonl", "{\"prompt\": \"Hello.\"}\n");
    for flag in ["-p", "-s", "--header"] {
        let words = ["batch", "in.jsonl", "-o", "out.jsonl", "-m", "sim/echo", flag, "@/dev/zero"];
        let ran = run_in(folder.path(), &home, &[], &words).expect_code(2);
        assert!(ran.stderr.contains("larger than 64 MiB"), "{}", ran.stderr);
    }
}

#[test]
fn pipes_and_devices_as_keys_chains_and_settings_are_refused_at_once() {
    let folder = Folder::new();
    let home = home(&folder);
    mkfifo(&folder.file("pipe.yaml"), Mode::S_IRWXU).unwrap();
    for chain in ["pipe.yaml", "/dev/zero", "/dev/null"] {
        let ran = run_in(folder.path(), &home, &[], &["run", chain, "-m", "sim/echo"]).expect_code(2);
        assert!(ran.stderr.contains("not a regular file"), "{}", ran.stderr);
    }
    for name in ["config.toml", "keys.json"] {
        let path = home.file(".config/fanweave").join(name);
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let words = if name == "keys.json" { ["keys", "list"] } else { ["config", "show"] };
        let ran = run_in(folder.path(), &home, &[], &words).expect_code(2);
        assert!(ran.stderr.contains("not a regular file"), "{}", ran.stderr);
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_history_that_others_can_read_is_neither_written_nor_read() {
    let folder = Folder::new();
    let home = home(&folder);
    let (log, elsewhere) = (home.file(".local/state/fanweave/logs.db"), home.file("elsewhere.db"));
    let ask = |words: &[&str]| run_in(folder.path(), &home, &[], words);
    ask(&["ask", "-m", "sim/echo", "one"]).expect_code(0);
    mode(&log, 0o644);
    for words in
        [&["ask", "-m", "sim/echo", "two"][..], &["logs"], &["logs", "show"], &["logs", "forget", "--all"]]
    {
        let ran = ask(words).expect_code(2);
        assert!(ran.stderr.contains("can be read by other users"), "{}", ran.stderr);
        assert!(ran.stderr.contains("chmod 600"), "{}", ran.stderr);
    }
    ask(&["ask", "-m", "sim/echo", "--no-log", "three"]).expect_code(0);
    // A link to a private file of the user is used, as it is for keys. A link to nowhere is not.
    mode(&log, 0o600);
    std::fs::rename(&log, &elsewhere).unwrap();
    symlink(&elsewhere, &log).unwrap();
    ask(&["ask", "-m", "sim/echo", "four"]).expect_code(0);
    assert_eq!(ask(&["logs"]).expect_code(0).stdout.lines().count(), 2);
    mode(&elsewhere, 0o640);
    ask(&["logs"]).expect_code(2);
    std::fs::remove_file(&elsewhere).unwrap();
    let ran = ask(&["ask", "-m", "sim/echo", "five"]).expect_code(2);
    assert!(ran.stderr.contains("leads to no file") && !elsewhere.exists(), "{}", ran.stderr);
}

#[test]
fn an_index_of_a_folder_follows_no_link_out_of_it() {
    let folder = Folder::new();
    let home = home(&folder);
    std::fs::create_dir(folder.file("docs")).unwrap();
    folder.write("docs/a.md", "Tides turn at six.");
    folder.write("secret.txt", "The canary is hidden here.");
    symlink(folder.file("secret.txt"), folder.file("docs/b.txt")).unwrap();
    let words = ["index", "docs", "--store", "notes.db"];
    let ran = run_in(folder.path(), &home, &[], &words).expect_code(0);
    assert!(
        ran.stderr.contains("note: skipped 1 link out of the folder, such as docs/b.txt"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("of 1 file in"), "{}", ran.stderr);
    let bytes = std::fs::read(folder.file("notes.db")).unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("canary"));
    let ran = run_in(folder.path(), &home, &[], &[&words[..], &["--follow"]].concat()).expect_code(0);
    assert!(ran.stderr.contains("of 2 files in"), "{}", ran.stderr);
}
