//! Completions, manual pages, and the examples of every help.

use std::path::Path;
use std::process::{Command, Stdio};

use fanweave_sim::Settings;

use crate::support::{Folder, Provider, prompts};

const COMMANDS: [&str; 12] = [
    "batch",
    "ask",
    "run",
    "index",
    "report",
    "logs",
    "models",
    "keys",
    "config",
    "completions",
    "man",
    "sim",
];

/// Returns true if the program is installed.
fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

#[test]
fn completions_load_in_the_shells_that_are_there_and_know_the_commands() {
    let folder = Folder::new();
    for (shell, file, ask) in [
        ("bash", "f.bash", "source ./f.bash && complete -p fanweave && grep -q report f.bash"),
        (
            "zsh",
            "f.zsh",
            "autoload -U compinit && compinit -D && source ./f.zsh && (( $+functions[_fanweave] )) && echo yes",
        ),
        ("fish", "f.fish", "source ./f.fish; complete -C 'fanweave rep'"),
    ] {
        folder.write(file, folder.run(&["completions", shell]).expect_code(0).stdout);
        if !has(shell) {
            println!("{shell} is not there");
            continue;
        }
        let told = Command::new(shell).args(["-c", ask]).current_dir(folder.path()).output().unwrap();
        let shown = String::from_utf8_lossy(&told.stdout);
        assert!(told.status.success() && !shown.trim().is_empty(), "{shell}: {told:?}");
    }
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let folder = Folder::new();
    folder.run(&["man", "man1/"]).expect_code(0);
    for command in COMMANDS {
        let page = folder.read(&format!("man1/fanweave-{command}.1"));
        assert!(page.contains(".SH NAME") && page.contains("EXIT STATUS"), "{command}");
    }
    assert!(folder.read("man1/fanweave.1").contains("fanweave"));
}

#[test]
fn models_are_listed_with_prices_and_found_by_a_part_of_their_name() {
    let folder = Folder::new();
    let all = folder.run(&["models"]).expect_code(0).stdout;
    assert!(
        all.contains("openai/gpt-5-mini") && all.contains("sim/writer") && all.contains("openrouter"),
        "{all}"
    );
    let some = folder.run(&["models", "GPT-5"]).expect_code(0).stdout;
    assert!(some.contains("openai/gpt-5-mini") && !some.contains("claude"), "{some}");
    let json = folder.run(&["models", "gpt-5-mini", "--json"]).expect_code(0).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["models"][0]["output"].as_f64() > Some(0.0), "{json}");
    let page = folder.run(&["models", "openai/gpt-5-mini"]).expect_code(0).stdout;
    assert!(
        page.contains("longest answer      128000 tokens") && page.contains("temperature         no"),
        "{page}"
    );
    let cheap = folder.run(&["models", "--provider", "anthropic", "--sort", "price"]).expect_code(0).stdout;
    let names: Vec<_> = cheap.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names[1..].iter().take(10).all(|name| name.starts_with("anthropic/")), "{cheap}");
    assert!(names[1].contains("haiku"), "{cheap}");
    let found = folder.run(&["models", "--search", "openai/gpt-5 reasoning image"]).expect_code(0).stdout;
    assert!(found.contains("openai/gpt-5-mini") && !found.contains("openai/gpt-4o"), "{found}");
    let alias = folder.run(&["models", "anthropic/small"]).expect_code(0).stdout;
    assert!(alias.starts_with("anthropic/claude-haiku-4-5\n"), "{alias}");
    let near = folder.run(&["models", "gpt-5-mni"]).expect_code(2).stderr;
    assert!(near.contains("did you mean") && near.contains("gpt-5-mini"), "{near}");
    let none = folder.run(&["models", "--provider", "antropic"]).expect_code(2);
    assert!(none.stderr.contains("did you mean anthropic?"), "{}", none.stderr);
    let none = folder.run(&["models", "openai/gtp-5-mini"]).expect_code(2);
    assert!(none.stderr.contains("did you mean openai/gpt-5-mini?"), "{}", none.stderr);
}

/// The commands under "Examples" of a help text, one per line.
fn examples(help: &str) -> Vec<String> {
    let joined = help.replace("\\\n", " ");
    joined
        .lines()
        .map(str::trim)
        .filter(|line| line.contains("fanweave ") && is_command(line))
        .map(str::to_owned)
        .collect()
}

fn is_command(line: &str) -> bool {
    ["fanweave ", "cat ", "git "].iter().any(|start| line.starts_with(start)) && !line.contains(" <")
}

