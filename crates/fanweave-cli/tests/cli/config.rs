//! Configuration files.

use fanweave_sim::Settings;

use crate::support::{Folder, Provider, Ran};

/// Runs with a separate home directory.
fn run(folder: &Folder, env: &[(&str, &str)], words: &[&str]) -> Ran {
    let mut command = folder.command(words);
    command.env("HOME", folder.path().join("home")).envs(env.iter().copied());
    Ran::of(command.output().expect("the program starts"))
}

fn with(project: &str, user: &str) -> Folder {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path().join("home/.config/fanweave")).expect("a folder");
    folder.write("fanweave.toml", project);
    folder.write("home/.config/fanweave/config.toml", user);
    folder
}

#[test]
fn flags_precede_the_environment_the_project_and_the_user_file() {
    let folder =
        with("model = 'sim/echo'\n", "model = 'sim/writer'\nmax-tokens = 2\noutage-timeout = '90s'\n");
    let stdout = |env: &[(&str, &str)], words: &[&str]| run(&folder, env, words).expect_code(0).stdout;
    let short = stdout(&[], &["ask", "one two three four five six seven eight"]);
    assert!(!short.contains("eight"), "cut after two tokens: {short}");
    let writer = stdout(&[("FANWEAVE_MODEL", "sim/writer")], &["ask", "Hello.", "--max-tokens", "40"]);
    assert!(!writer.contains("Hello."), "{writer}");
    let flag = stdout(
        &[("FANWEAVE_MODEL", "sim/writer")],
        &["ask", "Hello.", "-m", "sim/echo", "--max-tokens", "40"],
    );
    assert!(flag.contains("Hello."), "{flag}");
    let shown = stdout(&[("FANWEAVE_BASE_URL", "http://localhost:1/v1")], &["config", "show"]);
    assert!(
        shown.contains("base-url = \"http://localhost:1/v1\"    # the environment: FANWEAVE_BASE_URL"),
        "{shown}"
    );
    assert!(shown.contains("model = \"sim/echo\"") && shown.contains("fanweave.toml\n"), "{shown}");
    assert!(
        shown.contains("max-tokens = 2") && shown.contains("home/.config/fanweave/config.toml"),
        "{shown}"
    );
    let json: serde_json::Value = serde_json::from_str(&stdout(&[], &["config", "show", "--json"])).unwrap();
    assert_eq!((&json["max-tokens"]["value"], &json["outage-timeout"]["value"]), (&2.into(), &"90s".into()));
    assert_eq!(stdout(&[], &["config", "path"]).lines().count(), 2);
}

#[test]
fn an_alias_stands_for_a_model_also_among_several_and_in_chain_files() {
    let folder = with("", "[aliases]\nfast = 'sim/echo'\nslow = 'sim/writer'\n");
    let stdout = run(&folder, &[], &["ask", "-m", "fast", "Hello."]).expect_code(0).stdout;
    assert!(stdout.contains("Hello."), "{stdout}");
    folder.write("in.txt", "a\nb\nc\n");
    run(&folder, &[], &["batch", "in.txt", "-o", "out.jsonl", "-m", "fast=2,slow"]).expect_code(0);
    let models: Vec<_> = folder.rows("out.jsonl").iter().map(|row| row["model"].clone()).collect();
    assert!(models.contains(&"sim/echo".into()) && models.contains(&"sim/writer".into()), "{models:?}");
    folder.write("chain.yaml", "version: 1\nmodel: fast\nsteps:\n  a: { prompt: 'Hello there.' }\n");
    let stdout = run(&folder, &[], &["run", "chain.yaml"]).expect_code(0).stdout;
    assert!(stdout.contains("Hello there."), "{stdout}");
}

