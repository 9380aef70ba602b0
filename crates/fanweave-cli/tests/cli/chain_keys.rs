//! Keys of chain files: fallback, retries, cache, params, outputs and assert.

use fanweave_sim::Settings;
use serde_json::{Value, json};

use crate::support::{Folder, Provider, echo_of};

fn chain(folder: &Folder, steps: &str, top: &str) {
    folder.write("chain.yaml", format!("version: 1\n{top}inputs: {{ topic: tides }}\nsteps:\n{steps}"));
}

#[test]
fn a_fallback_answers_when_the_model_of_a_step_fails() {
    let failing = Provider::start(Settings { error_rate: 1.0, ..Settings::default() });
    let folder = Folder::new();
    let run = || {
        folder.run(&[
            "run",
            "chain.yaml",
            "-m",
            "openai/echo",
            "--base-url",
            &failing.url(),
            "--outage-timeout",
            "0",
            "--retries",
            "0",
        ])
    };
    chain(&folder, "  a: { prompt: 'Hello {{ topic }}' }\n", "");
    run().expect_code(1);
    // A second model of the same server fails as well, and the error is that of the last one.
    chain(&folder, "  a: { prompt: 'Hello {{ topic }}', fallback: openai/other }\n", "");
    run().expect_code(1);
    assert_eq!(failing.stats().requests, 3);
    // Without a server, the models are simulated, and one of them does not exist.
    chain(&folder, "  a: { prompt: 'Hello {{ topic }}', model: sim/echo, fallback: [sim/ecco] }\n", "");
    let ran = folder.run(&["run", "chain.yaml"]).expect_code(2);
    assert!(ran.stderr.contains("chain.yaml:4:") && ran.stderr.contains("sim/ecco"), "{}", ran.stderr);
}

#[test]
fn retries_of_a_step_are_its_own() {
    let failing = Provider::start(Settings { error_rate: 1.0, ..Settings::default() });
    let folder = Folder::new();
    chain(
        &folder,
        "  a: { prompt: 'One {{ topic }}', retries: 2, on_error: 'null' }\n  b: { prompt: 'Two {{ topic }}', retries: 0, on_error: 'null' }\n",
        "model: openai/echo\n",
    );
    folder.run(&["run", "chain.yaml", "--base-url", &failing.url(), "--outage-timeout", "0"]).expect_code(0);
    assert_eq!(failing.stats().requests, 3 + 1);
}

#[test]
fn a_cache_of_the_file_serves_all_steps_but_those_that_forbid_it() {
    let provider = Provider::start(Settings::default());
    let folder = Folder::new();
    let steps = "  a: { prompt: 'One {{ topic }}' }\n  b: { prompt: 'Two {{ topic }}', cache: false }\n";
    chain(&folder, steps, "model: openai/echo\ncache: answers.db\n");
    for _ in 0..2 {
        folder.run(&["run", "chain.yaml", "--base-url", &provider.url()]).expect_code(0);
    }
    assert_eq!(provider.stats().requests, 2 + 1);
    assert!(folder.file("answers.db").exists());
    chain(&folder, steps, "cache: ../answers.db\n");
    let ran = folder.run(&["run", "chain.yaml", "--check"]).expect_code(2);
    assert!(ran.stderr.contains("must be a file in the folder of the chain file"), "{}", ran.stderr);
}

