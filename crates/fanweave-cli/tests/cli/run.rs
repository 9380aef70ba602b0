//! `fanweave run`: chain files.

use std::time::Duration;

use fanweave_sim::{Latency, Settings};

use crate::support::{Folder, Provider, Ran, echo_of, wait_for};

const CHAIN: &str = "
inputs: { topic: tides, tone: null }
limits: { concurrency: 8 }
steps:
  outline: { prompt: \"{{ tone }}\\n{{ topic }}\", output: lines }
  section: { for_each: steps.outline.output, prompt: 'about {{ item }}' }
  all: { template: \"{{ steps.section.output | join('\\\\n') }}\" }
";

/// Output of the chain for a topic and a tone if every answer is an echo.
fn made(topic: &str, tone: &str) -> String {
    let outline = echo_of(&format!("{tone}\n{topic}"));
    let sections = outline.lines().map(|title| echo_of(&format!("about {title}")));
    sections.collect::<Vec<_>>().join("\n")
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("chain.yaml", CHAIN);
    folder
}

#[test]
fn a_chain_is_run_and_its_text_printed() {
    let (folder, provider) = (folder(), Provider::start(Settings::default()));
    let url = provider.url();
    let run = ["run", "chain.yaml", "--model", "openai/echo", "--base-url", &url, "--set", "tone=dry"];
    let ran = folder.run(&run).expect_code(0);
    assert_eq!(ran.stdout, made("tides", "dry") + "\n");
    let ran = folder.run(&[&run[..], &["--set", "topic=wind", "--json"]].concat()).expect_code(0);
    assert_eq!(serde_json::from_str::<String>(&ran.stdout).unwrap(), made("wind", "dry"));
    assert_eq!(provider.stats().requests, 2 * 3);
}

#[test]
fn every_row_is_a_run_and_finished_rows_are_not_rerun() {
    let (folder, provider) = (folder(), Provider::start(Settings::default()));
    folder.write("rows.csv", "topic,note\nwind,a\nrain,b\nsnow,c\n");
    let url = provider.url();
    let run = [
        "run",
        "chain.yaml",
        "--model",
        "openai/echo",
        "--base-url",
        &url,
        "--set",
        "tone=dry",
        "--rows",
        "rows.csv",
        "-o",
        "out.jsonl",
    ];
    folder.run(&run).expect_code(0);
    let rows = folder.rows("out.jsonl");
    let answers: Vec<_> = rows.iter().map(|row| row["answer"].as_str().unwrap().to_owned()).collect();
    assert_eq!(answers, ["wind", "rain", "snow"].map(|topic| made(topic, "dry")));
    let calls = provider.stats().requests;
    folder.run(&run).expect_code(0);
    assert_eq!(provider.stats().requests, calls);
    folder.write("chain.yaml", CHAIN.replace("about", "on"));
    let ran = folder.run(&run).expect_code(2);
    assert!(
        ran.stderr.contains("step section: messages") && ran.stderr.contains("on {{ item }}"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_dry_run_simulates_the_chain_without_a_key_or_calls() {
    let (folder, provider) = (folder(), Provider::start(Settings::default()));
    let url = provider.url();
    folder.write("rows.csv", "topic,tone\ntides,dry\nwind,warm\n");
    let dry = |more: &[&str]| {
        let run = ["run", "chain.yaml", "--model", "openai/gpt-5-mini", "--dry-run"];
        folder.run(&[&run[..], more].concat())
    };
    let one = dry(&["--set", "tone=Three lines, please.", "--base-url", &url]).expect_code(0);
    let rows =
        dry(&["--rows", "rows.csv", "-o", "out.jsonl", "--rpm", "10", "--max-tokens", "50"]).expect_code(0);
    insta::assert_snapshot!("dry_run", format!("{}\n{}", one.stdout, rows.stdout));

    // More rows than are simulated; without the tone, no row can run.
    let many: String = (0..300).map(|n| format!("tide {n}\n")).collect();
    folder.write("rows.csv", format!("topic\n{many}"));
    let ran = dry(&["--rows", "rows.csv", "--set", "tone=dry"]).expect_code(0);
    assert!(ran.stdout.contains("estimated from the first 100 rows"), "{}", ran.stdout);
    let ran = dry(&["--rows", "rows.csv"]).expect_code(2);
    assert!(ran.stdout.contains("invalid rows: 300, the first: line 2: "), "{}", ran.stdout);
    assert!(!ran.stdout.contains("calls:"), "{}", ran.stdout);

    // Incomplete runs are reported.
    folder.write("chain.yaml", "steps: { a: { prompt: Rate the tides., output: json } }");
    let ran = dry(&[]).expect_code(0);
    assert!(ran.stdout.contains("incomplete run: "), "{}", ran.stdout);
    assert_eq!(provider.stats().requests, 0);
    assert!(!folder.file("out.jsonl").exists() && !folder.file("out.jsonl.journal").exists());
}

#[test]
fn answers_of_a_different_chain_or_parameters_are_not_reused() {
    let folder = Folder::new();
    folder.write(
        "chain.yaml",
        "model: sim/echo\ninputs: { topic: tides }\nsteps:\n  a: { prompt: { file: ask.txt } }\n",
    );
    folder.write("ask.txt", "Praise {{ topic }}.");
    folder.write("rows.csv", "topic\nwind\nrain\n");
    let run = ["run", "chain.yaml", "--rows", "rows.csv", "-o", "out.jsonl"];
    folder.run(&run).expect_code(0);
    folder.run(&run).expect_code(0);
    folder.write("ask.txt", "Blame {{ topic }}.");
    let ran = folder.run(&run).expect_code(2);
    assert!(ran.stderr.contains("step a: messages") && ran.stderr.contains("Blame"), "{}", ran.stderr);
    folder.run(&[&run[..], &["--fresh"]].concat()).expect_code(0);
    let ran = folder.run(&[&run[..], &["--max-tokens", "1"]].concat()).expect_code(2);
    assert!(ran.stderr.contains("max tokens"), "{}", ran.stderr);
}

#[test]
fn cells_of_a_table_are_parsed_by_the_type_of_the_input() {
    let folder = Folder::new();
    folder.write(
        "chain.yaml",
        "model: sim/echo\ninputs: { n: 3, list: [a], flag: true, word: x }\nsteps:\n  \
         a: { for_each: list, template: \"{{ item }}{{ n + 1 }}{% if flag %}!{% endif %}{{ word }}\" }\n",
    );
    folder.write("rows.csv", "n,list,flag,word\n5,\"[\"\"x\"\",\"\"y\"\"]\",false,7\nmany,[],true,x\n");
    folder.run(&["run", "chain.yaml", "--rows", "rows.csv", "-o", "out.jsonl"]).expect_code(3);
    let rows = folder.rows("out.jsonl");
    assert_eq!(rows[0]["answer"], serde_json::json!(["x67", "y67"]), "{}", rows[0]);
    assert_eq!(rows[1]["error"]["message"], "the input `n` must be a number, got `many`", "{}", rows[1]);
    folder.write("rows.jsonl", "{\"n\": 5, \"list\": [\"x\"], \"word\": \"7\"}\n");
    folder.run(&["run", "chain.yaml", "--rows", "rows.jsonl", "-o", "of-json.jsonl"]).expect_code(0);
    assert_eq!(folder.rows("of-json.jsonl")[0]["answer"], serde_json::json!(["x6!7"]));
}

#[test]
fn an_article_for_each_of_a_hundred_topics_survives_a_kill_and_repeats_no_finished_one() {
    let latency = Latency::LogNormal { median: Duration::from_millis(15), sigma: 0.4 };
    let provider = Provider::start(Settings { latency, ..Settings::default() });
    let folder = Folder::new();
    let article =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/article.yaml"));
    folder.write("article.yaml", article.expect("the example is there"));
    folder.write("topics.txt", (0..100).map(|n| format!("topic number {n}\n")).collect::<String>());
    let url = provider.url();
    let run =
        ["run", "article.yaml", "--model", "openai/sim/writer", "--base-url", &url, "--rows", "topics.txt"];
    let run = [&run[..], &["-o", "out.jsonl", "-c", "8", "-q"]].concat();

    let mut child = folder.command(&run).spawn().expect("the program starts");
    wait_for(|| {
        assert!(child.try_wait().expect("it can be waited for").is_none(), "it ended before it was killed");
        provider.stats().requests >= 200
    });
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    folder.run(&run).expect_code(0);
    let rows = folder.rows("out.jsonl");
    assert_eq!(rows.len(), 100);
    let mut calls = 0;
    for row in &rows {
        let sections = row["answer"].as_str().expect("an article").trim().split("\n\n").count();
        // An introduction and a section per title: one call for each of them, and one for the titles.
        assert!(sections >= 4, "{row}");
        calls += sections as u64 + 1;
    }
    let requests = provider.stats().requests;
    let repeated = requests - calls;
    assert!(
        repeated <= 8 * 9,
        "{requests} calls for articles that take {calls}: what 8 rows had in flight is repeated"
    );
    folder.run(&run).expect_code(0);
    assert_eq!(provider.stats().requests, requests);
}

#[test]
fn a_budget_covers_all_calls_of_all_rows_and_of_earlier_runs() {
    let (folder, provider) = (Folder::new(), Provider::start(Settings::default()));
    // A token costs a cent, in or out; `echo` uses a few per call, and each row makes two calls.
    folder.write("prices.toml", "date = '2026-01-01'\n[models.'openai/echo']\ninput = 1e4\noutput = 1e4\n");
    let steps = "steps:\n  a: { prompt: 'one {{ topic }}' }\n  b: { prompt: '{{ steps.a.output }}' }\n";
    folder.write("chain.yaml", format!("inputs: {{ topic: tides }}\nlimits: {{ budget_usd: 15 }}\n{steps}"));
    folder.write("topics.txt", (0..40).map(|n| format!("topic {n}\n")).collect::<String>());
    let url = provider.url();
    let model = ["--model", "openai/echo", "--base-url", &url, "--max-tokens", "8"];
    let unknown = folder.run(&[&["run", "chain.yaml"], &model[..]].concat()).expect_code(2);
    assert!(unknown.stderr.contains("the price of openai/echo, which is unknown"), "{}", unknown.stderr);

    let prices = [&model[..], &["--prices", "prices.toml"]].concat();
    let one = [&["run", "chain.yaml", "--budget-usd", "0.2"], &prices[..]].concat();
    let refused = folder.run(&one).expect_code(1);
    assert!(refused.stderr.contains("the budget of $0.2000 allows no further call"), "{}", refused.stderr);
    let calls = provider.stats().requests;
    assert_eq!(calls, 1, "the first call can be paid, and the second cannot");

    let rows = [&["run", "chain.yaml", "--rows", "topics.txt", "-o", "out.jsonl"], &prices[..]].concat();
    let stopped = folder.run(&rows).expect_code(5);
    assert!(
        stopped.stderr.contains("The next row needs a budget of $")
            && stopped.stderr.contains("; resume with: fanweave"),
        "{}",
        stopped.stderr
    );
    let spent = || folder.rows("out.jsonl").iter().map(|row| row["cost_usd"].as_f64().unwrap()).sum::<f64>();
    let first = spent();
    assert!(first > 1.0 && first <= 15.0, "{first}");
    // With the same budget, no further call is possible.
    folder.run(&rows).expect_code(5);
    assert!(spent() - first < 0.5, "{} after {first}", spent());
    folder.run(&[&rows[..], &["--budget-usd", "100"]].concat()).expect_code(0);
    assert_eq!(folder.rows("out.jsonl").len(), 40);
    assert_eq!(provider.stats().requests, calls + 80);
}

#[test]
fn a_file_is_checked_and_drawn_without_a_model() {
    let folder = folder();
    insta::assert_snapshot!("run_check", folder.run(&["run", "chain.yaml", "--check"]).expect_code(0).stderr);
    insta::assert_snapshot!("run_graph", folder.run(&["run", "chain.yaml", "--graph"]).expect_code(0).stdout);
    let mermaid = folder.run(&["run", "chain.yaml", "--graph", "mermaid"]).expect_code(0).stdout;
    insta::assert_snapshot!("run_graph_mermaid", mermaid);
}

#[test]
fn errors_are_reported_before_any_call() {
    let (folder, provider) = (folder(), Provider::start(Settings::default()));
    folder.write("wrong.yaml", CHAIN.replace("{{ topic }}", "{{ topc }}").replace("for_each", "for_eech"));
    folder.write("no-model.yaml", "steps: { a: { prompt: x, model: opnai/x } }");
    let url = provider.url();
    let model = ["--model", "openai/echo", "--base-url", &url];
    let says = |args: &[&str], code| {
        let ran = folder.run(&[&["run"], args].concat()).expect_code(code);
        format!("$ fanweave run {}\n{}", args.join(" ").replace(&url, "URL"), ran.stderr)
    };
    let said = [
        says(&["wrong.yaml"], 2),
        says(&["nowhere.yaml"], 2),
        says(&["no-model.yaml"], 2),
        says(&["chain.yaml", "--set", "tone=dry"], 2),
        says(&[&["chain.yaml"], &model[..]].concat(), 2),
        says(&[&["chain.yaml", "--set", "tone"], &model[..]].concat(), 2),
        says(&[&["chain.yaml", "--set", "ton=dry"], &model[..]].concat(), 2),
        says(&["chain.yaml", "--set", "tone=dry", "--model", "opnai/x"], 2),
        says(&["chain.yaml", "--rows", "rows.csv"], 2),
    ];
    assert_eq!(provider.stats().requests, 0);
    insta::assert_snapshot!("run_wrong", said.join("\n"));
}

#[test]
fn answers_are_cached_with_a_cache() {
    let (folder, provider) = (folder(), Provider::start(Settings::default()));
    let url = provider.url();
    let ask = ["ask", "hello", "--model", "openai/echo", "--base-url", &url, "--cache", "answers.db"];
    let first = folder.run(&ask).expect_code(0).stdout;
    assert_eq!(folder.run(&ask).expect_code(0).stdout, first);
    assert_eq!(provider.stats().requests, 1);
    folder.write("letter.db", "this is a letter");
    let wrong = [&ask[..7], &["letter.db"]].concat();
    let ran = folder.run(&wrong).expect_code(2);
    assert!(ran.stderr.contains("letter.db is not a database"), "{}", ran.stderr);
}

#[test]
fn a_fallback_model_answers_for_the_steps_without_one() {
    let models = vec!["echo".to_owned()];
    let (folder, provider) = (folder(), Provider::start(Settings { models, ..Settings::default() }));
    let url = provider.url();
    let run = ["run", "chain.yaml", "--set", "tone=dry", "--model", "openai/none", "--base-url", &url];
    folder.run(&run).expect_code(1);
    let ran = folder.run(&[&run[..], &["--fallback-model", "openai/echo"]].concat()).expect_code(0);
    assert_eq!(ran.stdout, format!("{}\n", made("tides", "dry")));
}

#[test]
fn the_calls_of_a_single_run_are_limited_too() {
    let latency = Latency::Fixed(Duration::from_millis(30));
    let (folder, provider) = (Folder::new(), Provider::start(Settings { latency, ..Settings::default() }));
    folder.write(
        "wide.yaml",
        "inputs: { l: [a, b, c, d] }\nsteps: { a: { for_each: l, prompt: '{{ item }}' } }\n",
    );
    let url = provider.url();
    let run = ["run", "wide.yaml", "--model", "openai/echo", "--base-url", &url];
    folder.run(&[&run[..], &["-c", "1"]].concat()).expect_code(0);
    assert_eq!(provider.stats().peak_in_flight, 1);
    folder.run(&[&run[..], &["-c", "1", "--json"]].concat()).expect_code(0);
    assert_eq!(provider.stats().peak_in_flight, 1);
    folder.run(&run).expect_code(0);
    assert!(provider.stats().peak_in_flight > 1);
}

#[test]
fn missing_inputs_are_named() {
    let folder = Folder::new();
    folder.write(
        "chain.yaml",
        "inputs: { topic: null, tone: null }\nsteps: { a: { prompt: '{{ topic }}{{ tone }}' } }\n",
    );
    let ran = folder.run(&["run", "chain.yaml", "-m", "sim/echo"]).expect_code(2);
    assert!(ran.stderr.ends_with("\n  add --set topic=.. --set tone=..\n"), "{}", ran.stderr);
    let ran = folder.run(&["run", "chain.yaml", "--check"]).expect_code(0);
    assert_eq!(ran.stderr, "chain.yaml is valid; required: --set topic=.. --set tone=..\n");
}

#[test]
fn byte_order_marks_of_files_are_removed() {
    let folder = Folder::new();
    folder.write("topic.txt", "\u{feff}tides");
    folder.write("ask.txt", "\u{feff}Praise {{ topic }}.");
    folder.write("chain.yaml", "inputs: { topic: null }\nsteps: { a: { prompt: { file: ask.txt } } }\n");
    let run = ["run", "chain.yaml", "-m", "sim/echo", "--set", "topic=@topic.txt"];
    assert_eq!(folder.run(&run).expect_code(0).stdout, echo_of("Praise tides.") + "\n");
    folder.write("rows.txt", "tides\n");
    let batch = ["batch", "rows.txt", "-o", "out.jsonl", "-m", "sim/echo", "-p", "@row.txt"];
    folder.write("row.txt", "\u{feff}Praise {{ input }}.");
    folder.run(&batch).expect_code(0);
    assert_eq!(folder.rows("out.jsonl")[0]["answer"], echo_of("Praise tides."));
}

#[test]
fn a_doubled_at_sign_is_a_literal_one() {
    let folder = Folder::new();
    folder.write("chain.yaml", "inputs: { who: null }\nsteps: { a: { prompt: 'Greet {{ who }}.' } }\n");
    let ran = folder.run(&["run", "chain.yaml", "-m", "sim/echo", "--set", "who=@@ada"]).expect_code(0);
    assert_eq!(ran.stdout, echo_of("Greet @ada.") + "\n");
    folder.write("in.txt", "tides\n");
    let words = ["batch", "in.txt", "-o", "out.jsonl", "-m", "sim/echo", "-p", "@@{{ input }}", "-s", "@@x"];
    folder.run(&words).expect_code(0);
    assert_eq!(folder.rows("out.jsonl")[0]["answer"], echo_of("@tides"));
    let missing = folder.run(&["ask", "-m", "sim/echo", "-s", "@x", "hi"]).expect_code(2);
    assert!(missing.stderr.contains("--system: cannot read x"), "{}", missing.stderr);
    folder.run(&["ask", "-m", "sim/echo", "-s", "@@x", "hi"]).expect_code(0);
}

#[test]
fn progress_flags_have_an_effect_or_are_rejected() {
    let folder = folder();
    let check = ["run", "chain.yaml", "--check"];
    assert!(folder.run(&check).expect_code(0).stderr.contains("chain.yaml is valid"));
    let quiet = folder.run(&[&check[..], &["-q"]].concat()).expect_code(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    folder.write("wrong.yaml", "steps: {}\n");
    let wrong = folder.run(&["run", "wrong.yaml", "--check", "-q"]).expect_code(2);
    assert!(wrong.stderr.contains("wrong.yaml:1:"), "{}", wrong.stderr);

    let run = ["run", "chain.yaml", "-m", "sim/echo", "--set", "tone=dry", "--show-progress", "counter"];
    let alone = folder.run(&run).expect_code(2);
    assert!(alone.stderr.contains("--rows"), "{}", alone.stderr);
    folder.write("rows.csv", "topic\nwind\n");
    folder.run(&[&run[..], &["--rows", "rows.csv", "-o", "out.jsonl"]].concat()).expect_code(0);
}

#[test]
fn the_commands_of_the_guide_do_what_they_say() {
    let guide = include_str!("../../../../docs/chain-files.md");
    let block = |language: &str| guide.split_once(language).and_then(|(_, rest)| rest.split_once("```"));
    let (Some((chain, _)), Some((commands, _))) = (block("```yaml\n"), block("```sh\n")) else {
        panic!("the guide begins with a chain and its commands")
    };
    let folder = Folder::new();
    folder.write("article.yaml", chain);
    folder.write("topics.csv", "topic\nwind\n");
    let program = format!("{} run", env!("CARGO_BIN_EXE_fanweave"));
    let said = commands.lines().map(|line| {
        let mut shell = std::process::Command::new("sh");
        shell.current_dir(folder.path()).env_clear().env("FANWEAVE_MODEL", "sim/echo");
        let ran = shell.args(["-c", &line.replace("fanweave run", &program)]).output();
        Ran::of(ran.expect("a shell starts")).expect_code(0)
    });
    let said: Vec<_> = said.map(|ran| ran.stdout + &ran.stderr).collect();
    let wanted = [
        "ocean currents",
        "is valid",
        "section, for each of outline",
        "no calls were made",
        "about tidal power",
        "1 ok",
    ];
    assert_eq!(said.len(), wanted.len());
    for (said, wanted) in said.iter().zip(wanted) {
        assert!(said.contains(wanted), "{wanted} is not in: {said}");
    }
    assert_eq!(folder.rows("articles.jsonl").len(), 1);
}

#[test]
fn flags_of_rows_work_as_in_a_batch_and_require_rows() {
    let folder = folder();
    let run = ["run", "chain.yaml", "-m", "sim/echo", "--set", "tone=dry"];
    for flag in ["--unordered", "--strict", "--resume-changed", "--output-format=csv"] {
        let alone = folder.run(&[&run[..], &[flag]].concat()).expect_code(2);
        assert!(alone.stderr.contains("--rows"), "{flag}: {}", alone.stderr);
    }
    let run = [&run[..], &["--rows", "rows.jsonl", "-o", "out.csv", "-q"]].concat();
    folder.write("rows.jsonl", "{\"topic\":\"wind\"}\n{\"topic\":\n");
    let strict = folder.run(&[&run[..], &["--strict"]].concat()).expect_code(2);
    assert!(strict.stderr.contains("line 2"), "{}", strict.stderr);

    folder.write("rows.jsonl", "{\"topic\":\"wind\"}\n");
    folder.run(&[&run[..], &["--unordered"]].concat()).expect_code(0);
    assert!(folder.read("out.csv").starts_with("index,"), "{}", folder.read("out.csv"));
    folder.write("rows.jsonl", "{\"topic\":\"rain\"}\n{\"topic\":\"wind\"}\n");
    folder.run(&run).expect_code(2);
    folder.run(&[&run[..], &["--resume-changed", "--output-format", "jsonl"]].concat()).expect_code(0);
    let answers: Vec<_> = folder.rows("out.csv").iter().map(|row| row["answer"].clone()).collect();
    assert_eq!(answers, [made("rain", "dry"), made("wind", "dry")]);
}

#[test]
fn calls_of_a_chain_are_journalled_from_the_first_row_on() {
    let folder = Folder::new();
    let two = "model: sim/echo\ninputs: { topic: x }\nsteps:\n  a: { prompt: \"About {{ topic }}\" }\n";
    let each = "  b: { for_each: topics, prompt: \"About {{ item }}\" }\n";
    for (name, steps, calls) in [
        ("two", format!("{two}  b: {{ prompt: \"More of {{{{ steps.a.output }}}}\" }}\n"), 2),
        ("each", two.replace("topic: x", "topic: x, topics: [p, q]").replace("  a: {", "  c: {") + each, 3),
        ("one", two.to_owned(), 0),
    ] {
        folder.write("chain.yaml", steps);
        folder.write("rows.csv", "topic\nwind\nrain\nsnow\n");
        let out = format!("{name}.jsonl");
        folder.run(&["run", "chain.yaml", "--rows", "rows.csv", "-o", &out]).expect_code(0);
        let journal = folder.read(&format!("{out}.journal"));
        let journalled = journal.lines().filter(|line| line.contains(r#"","call":{"row""#)).count();
        assert_eq!(journalled, 3 * calls, "{name}: {journal}");
    }
}

#[test]
fn check_finds_a_template_that_takes_too_much_work_and_no_other_fault_of_its_samples() {
    let folder = Folder::new();
    let chain = |prompt: &str| {
        let inputs = "inputs: { topic: null, items: null, n: null }";
        folder
            .write("c.yaml", format!("{inputs}\nmodel: sim/echo\nsteps:\n  a: {{ prompt: \"{prompt}\" }}\n"));
        folder.run(&["run", "c.yaml", "--check"])
    };
    let bomb = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}";
    let ran = chain(bomb).expect_code(2);
    assert!(
        ran.stderr.contains("step a") && ran.stderr.contains("more work than its limit of 64 MiB"),
        "{}",
        ran.stderr
    );
    let set = ["run", "c.yaml", "--set", "topic=a", "--set", "items=b", "--set", "n=1"];
    let ran = folder.run(&set);
    assert!(ran.code != 0 && ran.stderr.contains("more work than its limit"), "{}", ran.stderr);
    let ran = folder.run(&[&set[..], &["--dry-run"]].concat()).expect_code(0);
    assert!(ran.stdout.contains("more work than its limit"), "{}", ran.stdout);
    chain("{{ topic }} of {{ items | join(', ') }} {{ n + 1 }}").expect_code(0);
}

#[test]
fn a_chain_ends_at_the_memory_of_a_run_in_every_way_to_run_it() {
    let folder = Folder::new();
    folder.write("in.jsonl", "{}\n{}\n");
    let chain = |limits: &str| {
        let numbers: Vec<_> = (0..400).collect();
        let bomb = "{{ 'x' * 1200000 }}";
        let text = format!(
            "inputs: {{ n: {numbers:?} }}\nlimits: {{ {limits} }}\nsteps: {{ a: {{ for_each: inputs.n, template: \"{bomb}\" }} }}\n"
        );
        folder.write("chain.yaml", &text);
    };
    let run = |more: &[&str], code: i32| {
        let ran = folder.run(&[&["run", "chain.yaml"], more].concat()).expect_code(code);
        let rows = std::fs::read_to_string(folder.path().join("out.jsonl")).unwrap_or_default();
        format!("{}{}{rows}", ran.stdout, ran.stderr)
    };
    for limits in ["", "run_memory_mib: 16"] {
        chain(limits);
        let flags: &[&str] = if limits.is_empty() { &["--run-memory", "16"] } else { &[] };
        let rows = ["-m", "sim/echo", "--rows", "in.jsonl", "-o", "out.jsonl", "--fresh", "--keep-going"];
        for (way, code) in [
            (&["-m", "sim/echo"][..], 2),
            (&["--check"], 2),
            (&["--dry-run", "-m", "sim/echo"], 0),
            (&rows, 3),
        ] {
            let said = run(&[way, flags].concat(), code);
            let says = ["the prompts and outputs of the run need ", "its limit of 16 MiB: raise ", "> a"];
            let is_with_flag =
                said.contains("raise --run-memory, and `run_memory_mib` if the chain file sets it");
            assert!(is_with_flag, "{limits} {way:?}: {said}");
            assert!(says.iter().all(|part| said.contains(part)), "{limits} {way:?}: {said}");
        }
    }
    // The file cannot raise the limit.
    chain("run_memory_mib: 4000");
    assert!(run(&["--check", "--run-memory", "16"], 2).contains("its limit of 16 MiB"));
}