#[test]
fn the_examples_of_every_help_do_what_they_say() {
    let provider = Provider::start(Settings::default());
    let folder = Folder::new();
    folder.write("questions.jsonl", prompts(5));
    let products = "product,audience,name,description\ntent,campers,Tent,Small\nlamp,readers,Lamp,Bright\n";
    folder.write("products.csv", products);
    folder.write("topics.txt", "tides\nrain\n");
    folder.write("translate.md", "Translate to {{ to }}: {{ input }}\n");
    folder.write("report.md", "# Tides\n\nThe tide turns every six hours.\n");
    folder.write("key.txt", "sk-test\n");
    folder.write("facts.csv", "fact\nTides follow the moon.\n");
    folder.write("chart.png", b"\x89PNG\r\n\x1a\n....");
    folder.write("texts.jsonl", "{\"text\": \"tides\"}\n{\"text\": \"rain\"}\n");
    folder.write("orders.csv", "text\nMy lamp is broken.\nWhere is my tent?\n");
    for (input, output) in [
        ("orders.csv", "orders.xlsx"),
        ("orders.csv", "answers.csv"),
        ("texts.jsonl", "small.jsonl"),
        ("texts.jsonl", "large.jsonl"),
    ] {
        let words = ["batch", input, "-o", output, "-m", "sim/echo", "-p", "{{ text }}", "--columns", "all"];
        folder.run(&words).expect_code(0);
    }
    std::fs::create_dir(folder.path().join("more")).unwrap();
    std::fs::copy(folder.file("orders.csv"), folder.path().join("more/orders.csv")).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (made, files) in
        [("docs", &["README.md"][..]), ("examples", &["examples/article.yaml", "examples/topics.txt"])]
    {
        std::fs::create_dir(folder.path().join(made)).unwrap();
        for file in files {
            let name = Path::new(file).file_name().unwrap();
            std::fs::copy(root.join(file), folder.path().join(made).join(name)).unwrap();
        }
    }
    // `git diff` fails outside of a repository: any text will do.
    std::fs::create_dir(folder.path().join("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_fanweave"), folder.path().join("bin/fanweave")).unwrap();
    std::os::unix::fs::symlink("/bin/echo", folder.path().join("bin/git")).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.path().join("bin").display());

    let mut run = 0;
    // `index` runs first: other examples use its store.
    for command in ["index"].into_iter().chain(COMMANDS) {
        let found = examples(&folder.run(&[command, "--help"]).expect_code(0).stdout);
        assert!(!found.is_empty(), "`fanweave {command} --help` has no example");
        for example in found {
            // A server runs until it is stopped.
            let line =
                if command == "sim" { format!("timeout 1 {example}; [ $? = 124 ]") } else { example.clone() };
            let told = Command::new("sh")
                .args(["-c", &line])
                .current_dir(folder.path())
                .env_clear()
                .envs([
                    ("PATH", &*path),
                    ("OPENAI_API_KEY", "sk-test"),
                    ("OPENAI_BASE_URL", &*provider.url()),
                ])
                .env("HOME", folder.path())
                .stdin(Stdio::null())
                .output()
                .unwrap();
            // Two examples may write one file.
            for name in ["answers.jsonl", "names.jsonl", "articles.jsonl"] {
                if command != "batch" && name != "answers.jsonl" {
                    let _ = std::fs::remove_file(folder.path().join(format!("{name}.journal")));
                    let _ = std::fs::remove_file(folder.path().join(name));
                }
            }
            assert!(told.status.success(), "{example}\n{}", String::from_utf8_lossy(&told.stderr));
            run += 1;
        }
    }
    assert!(run >= 18, "{run} examples");
}

#[test]
fn a_closed_pipe_is_not_an_error_and_prints_nothing() {
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(40));
    let program = env!("CARGO_BIN_EXE_fanweave");
    for line in [
        "models | head -1",
        "ask -m sim/writer 'Write an essay of 400 words about tides.' | head -c 5",
        "batch in.jsonl -o - -m sim/echo -q | head -1",
        "completions bash | head -1",
        "report out.jsonl | head -1",
    ] {
        if line.starts_with("report") {
            folder.run(&["batch", "in.jsonl", "-o", "out.jsonl", "-m", "sim/echo", "-q"]).expect_code(0);
        }
        let told = Command::new("bash")
            .args(["-c", &format!("set -o pipefail; {program} {line} >/dev/null; echo ${{PIPESTATUS[0]}}")])
            .current_dir(folder.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&told.stderr);
        assert!(!stderr.contains("panicked") && !stderr.contains("error"), "{line}: {stderr}");
    }
}

#[test]
fn colours_are_only_used_when_enabled() {
    let folder = Folder::new();
    let stderr = |env: &[(&str, &str)], words: &[&str]| {
        let mut command = folder.command(words);
        String::from_utf8_lossy(&command.envs(env.iter().copied()).output().unwrap().stderr).into_owned()
    };
    let wrong = ["ask", "-m", "sim/nobody", "hello"];
    assert!(!stderr(&[], &wrong).contains('\u{1b}'), "no terminal");
    assert!(stderr(&[], &[&wrong[..], &["--color", "always"]].concat()).contains('\u{1b}'));
    assert!(stderr(&[("FORCE_COLOR", "1")], &wrong).contains('\u{1b}'));
    assert!(!stderr(&[("FORCE_COLOR", "1"), ("NO_COLOR", "1")], &wrong).contains('\u{1b}'));
    assert!(!stderr(&[("FORCE_COLOR", "")], &wrong).contains('\u{1b}'));
    assert!(!stderr(&[("FORCE_COLOR", "0")], &wrong).contains('\u{1b}'));
    assert!(!stderr(&[("NO_COLOR", "1"), ("TERM", "xterm")], &wrong).contains('\u{1b}'));
    assert!(!stderr(&[], &[&wrong[..], &["--color", "never"]].concat()).contains('\u{1b}'));
}