#[test]
fn parameters_of_the_file_and_of_a_step_are_sent() {
    let folder = Folder::new();
    chain(
        &folder,
        "  a: { prompt: Hi, params: { top_k: 5, reasoning: { effort: low } } }\n",
        "params: { top_k: 1, user: u }\n",
    );
    folder.run(&["run", "chain.yaml", "--check"]).expect_code(0);
    for (params, why) in [
        ("{ model: x }", "`model` is not a parameter"),
        ("{ temperature: 1 }", "write `temperature` in the step itself"),
        ("[1]", "`params` must be a table of parameters, got a list"),
    ] {
        chain(&folder, &format!("  a: {{ prompt: Hi, params: {params} }}\n"), "");
        let ran = folder.run(&["run", "chain.yaml", "--check"]).expect_code(2);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
}

const TWO_STEPS: &str =
    "  a: { prompt: 'First: {{ topic }}' }\n  b: { prompt: 'Then: {{ steps.a.output }}', output: lines }\n";

#[test]
fn outputs_of_several_steps_are_fields_and_columns() {
    let folder = Folder::new();
    folder.write("in.csv", "topic\nrain\nsnow\n");
    chain(&folder, TWO_STEPS, "model: sim/echo\noutputs: [a, b]\n");
    let (first, then) = (echo_of("First: tides"), echo_of(&format!("Then: {}", echo_of("First: tides"))));
    let ran = folder.run(&["run", "chain.yaml", "--json"]).expect_code(0);
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap(), json!({"a": first, "b": [then]}));
    folder.run(&["run", "chain.yaml", "--rows", "in.csv", "-o", "out.csv"]).expect_code(0);
    let csv = folder.read("out.csv");
    assert!(csv.starts_with("topic,index,custom_id,a,b,finish_reason,"), "{csv}");
    assert!(csv.contains(&echo_of("First: snow")), "{csv}");

    chain(&folder, TWO_STEPS, "model: sim/echo\n");
    folder.run(&["run", "chain.yaml", "--rows", "in.csv", "-o", "all.jsonl", "--all-steps"]).expect_code(0);
    assert_eq!(folder.rows("all.jsonl")[0]["answer"]["a"], echo_of("First: rain"));
    for (top, why) in [
        ("outputs: [a, c]\n", "unknown step `c`"),
        ("output: a\noutputs: [b]\n", "`output` names one step and `outputs` several"),
    ] {
        chain(&folder, TWO_STEPS, top);
        let ran = folder.run(&["run", "chain.yaml", "--check"]).expect_code(2);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
}

#[test]
fn an_output_that_breaks_an_assertion_fails_its_step() {
    let folder = Folder::new();
    folder.write("in.csv", "topic\nrain\na long topic about everything\n");
    let step =
        "  a: { prompt: 'Say {{ topic }}', assert: [\"output | length < 30\", \"topic in output\"] }\n";
    chain(&folder, step, "model: sim/echo\n");
    folder.run(&["run", "chain.yaml", "--rows", "in.csv", "-o", "out.jsonl", "--keep-going"]).expect_code(3);
    let rows = folder.rows("out.jsonl");
    assert_eq!(rows[0]["answer"], echo_of("Say rain"));
    assert_eq!(rows[1]["error"]["message"], "assertion failed: output | length < 30");
    assert_eq!((&rows[1]["error"]["kind"], &rows[1]["error"]["step"]), (&json!("parse"), &json!("a")));
    assert_eq!(rows[1]["error"]["code"], "assertion_failed");
    // A single run ends with the same exit code.
    let ran =
        folder.run(&["run", "chain.yaml", "--set", "topic=a long topic about everything"]).expect_code(3);
    assert!(ran.stderr.contains("assertion failed: output | length < 30"), "{}", ran.stderr);
    for (condition, why) in [("outptu | length", "unknown variable `outptu`"), ("output |", "assert")] {
        chain(&folder, &format!("  a: {{ prompt: Hi, assert: '{condition}' }}\n"), "");
        let ran = folder.run(&["run", "chain.yaml", "--check"]).expect_code(2);
        assert!(ran.stderr.contains(why) || ran.stderr.contains("chain.yaml:"), "{}", ran.stderr);
    }
    // The text that fails it is kept, and so are the outputs of the steps before.
    let text = echo_of("Say a long topic about everything");
    assert_eq!(rows[1]["outputs"], json!({ "a": text }));
    let steps = "  first: { prompt: 'One {{ topic }}', output: lines }\n  second: { prompt: 'Two {{ topic }}', assert: 'false', needs: [first] }\n  \
                 third: { template: '{{ steps.second.output }}' }\n";
    chain(&folder, steps, "model: sim/echo\noutputs: [first, second, third]\n");
    let run = |to: &str| {
        folder.run(&["run", "chain.yaml", "--rows", "in.csv", "-o", to, "--keep-going"]).expect_code(3);
    };
    run("two.jsonl");
    let outputs = json!({ "first": [echo_of("One rain")], "second": echo_of("Two rain") });
    assert_eq!(folder.rows("two.jsonl")[0]["outputs"], outputs);
    run("two.csv");
    let table = folder.read("two.csv");
    assert!(table.starts_with("topic,index,custom_id,first,second,third,"), "{table}");
    let first = format!("\"[\"\"{}\"\"]\",{},,", echo_of("One rain"), echo_of("Two rain"));
    assert!(table.lines().nth(1).is_some_and(|line| line.contains(&first)), "{table}");
    chain(&folder, step, "model: sim/echo\n");
    // The steps of a chain are seen in its diagram, also with assertions.
    chain(&folder, step, "model: sim/echo\n");
    let graph = folder.run(&["run", "chain.yaml", "--graph"]).expect_code(0).stdout;
    assert!(graph.contains('a'), "{graph}");
}