#[test]
fn a_name_that_only_contains_the_letters_of_key_is_accepted() {
    let aliases = "[aliases]\nhockey = 'sim/echo'\nmonkeys = 'llama' # no key\n'whiskey-2' = 'sim/echo'\nkeyboard = 'x'\n";
    for user in [aliases, "aliases = { hockey = 'sim/echo', turkey = 'llama', key = 'sim/echo' }\n"] {
        let stdout = run(&with("", user), &[], &["ask", "-m", "hockey", "Hello."]).expect_code(0).stdout;
        assert!(stdout.contains("Hello."), "{stdout}");
    }
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let folder = with("", "model = 'sim/echo'\n");
    let empty = [("FANWEAVE_MODEL", ""), ("FANWEAVE_BASE_URL", "")];
    let stdout = run(&folder, &empty, &["ask", "Hello."]).expect_code(0).stdout;
    assert!(stdout.contains("Hello."), "{stdout}");
    let none = run(&with("", ""), &empty, &["ask", "Hello."]).expect_code(2);
    assert!(none.stderr.contains("no model given"), "{}", none.stderr);
}

#[test]
fn limits_of_the_configuration_apply() {
    let provider = Provider::start(Settings::default());
    let folder =
        with("rpm = 60\nretries = 0\n", &format!("base-url = '{}'\nmodel = 'openai/echo'\n", provider.url()));
    folder.write("in.txt", "a\nb\nc\n");
    let began = std::time::Instant::now();
    run(&folder, &[], &["batch", "in.txt", "-o", "out.jsonl"]).expect_code(0);
    assert!(began.elapsed().as_millis() >= 1900, "three requests at one a second took {:?}", began.elapsed());
}

#[test]
fn errors_in_a_file_have_its_location_and_show_no_key() {
    for (project, user, wanted) in [
        ("", "rmp = 3\n", &["config.toml", "line 1", "did you mean `rpm`?"][..]),
        ("", "rpm = 0\n", &["config.toml", "line 1"]),
        ("temperature = 77.0\n", "", &["fanweave.toml", "`temperature` must be a number from 0 to 2"]),
        ("", "timeout = 'soon'\nmodel = 'sim/echo'\n", &["`timeout` must be a duration"]),
        ("outage-timeout = 'soon'\n", "", &["`outage-timeout` must be a duration"]),
        ("model = 'sim/echo\n", "", &["fanweave.toml", "line 1"]),
        ("base-url = 'http://elsewhere/v1'\n", "", &["`base-url` is not allowed in a project file"]),
        ("openai_api_key = 'sk-canary-1'\n", "", &["line 1: API keys are not allowed", "fanweave keys set"]),
        ("", "GROQ_API_KEY = 'gsk-canary-1'\n", &["line 1: API keys are not allowed"]),
        ("", "model = { apiKey = 'canary-1' }\n", &["line 1: API keys are not allowed"]),
        ("", "\nmodel = 'sk-canary-1'\n", &["line 2: API keys are not allowed"]),
        ("", "MYKEY = 'canary-1'\n", &["line 1: API keys are not allowed"]),
        ("", "OPENAI_API_KEY: canary-1\n", &["line 1: API keys are not allowed"]),
        ("", "model: sk-canary-1\n", &["line 1: API keys are not allowed"]),
        ("", "[api-keys]\ngroq = 'canary-1'\n", &["line 1: API keys are not allowed"]),
        ("", "[aliases]\nOPENAIKEY = 'canary-1'\n", &["line 2: API keys are not allowed"]),
        ("", "[aliases]\nkey2 = 'canary-1'\n", &["line 2: API keys are not allowed"]),
        ("", "aliases = { key = 'canary-1', a = 'sim/echo' }\n", &["line 1: API keys are not allowed"]),
        ("", "aliases = { a = 'sim/echo', key = 'canary/1' }\n", &["line 1: API keys are not allowed"]),
    ] {
        let ran = run(&with(project, user), &[], &["ask", "Hello."]).expect_code(2);
        for text in wanted {
            assert!(ran.stderr.contains(text), "{text} is not in: {}", ran.stderr);
        }
        assert!(!ran.stderr.contains("canary"), "{}", ran.stderr);
    }
}

#[test]
fn the_path_of_a_cache_is_relative_to_its_file() {
    let folder = with("model = 'sim/echo'\ncache = 'answers.db'\n", "");
    std::fs::create_dir(folder.file("below")).expect("a folder");
    let mut command = folder.command(&["ask", "Hello."]);
    command.env("HOME", folder.path().join("home")).current_dir(folder.file("below"));
    Ran::of(command.output().expect("the program starts")).expect_code(0);
    assert!(folder.file("answers.db").exists() && !folder.file("below/answers.db").exists());
}
