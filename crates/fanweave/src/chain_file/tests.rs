use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::*;
use crate::ResponseFormat;
use crate::model::fake::Fake;
use crate::{ChatModel, Context, Delta, Message, Prompt, Vars, vars};

/// Answers with what `says` makes of the last message: a line every 100 ms.
struct Scribe(fn(&str) -> Result<String>);

impl ChatModel for Scribe {
    fn name(&self) -> &str {
        "test/scribe"
    }

    async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        let _permit = cx.acquire().await?;
        let text = (self.0)(&prompt.last_user_text())?;
        for line in text.split_inclusive('\n') {
            sleep(Duration::from_millis(100)).await;
            cx.delta(Delta::text(line)).await;
        }
        Ok(Message::assistant(text))
    }
}

fn scribe(says: fn(&str) -> Result<String>) -> impl Fn(Option<&str>) -> Result<Model> {
    move |_| Ok(Model::new(Scribe(says)))
}

fn read(text: &str) -> ChainFile {
    ChainFile::parse("test.yaml", text).unwrap_or_else(|error| panic!("{error}"))
}

const ARTICLE: &str = "
inputs: { topic: tides }
steps:
  outline: { prompt: 'outline of {{ topic }}', output: lines }
  section: { for_each: steps.outline.output, prompt: 'section {{ index }} {{ item }}' }
  intro: { prompt: 'intro to {{ steps.outline.output | length }}' }
  article:
    template: |
      {{ steps.intro.output }}

      {{ steps.section.output | join('\\n\\n') }}!
";

fn writer(prompt: &str) -> Result<String> {
    Ok(match prompt {
        "outline of tides" => "1. A\n2. B\n3. C".to_owned(),
        other => format!("<{other}>"),
    })
}

const WHOLE: &str = "<intro to 3>\n\n<section 1 A>\n\n<section 2 B>\n\n<section 3 C>!";

#[tokio::test(start_paused = true)]
async fn a_fan_out_starts_while_its_source_is_still_being_written() {
    let article = read(ARTICLE).chain(scribe(writer)).unwrap();
    let started = Instant::now();
    assert_eq!(article.invoke(Vars::new()).await.unwrap(), WHOLE);
    // The outline takes 300 ms, and the last section and the introduction 100 ms more.
    assert_eq!(started.elapsed().as_millis(), 400);
}

#[tokio::test(start_paused = true)]
async fn the_deltas_of_a_streamed_chain_are_its_text() {
    let article = read(ARTICLE).chain(scribe(writer)).unwrap();
    let mut run = article.stream(Vars::new());
    let mut pieces = Vec::new();
    while let Some(piece) = run.next().await {
        pieces.push(piece.unwrap().to_string());
    }
    assert!(pieces.len() > 4, "{pieces:?}");
    assert_eq!(pieces.concat(), WHOLE);
    assert_eq!(run.output().await.unwrap(), WHOLE);
}

#[tokio::test(start_paused = true)]
async fn independent_steps_run_concurrently_and_needs_orders_them() {
    let at_once = "
steps:
  a: { prompt: a }
  b: { prompt: b }
  c: { template: '{{ steps.a.output }}{{ steps.b.output }}' }
";
    for (text, time) in
        [(at_once.to_owned(), 100), (at_once.replace("prompt: b", "prompt: b, needs: a"), 200)]
    {
        let started = Instant::now();
        assert_eq!(read(&text).chain(scribe(writer)).unwrap().invoke(Vars::new()).await.unwrap(), "<a><b>");
        assert_eq!(started.elapsed().as_millis(), time);
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_that_fails_ends_the_run_is_skipped_or_is_null() {
    fn picky(prompt: &str) -> Result<String> {
        if prompt.contains('2') { Err(Error::new(ErrorKind::Step, "no twos")) } else { Ok(prompt.to_owned()) }
    }
    let text = "
inputs: { numbers: [1, 2, 3] }
steps:
  each: { for_each: numbers, prompt: 'n{{ item }}', on_error: MODE }
";
    let run =
        async |mode: &str| read(&text.replace("MODE", mode)).chain(scribe(picky))?.invoke(Vars::new()).await;
    assert_eq!(run("skip").await.unwrap(), json!(["n1", "n3"]));
    assert_eq!(run("null").await.unwrap(), json!(["n1", null, "n3"]));
    assert_eq!(run("fail").await.unwrap_err().to_string(), "step item 2 > each > test/scribe: no twos");
}

#[tokio::test(start_paused = true)]
async fn what_needs_a_skipped_step_is_skipped_too() {
    let text = "
steps:
  a: { prompt: fails, on_error: skip }
  b: { prompt: 'of {{ steps.a.output }}' }
  c: { prompt: c }
output: OUTPUT
";
    fn fails(prompt: &str) -> Result<String> {
        if prompt == "fails" { Err(Error::new(ErrorKind::Step, "no")) } else { Ok(prompt.to_owned()) }
    }
    let run = async |name: &str| {
        read(&text.replace("OUTPUT", name)).chain(scribe(fails))?.invoke(Vars::new()).await
    };
    assert_eq!(run("b").await.unwrap(), Value::Null);
    assert_eq!(run("c").await.unwrap(), "c");
}

#[tokio::test(start_paused = true)]
async fn a_condition_decides_on_the_step_and_on_every_item() {
    let text = "
inputs: { loud: true, words: [a, bb] }
steps:
  each: { for_each: words, when: 'item | length > 1', template: '{{ item | upper }}' }
  all: { when: loud, template: '{{ steps.each.output | join(\" \") }}' }
";
    let chain = read(text).chain(scribe(writer)).unwrap();
    assert_eq!(chain.invoke(Vars::new()).await.unwrap(), "BB");
    assert_eq!(chain.invoke(vars! { loud: false }).await.unwrap(), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn structured_answers_are_read_and_lists_of_them_item_by_item() {
    static ASKED: Mutex<Vec<Prompt>> = Mutex::new(Vec::new());
    struct Lister;
    impl ChatModel for Lister {
        fn name(&self) -> &str {
            "test/lister"
        }
        async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
            let text = match prompt.last_user_text().as_str() {
                "list" => "{\"items\": [{\"n\": 1},\n {\"n\": 2}]}",
                "one" => "{\"value\": 7}",
                _ => "```json\n{\"a\": [1]}\n```",
            };
            ASKED.lock().unwrap().push(prompt);
            for line in text.split_inclusive('\n') {
                sleep(Duration::from_millis(100)).await;
                cx.delta(Delta::text(line)).await;
            }
            Ok(Message::assistant(text))
        }
    }
    let text = "
steps:
  list: { prompt: list, output: { type: array, items: { type: object } } }
  each: { for_each: steps.list.output, template: 'n={{ item.n }}' }
  one: { prompt: one, output: { type: integer } }
  any: { prompt: any, output: json }
  inner: { for_each: steps.any.output.a, template: '{{ item }}' }
  all: { template: '{{ steps.each.output | join }} {{ steps.one.output + 1 }} {{ steps.any.output.a[0] }} {{ steps.inner.output[0] }}' }
";
    let chain = read(text).chain(|_| Ok(Model::new(Lister))).unwrap();
    assert_eq!(chain.invoke(Vars::new()).await.unwrap(), "n=1n=2 8 1 1");
    let prompts = ASKED.lock().unwrap();
    let list = prompts.iter().find(|prompt| prompt.last_user_text() == "list").unwrap();
    let Some(ResponseFormat::JsonSchema { schema, .. }) = &list.parameters.format else {
        panic!("no schema")
    };
    assert_eq!(schema["properties"]["items"]["type"], "array");
}

#[tokio::test(start_paused = true)]
async fn the_limits_of_a_file_hold_for_its_runs() {
    let text = "
limits: { concurrency: 2, timeout: TIME }
inputs: { words: [a, b, c, d] }
steps:
  each: { for_each: words, prompt: '{{ item }}' }
";
    let chain = read(&text.replace("TIME", "10s")).chain(scribe(writer)).unwrap();
    let started = Instant::now();
    chain.invoke(Vars::new()).await.unwrap();
    assert_eq!(started.elapsed().as_millis(), 200);
    let hasty = read(&text.replace("TIME", "150ms")).chain(scribe(writer)).unwrap();
    assert_eq!(hasty.invoke(Vars::new()).await.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn the_time_of_a_fan_out_grows_with_its_items_and_not_with_their_square() {
    let file = read(
        "inputs: { list: [] }\nsteps:\n  a: { for_each: list, template: '{{ index }} {{ item }}' }\n  \
         b: { for_each: steps.a.output, template: '{{ item }}!' }\n",
    );
    let chain = file.chain(scribe(writer)).unwrap();
    let run = async |items: usize| {
        let list: Vec<_> = (0..items).map(|n| format!("item {n}")).collect();
        let began = std::time::Instant::now();
        let made = chain.invoke(vars! { list: list }).await.unwrap();
        assert_eq!(made[items - 1], format!("{items} item {}!", items - 1));
        began.elapsed()
    };
    let (few, many) = (run(500).await, run(8_000).await);
    // Sixteen times as many items: of the square it would be 256 times as long.
    assert!(many < few * 100, "{few:?}, then {many:?}");
}

#[tokio::test]
async fn the_deltas_of_a_template_with_windows_line_endings_are_its_text() {
    for end in ["\r\n", "\r", "\n", "\r\n\r\n", ""] {
        let quoted = json!(format!("a {{{{ x }}}}{end}"));
        let chain = read(&format!("inputs: {{ x: b }}\nsteps: {{ a: {{ template: {quoted} }} }}"));
        let mut run = chain.chain(scribe(writer)).unwrap().stream(Vars::new());
        let mut shown = String::new();
        while let Some(piece) = run.next().await {
            shown.extend(piece.unwrap().as_text().map(str::to_owned));
        }
        assert_eq!(run.output().await.unwrap(), shown, "{end:?}");
    }
}

#[tokio::test]
async fn inputs_are_checked_before_any_call() {
    let file = read("inputs: { topic: null, count: 3, tags: [a] }\nsteps: { a: { prompt: '{{ topic }}' } }");
    let chain = file
        .chain(|_| Ok(Fake::script([Err::<&str, _>(Error::new(ErrorKind::Step, "called"))]).model()))
        .unwrap();
    let missing = chain.invoke(Vars::new()).await.unwrap_err();
    assert_eq!(missing.to_string(), "the input `topic` is missing and has no default");
    let unknown = chain.invoke(vars! { topc: 1 }).await.unwrap_err();
    assert_eq!(unknown.to_string(), "the chain has no input `topc`: did you mean `topic`?");
    assert_eq!(file.input("topic", "3").unwrap(), "3");
    assert_eq!(file.input("count", "3").unwrap(), 3);
    assert_eq!(
        file.input("count", "three").unwrap_err().to_string(),
        "the input `count` must be a number, got `three`"
    );
    assert_eq!(file.input("tags", "[\"x\"]").unwrap(), json!(["x"]));
    assert!(file.input("tagz", "x").unwrap_err().to_string().contains("did you mean `tags`?"));
}

#[test]
fn toml_says_the_same_as_yaml() {
    let file = ChainFile::parse(
        "greet.toml",
        "output = 'b'\n[inputs]\nname = 'Ada'\n[steps.b]\nprompt = 'Hello {{ name }}'\n[steps.a]\ntemplate = 'x'\n",
    )
    .unwrap();
    assert_eq!(file.inputs().collect::<Vec<_>>(), [("name", Some(&json!("Ada")))]);
    assert_eq!(file.name(), "greet");
    let error = ChainFile::parse("x.toml", "[steps.a]\nprompt = 'Hello {{ nam }}'\n").unwrap_err();
    assert!(error.to_string().starts_with("x.toml:2:20: unknown variable `nam`"), "{error}");
}

#[cfg(feature = "batch")]
#[test]
fn a_fingerprint_ignores_comments_layout_and_limits_and_names_what_differs() {
    let values = |text: &str| read(text).fingerprint().values().clone();
    let short = "inputs: { x: { a: 1, b: 2 }, y: null }\nsteps: { s: { prompt: '{{ x }}{{ y }}', top_p: 1, seed: 2 } }\n";
    let long = "# A comment.\nname: other\nlimits: { concurrency: 3 }\ninputs:\n  y:\n  x: { b: 2, a: 1 }\nsteps:\n  s:\n    \
                seed: 2\n    prompt: \"{{ x }}{{ y }}\"\n    top_p: 1\noutput: s\n";
    assert_eq!(values(short), values(long));
    let toml = "steps.s = { prompt = '{{ x }}{{ y }}', seed = 2, top_p = 1 }\ninputs = { x = { b = 2, a = 1 }, y = '' }\n";
    let toml = ChainFile::parse("test.toml", toml).unwrap().fingerprint();
    let differences = |other: &std::collections::BTreeMap<String, String>| -> Vec<String> {
        let before = values(short);
        let names: std::collections::BTreeSet<_> = before.keys().chain(other.keys()).cloned().collect();
        names.into_iter().filter(|name| before.get(name) != other.get(name)).collect()
    };
    assert_eq!(differences(toml.values()), ["input y"]);
    for (from, to, named) in [
        ("'{{ x }}{{ y }}'", "'{{ x }} {{ y }}'", &["step s"][..]),
        ("seed: 2", "seed: 3", &["step s"]),
        ("seed: 2", "seed: 2, output: lines", &["step s"]),
        ("seed: 2", "seed: 2, on_error: skip", &["step s"]),
        ("seed: 2", "seed: 2, when: x", &["step s"]),
        ("seed: 2", "seed: 2, model: a/b", &["step s"]),
        ("a: 1", "a: 3", &["input x"]),
        ("steps", "model: a/b\nsteps", &["model"]),
        ("{ s:", "{ t:", &["output", "step s", "step t"]),
    ] {
        assert_eq!(differences(&values(&short.replace(from, to))), named, "{to}");
    }
}

#[test]
fn toml_numbers_may_have_a_sign() {
    let text = "[inputs]\na = +1.5\nb = -1_000.5\nc = +3\n[steps.x]\ntemplate = 'x'\n";
    let file = ChainFile::parse("chain.toml", text).unwrap();
    let defaults: Vec<_> = file.inputs().map(|(_, default)| default.unwrap().to_string()).collect();
    assert_eq!(defaults, ["1.5", "-1000.5", "3"]);
}

#[test]
fn numbers_that_are_codes_stay_as_they_are_written() {
    let default = |written: &str| {
        let text = format!("inputs:\n  a: {written}\nsteps: {{ x: {{ template: y }} }}\n");
        let file = ChainFile::parse("chain.yaml", text).unwrap();
        file.inputs().next().unwrap().1.unwrap().to_string()
    };
    // Other parsers change their digits.
    let huge = "123456789012345678901234567890";
    for code in ["0123", "007", "00", "-007", "09", "0123.5", huge, "-9223372036854775809"] {
        assert_eq!(default(code), format!("\"{code}\""));
        assert_eq!(default(&format!("[{code},{code}] # {code}")), format!("[\"{code}\",\"{code}\"]"));
        assert_eq!(
            default(&format!("{{ ä: &it {code}, b: *it }}")),
            format!("{{\"ä\":\"{code}\",\"b\":\"{code}\"}}")
        );
    }
    for (written, number) in [
        ("0", "0"),
        ("-5", "-5"),
        ("0.50", "0.5"),
        (".5", "0.5"),
        ("1e3", "1000.0"),
        ("0x1F", "31"),
        ("18446744073709551615", "18446744073709551615"),
        ("[0.5, 2.0e1]", "[0.5,20.0]"),
    ] {
        assert_eq!(default(written), number);
    }
    // Fields that need a number report the text that they found.
    let step = "steps: { x: { prompt: y, max_tokens: 0100 } }";
    let error = ChainFile::parse("chain.yaml", step).unwrap_err().to_string();
    assert!(error.contains(":1:38: `max_tokens` must be an integer of at least 1, got `0100`"), "{error}");
    let toml = format!("[inputs]\na = {huge}\n[steps.x]\ntemplate = 'y'\n");
    let error = ChainFile::parse("chain.toml", toml).unwrap_err().to_string();
    assert!(error.starts_with("chain.toml:2:5: the number is too large: put it in quotes"), "{error}");
}

#[test]
fn files_are_read_from_the_folder_of_the_chain_and_from_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("chains");
    std::fs::create_dir_all(folder.join("prompts")).unwrap();
    std::fs::write(folder.join("prompts/a.txt"), "Hello {{ name }}").unwrap();
    std::fs::write(dir.path().join("secret.txt"), "secret").unwrap();
    std::os::unix::fs::symlink(dir.path().join("secret.txt"), folder.join("link.txt")).unwrap();
    let load = |path: &str| {
        let text = format!("inputs: {{ name: x }}\nsteps: {{ a: {{ prompt: {{ file: {path} }} }} }}");
        std::fs::write(folder.join("c.yaml"), text).unwrap();
        ChainFile::load(folder.join("c.yaml"))
    };
    load("prompts/a.txt").unwrap();
    for path in ["../secret.txt", "link.txt", "/etc/hostname", "prompts/../../secret.txt"] {
        let error = load(path).unwrap_err().to_string();
        assert!(error.contains("is outside the folder"), "{path}: {error}");
    }
    assert!(load("prompts").unwrap_err().to_string().contains("`prompts` is not a file"));
    assert!(load("nowhere.txt").unwrap_err().to_string().contains("cannot read `nowhere.txt`"));
}

#[test]
fn a_chain_parsed_with_the_texts_of_its_files_is_the_chain_of_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("b")).unwrap();
    std::fs::write(dir.path().join("a.txt"), "\u{feff}Hello {{ name }}").unwrap();
    std::fs::write(dir.path().join("b/c.txt"), "Be brief.").unwrap();
    let text = "
inputs: { name: x }
steps:
  one: { prompt: { file: ./a.txt }, system: { file: b/c.txt } }
  two: { messages: [ { system: { file: b/c.txt } }, { user: 'Again: {{ steps.one.output }}' } ] }
  three: { template: { file: a.txt } }
";
    std::fs::write(dir.path().join("c.yaml"), text).unwrap();
    let loaded = ChainFile::load(dir.path().join("c.yaml")).unwrap();
    let files: BTreeMap<_, _> =
        loaded.files().map(|(path, text)| (path.to_owned(), text.to_owned())).collect();
    assert_eq!(ChainFile::paths_in("c.yaml", text).unwrap(), ["./a.txt", "a.txt", "b/c.txt"]);
    assert!(files.keys().eq(["./a.txt", "a.txt", "b/c.txt"]));
    drop(dir);
    let given = ChainFile::parse_with("c.yaml", loaded.source(), &files).unwrap();
    assert_eq!(given.fingerprint(), loaded.fingerprint());
    assert!(given.files().eq(loaded.files()));
    // Texts as they are on the disk, with the mark.
    let marked = files.into_iter().map(|(path, text)| (path, format!("\u{feff}{text}"))).collect();
    assert_eq!(ChainFile::parse_with("c.yaml", text, &marked).unwrap().fingerprint(), loaded.fingerprint());
}

#[test]
fn a_file_that_is_not_given_is_a_problem_even_if_it_is_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    std::fs::write(&path, "secret").unwrap();
    let text = format!("steps: {{ a: {{ prompt: {{ file: '{}' }} }} }}", path.display());
    let error = ChainFile::parse_with("c.yaml", text.as_str(), &BTreeMap::new()).unwrap_err().to_string();
    assert!(
        error.contains("c.yaml:1:31: ") && error.contains("a.txt` is not among the given files"),
        "{error}"
    );
    assert_eq!(ChainFile::paths_in("c.yaml", &text).unwrap(), [path.display().to_string()]);

    let given = |text: String| {
        let files = BTreeMap::from([("a.txt".to_owned(), text), ("b.txt".to_owned(), "{% if".to_owned())]);
        ChainFile::parse_with("c.yaml", "steps: { a: { prompt: { file: a.txt } } }", &files)
    };
    given("x".repeat(1 << 20)).unwrap();
    let error = given("x".repeat((1 << 20) + 1)).unwrap_err().to_string();
    assert!(error.contains("`a.txt` is too large: 1048577 bytes"), "{error}");
    let error = given("Hello\n{{ nam }}".to_owned()).unwrap_err().to_string();
    assert!(error.contains("`a.txt`: line 2: unknown variable `nam`"), "{error}");
}

#[test]
fn the_paths_of_an_invalid_chain_file_are_its_problems() {
    let error = ChainFile::paths_in("c.toml", "[steps.a]\nprompt = { path = 'a.txt' }").unwrap_err();
    assert!(error.to_string().contains("c.toml:2:12: "), "{error}");
    let list = |text: &str| ChainFile::paths_in("c.yaml", text).unwrap();
    assert!(list("steps: { a: { prompt: 'Hello {{ nobody }}' } }").is_empty());
    assert_eq!(list("steps: { a: { template: { file: ../b } }, b: { prompt: { file: ../b } } }"), ["../b"]);
}

#[test]
fn a_problem_points_at_the_variable_and_not_at_the_same_word_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.txt"), "nam\nHello {{ nam }}").unwrap();
    std::fs::write(dir.path().join("b.txt"), "x\n{% if %}").unwrap();
    let says = |steps: &str| {
        let path = dir.path().join("c.yaml");
        std::fs::write(&path, format!("inputs: {{ topic: x }}\nsteps:\n{steps}")).unwrap();
        let error = ChainFile::load(&path).unwrap_err();
        let problems = std::error::Error::source(&error).unwrap().downcast_ref::<Problems>().unwrap();
        let shown = problems.iter().map(|p| format!("{}:{}: {}", p.line(), p.column(), p.message()));
        shown.collect::<Vec<_>>().join("\n")
    };
    let unknown = "unknown variable `nam`: the inputs are `topic`";
    // In the text around its tag.
    let steps = "  a: { prompt: '日本 {{ topic }} nam, {% if nam %}{{ nam }}{% endif %}' }\n";
    assert_eq!(says(steps), format!("3:43: {unknown}"));
    // In a tag of another step than that with the condition.
    let steps = "  a: { when: nam, prompt: x }\n  b: { prompt: '{{ nam }}' }\n";
    assert_eq!(says(steps), format!("3:14: {unknown}\n4:20: {unknown}"));
    // In another step than that whose file has it.
    let steps = "  a: { prompt: { file: a.txt } }\n  b: { prompt: 'nam {{ topic }}' }\n";
    assert_eq!(says(steps), format!("3:24: `a.txt`: line 2: {unknown}"));
    let steps = "  a: { prompt: { file: b.txt } }\n";
    assert!(says(steps).starts_with("3:24: `b.txt`: the template is not valid: line 2"), "{}", says(steps));
}

#[test]
fn models_are_made_once_each_and_a_bad_one_is_an_error_with_its_location() {
    let text = "model: a/x\nsteps:\n  one: { prompt: x }\n  two: { prompt: x, model: b/y }\n  three: { prompt: x }\n";
    let prompts = Mutex::new(Vec::new());
    let result = read(text).chain(|name| {
        prompts.lock().unwrap().push(name.map(str::to_owned));
        match name {
            Some("b/y") => Err(Error::new(ErrorKind::Config, "no provider `b`")),
            _ => Ok(Fake::echo().model()),
        }
    });
    assert_eq!(*prompts.lock().unwrap(), [Some("a/x".to_owned()), Some("b/y".to_owned())]);
    let error = result.err().unwrap();
    assert!(error.to_string().starts_with("test.yaml:4:28: no provider `b`"), "{error}");
}

/// The JSON schema for editors covers a part of the checks made here.
#[test]
fn the_schema_for_editors_takes_what_is_right_and_refuses_what_has_the_wrong_form() {
    let schema: Value =
        serde_json::from_str(include_str!("../../../../docs/chain-file.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let takes = |text: &str| schema.is_valid(&serde_saphyr::from_str::<Value>(text).unwrap());
    assert!(takes(ARTICLE) && takes(include_str!("../../../../examples/article.yaml")));
    let step = |fields: &str| format!("inputs: {{ topic: x }}\nsteps: {{ a: {{ {fields} }} }}\n");
    for right in [
        "prompt: x, output: { type: array }, when: true, needs: [], on_error: skip, timeout: 5s",
        "messages: [ { system: x }, { user: { file: a.txt } } ], temperature: 0.5, stop: END",
        "for_each: topic, template: '{{ item }}'",
        "prompt: x, reasoning_effort: low, reasoning_summary: true",
        "prompt: x, reasoning_budget: 0",
    ] {
        assert!(takes(&step(right)), "{right}");
    }
    let whole = [
        "steps: {}",
        "name: x",
        "stepz: { a: { prompt: x } }",
        "limits: { budget_usd: free }\nsteps: { a: { prompt: x } }\n",
        "limits: { retrys: 3 }\nsteps: { a: { prompt: x } }",
    ];
    for wrong in whole.map(str::to_owned).into_iter().chain(
        [
            "prompt: 3",
            "promt: Hello",
            "output: lines",
            "prompt: x, template: y",
            "template: y, model: sim/echo",
            "prompt: x, on_error: ignore",
            "prompt: x, output: line",
            "prompt: x, temperature: 3",
            "messages: [ { usr: hello } ]",
            "prompt: { path: a.txt }",
        ]
        .map(step),
    ) {
        assert!(!takes(&wrong), "{wrong}");
        assert!(ChainFile::parse("chain.yaml", wrong.as_str()).is_err(), "{wrong}");
    }
}

/// Covers every message.
#[test]
fn wrong_files_are_refused_with_place_and_advice() {
    let step = |fields: &str| format!("inputs: {{ topic: x }}\nsteps:\n  a:\n    {fields}\n");
    let files = [
        String::new(),
        "steps: [".to_owned(),
        "steps:\n  a: { prompt: x }\n  b: { prompt: tell {{ steps.a.output }} }\n".to_owned(),
        "steps:\n  a: { prompt: x }\n\tb: { prompt: y }\n".to_owned(),
        "steps:\n  ä: { prompt: x }\n   b: { prompt: y }\n".to_owned(),
        "steps:\n  a: { prompt: x }\n  a: { prompt: y }\n".to_owned(),
        "just a text".to_owned(),
        "- a\n- b\n".to_owned(),
        "name: x\n".to_owned(),
        "steps: {}\n".to_owned(),
        "steps: [a, b]\n".to_owned(),
        "version: 2\nsteps: { a: { prompt: x } }\n".to_owned(),
        "stepz:\n  a: { prompt: x }\n".to_owned(),
        "modle: sim/echo\nsteps: { a: { prompt: x } }\n".to_owned(),
        "steps:\n  my-step: { prompt: x }\n".to_owned(),
        "inputs: [topic]\nsteps: { a: { prompt: x } }\n".to_owned(),
        "inputs: { item: 1 }\nsteps: { a: { prompt: x } }\n".to_owned(),
        "inputs: { 'my topic': 1 }\nsteps: { a: { prompt: x } }\n".to_owned(),
        "limits: { concurrency: 0 }\nsteps: { a: { prompt: x } }\n".to_owned(),
        "limits: { timeout: soon }\nsteps: { a: { prompt: x } }\n".to_owned(),
        "limits: { budget_usd: free }\nsteps: { a: { prompt: x } }\n".to_owned(),
        "limits: { retrys: 3 }\nsteps: { a: { prompt: x } }\n".to_owned(),
        "output: b\nsteps: { a: { prompt: x } }\n".to_owned(),
        step("prompt: 3"),
        step("prompt: {{ topic }}"),
        step("promt: Hello"),
        step("output: lines"),
        step("prompt: x\n    template: y"),
        step("template: y\n    model: sim/echo"),
        step("prompt: 'Hello {{ topc }}'"),
        step("prompt: 'Hello {{ topic'"),
        step("prompt: 'Hello {{ topic | uper }}'"),
        step("prompt: 'About {{ item }}'"),
        step("prompt: 'About {{ a }}'"),
        step("prompt: 'About {{ steps.a.output }}'"),
        step("prompt: x\n  b:\n    prompt: 'About {{ steps.aa.output }}'"),
        step("prompt: x\n  b:\n    prompt: 'About {{ steps.a.outptu }}'"),
        step("prompt: x\n  b:\n    for_each: steps.a.output\n    prompt: '{{ item }}'"),
        step("for_each: topic\n    prompt: '{{ item }}'"),
        step("for_each: [1, 2]\n    prompt: '{{ item }}'"),
        step("for_each: steps.b.output\n    prompt: '{{ item }}'"),
        step("prompt: x\n    needs: [b]"),
        step("prompt: x\n    needs: a"),
        step(
            "prompt: '{{ steps.b.output }}'\n  b:\n    prompt: '{{ steps.c.output }}'\n  c:\n    prompt: x\n    needs: a",
        ),
        step("prompt: x\n    on_error: ignore"),
        step("prompt: x\n    output: line"),
        step("prompt: x\n    output: { type: aray }"),
        step("prompt: x\n    temperature: hot"),
        step("prompt: x\n    temperature: 3"),
        step("prompt: x\n    max_tokens: 0"),
        step("prompt: x\n    timeout: 5"),
        step("prompt: x\n    when: 'topic =='"),
        step("messages: hello"),
        step("messages: [ { usr: hello } ]"),
        step("messages: [ { narrator: hello } ]"),
        step("messages: []"),
        step("prompt: { file: a.txt }"),
        step("prompt: { path: a.txt }"),
        "steps: { a: { prompt: x } }\n---\nsteps: { b: { prompt: x } }\n".to_owned(),
        "steps: { null: { prompt: x } }\n".to_owned(),
        "steps: { '': { prompt: x } }\n".to_owned(),
        "steps:\n  a: { for_each: o[\"l\"], prompt: \"{{ item }}\" }\n".to_owned(),
        step("template: y\n    timeout: 3s"),
    ];
    let shown: Vec<_> = files
        .iter()
        .map(|text| match ChainFile::parse("chain.yaml", text.as_str()) {
            Ok(_) => format!("---- ACCEPTED\n{text}"),
            Err(error) => error.to_string(),
        })
        .collect();
    assert!(shown.len() > 50);
    insta::assert_snapshot!(shown.join("\n\n----\n"));
}

#[test]
fn the_reasoning_of_a_step_is_a_level_or_a_budget() {
    let parse = |fields: &str| {
        ChainFile::parse("test.yaml", format!("steps:\n  a: {{ prompt: x, {fields} }}\n"))
            .map_err(|e| e.to_string())
    };
    assert!(parse("reasoning_effort: none, reasoning_summary: true").is_ok());
    assert!(parse("reasoning_budget: 2048").is_ok());
    let both = parse("reasoning_effort: low, reasoning_budget: 2048").unwrap_err();
    assert!(both.contains("`reasoning_effort` is set too: keep one of them"), "{both}");
    let text = parse("reasoning_summary: yes please").unwrap_err();
    assert!(text.contains("`reasoning_summary` must be true or false"), "{text}");
    let unused =
        ChainFile::parse("test.yaml", "steps: { a: { template: x, reasoning_effort: low } }").unwrap_err();
    assert!(unused.to_string().contains("`reasoning_effort` is not allowed here"), "{unused}");
}

#[test]
fn the_examples_of_the_guide_are_chain_files() {
    let guide = include_str!("../../../../docs/chain-files.md");
    let blocks: Vec<_> =
        guide.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        ChainFile::parse("guide.yaml", block).unwrap_or_else(|e| panic!("{e}"));
    }
    // And its tables name every field that there is.
    let schema: Value =
        serde_json::from_str(include_str!("../../../../docs/chain-file.schema.json")).unwrap();
    let fields = |path: &str| schema.pointer(path).and_then(Value::as_object).unwrap().keys().cloned();
    let of_file = fields("/properties").chain(fields("/properties/limits/properties"));
    for field in of_file.chain(fields("/$defs/step/properties")) {
        assert!(guide.contains(&format!("`{field}`")), "the guide does not name `{field}`");
    }
}
