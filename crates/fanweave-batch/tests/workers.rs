//! Parts of a batch that workers on several machines use: rows and results as text, rows in flight apart from
//! files, and outputs that are continued.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanweave_batch::__private::{
    Arranger, Finished, Follower, Job, KeyedRows, Leases, Origin, RowRecorder, content_key, create_output,
    decode_row, encode_row, resume_output,
};
use fanweave_batch::{
    BatchJob, CancellationToken, FinishedRow, Input, InputRow, Output, OutputFormat, Progress, Render,
    RowLocation, Source,
};
use fanweave_core::{Chain, Context, Error, ErrorKind, Message, Parameters, Prompt, Vars, step};
use futures::FutureExt;
use futures::future::BoxFuture;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{TempRun, settings, text_rows};
use tokio::sync::mpsc;

/// Lines of a journal, by the origin of their rows.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Line>>>, Arc<Progress>);

/// The origin of a row, and its line.
type Line = (u64, Vec<u8>);

impl RowRecorder for Lines {
    async fn finished(&mut self, mut row: Finished) -> bool {
        // Rows that wait for a broker hold no other row up.
        row.permit.release();
        let mut line = Vec::new();
        encode_row(&row.row, &mut line);
        self.0.lock().unwrap().push((row.origin.id(), line));
        row.count(&self.1);
        true
    }

    async fn duplicate(&mut self, _: Follower, _: RowLocation) -> bool {
        panic!("requests are not deduplicated")
    }

    fn ended_early(&self) -> BoxFuture<'static, ()> {
        pending().boxed()
    }
}

fn answers() -> Chain<Prompt, String> {
    step(|prompt: Prompt, _| async move {
        match prompt.last_user_text() {
            text if text.ends_with('7') => Err(Error::new(ErrorKind::BadRequest, "sevens are refused")),
            text => Ok(text.to_uppercase()),
        }
    })
}

/// The result of `work`, which takes milliseconds unless rows wait for something that never comes.
async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("the rows hang")
}

fn job(dir: &TempRun, output: &str) -> BatchJob<Prompt, String> {
    // Two rows are equal, and have different keys.
    let input = dir.write("in.txt", text_rows(40) + "row 3\n");
    let source = Source::open(&input, None).unwrap();
    BatchJob::new(source, Render::default(), answers(), Output::File(dir.path(output))).settings(settings(8))
}

/// Lines of an output without times.
fn timeless(text: &str) -> Vec<Value> {
    let read = |line| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        row.as_object_mut().unwrap().retain(|name, _| !name.contains("latency"));
        row
    };
    text.lines().map(read).collect()
}

#[tokio::test]
async fn rows_that_travel_as_text_give_the_output_and_the_keys_of_a_run_over_the_file() {
    let dir = TempRun::new();
    in_time(job(&dir, "whole.jsonl").run()).await.unwrap();

    let lines = Lines::default();
    let parts = job(&dir, "parts.jsonl").progress(lines.1.clone()).into_rows();
    let (leases, mut lessor) = Leases::new(0.0);
    lessor.lease(1.0);
    let (sender, jobs) = mpsc::channel(64);
    let mut rows = KeyedRows::new(parts.source, parts.settings.limit);
    assert_eq!(rows.total().await.unwrap(), None, "files are counted when they are scanned");
    let mut equal = Vec::new();
    while let Some(row) = rows.next().await {
        let (key, row) = row.unwrap();
        if matches!(&row.input, Ok(Input::Text(text)) if text == "row 3") {
            equal.push((content_key(&row), key));
        }
        let origin = Origin::new(row.index / 16);
        let travelled = serde_json::from_str(&serde_json::to_string(&row).unwrap()).unwrap();
        sender.send(Ok(Job::new(origin, key, travelled))).await.unwrap();
    }
    drop(sender);
    assert!(equal.len() == 2 && equal[0].0 == equal[1].0 && equal[0].1 != equal[1].1, "{equal:?}");

    let mut window = parts.rows.window(lines.clone(), jobs, leases);
    in_time(window.run(&CancellationToken::new(), &Context::new())).await.unwrap();
    let (_, stopped) = window.into_recorder();
    assert!(!stopped.is_cut_short && stopped.refused.is_none());
    let counted = lines.1.snapshot();
    assert_eq!((counted.ok, counted.failed, counted.in_flight), (37, 4, 0));

    let mut rows = Vec::new();
    for (origin, line) in lines.0.lock().unwrap().iter() {
        let row = decode_row(line).unwrap();
        assert_eq!(*origin, row.index() / 16, "a row hands back its origin");
        rows.push(row);
    }
    rows.sort_by_key(FinishedRow::index);
    let journal = std::fs::read_to_string(dir.path("whole.jsonl.journal")).unwrap();
    let mut whole: Vec<_> = journal.lines().filter_map(|line| decode_row(line.as_bytes())).collect();
    whole.sort_by_key(FinishedRow::index);
    assert!(rows.iter().map(FinishedRow::key).eq(whole.iter().map(FinishedRow::key)));

    let sink = create_output(dir.path("parts.jsonl"), OutputFormat::Jsonl).unwrap();
    let mut arranger = Arranger::new(Some(Box::new(sink)), true, Arc::new(Progress::default()));
    rows.into_iter().for_each(|row| arranger.emit(row).unwrap());
    let failures = arranger.finish().unwrap();
    assert_eq!(failures.iter().map(|group| group.count).sum::<u64>(), 4);
    let read = |name| timeless(&std::fs::read_to_string(dir.path(name)).unwrap());
    assert_eq!(read("parts.jsonl"), read("whole.jsonl"));
}

#[tokio::test]
async fn an_output_that_is_continued_at_its_mark_is_the_output_of_one_run() {
    let dir = TempRun::new();
    in_time(job(&dir, "run.jsonl").run()).await.unwrap();
    let journal = std::fs::read_to_string(dir.path("run.jsonl.journal")).unwrap();
    let mut rows: Vec<_> = journal.lines().filter_map(|line| decode_row(line.as_bytes())).collect();
    rows.sort_by_key(FinishedRow::index);
    for format in [OutputFormat::OpenAi, OutputFormat::Jsonl, OutputFormat::Csv] {
        let (whole, cut) = (dir.path("whole"), dir.path("cut"));
        let progress = || Arc::new(Progress::default());
        let arranger = |sink| Arranger::new(Some(Box::new(sink)), true, progress());
        let mut one = arranger(create_output(&whole, format).unwrap());
        rows.iter().for_each(|row| one.emit(row.clone()).unwrap());
        one.finish().unwrap();

        let mut first = arranger(create_output(&cut, format).unwrap());
        rows[..10].iter().for_each(|row| first.emit(row.clone()).unwrap());
        let mark = first.mark().unwrap().unwrap();
        // Written after the mark, so written again.
        rows[10..20].iter().for_each(|row| first.emit(row.clone()).unwrap());
        first.mark().unwrap().unwrap();
        drop(first);
        let mut second = arranger(resume_output(&cut, format, mark).unwrap());
        rows[10..].iter().for_each(|row| second.emit(row.clone()).unwrap());
        second.finish().unwrap();
        assert_eq!(std::fs::read(&cut).unwrap(), std::fs::read(&whole).unwrap(), "{format}");
        assert!(!dir.path("cut.partial").exists());
    }
}

#[test]
fn an_output_without_a_mark_leaves_nothing_and_cannot_be_continued() {
    let dir = TempRun::new();
    let path = dir.path("out.jsonl");
    drop(create_output(&path, OutputFormat::Jsonl).unwrap());
    assert!(!dir.path("out.jsonl.partial").exists());
    let error = resume_output(&path, OutputFormat::Jsonl, 100).err().unwrap();
    assert!(error.to_string().contains("shorter than its mark"), "{error}");
    let error = resume_output(&path, OutputFormat::Parquet, 0).err().unwrap();
    assert_eq!(error.kind(), fanweave_batch::ErrorKind::Usage);
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // Infinite numbers are null in JSON.
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(".*", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn prompt() -> impl Strategy<Value = Prompt> {
    let message = (0..3, ".*").prop_map(|(role, text)| match role {
        0 => Message::system(text),
        1 => Message::user(text),
        _ => Message::assistant(text),
    });
    let parameters = (
        option::of(0.0..2.0f64),
        option::of(any::<u32>()),
        option::of(any::<i64>()),
        vec(".*", 0..3),
        btree_map("[a-z_]{1,8}", value(), 0..3),
    );
    (vec(message, 0..5), parameters).prop_map(|(messages, (temperature, max_tokens, seed, stop, extra))| {
        let mut parameters = Parameters::new();
        (parameters.temperature, parameters.max_tokens) = (temperature, max_tokens);
        (parameters.seed, parameters.stop) = (seed, stop);
        parameters.extra = extra.into_iter().map(|(name, value)| (format!("x_{name}"), value)).collect();
        let mut prompt = Prompt::new(messages);
        prompt.parameters = parameters;
        prompt
    })
}

fn input() -> impl Strategy<Value = Input> {
    let vars = btree_map(".*", value(), 0..5).prop_map(|map| {
        let mut vars = Vars::new();
        map.into_iter().for_each(|(name, value)| _ = vars.insert(name, value));
        Input::Vars(vars)
    });
    prop_oneof![".*".prop_map(Input::Text), vars, prompt().prop_map(Input::from)]
}

proptest! {
    #[test]
    fn a_row_is_the_same_after_it_was_text(
        input in input(),
        id in option::of(".*"),
        line in any::<u64>(),
        refused in option::of(".*"),
    ) {
        let mut row = match refused {
            Some(why) => InputRow::invalid(why),
            None => InputRow::new(input),
        };
        row.index = line / 2;
        row = row.with_line(line);
        row.id = id;
        let text = serde_json::to_string(&row).unwrap();
        let read: InputRow = serde_json::from_str(&text).unwrap();
        prop_assert_eq!((read.index, read.line, &read.id), (row.index, row.line, &row.id));
        prop_assert_eq!(content_key(&read), content_key(&row));
        match (&read.input, &row.input) {
            (Ok(read), Ok(row)) => {
                prop_assert_eq!(read, row);
                // The key is kept, and it is also that of the contents.
                prop_assert_eq!(content_key(&InputRow::new(read.clone())), content_key(&InputRow::new(row.clone())));
            }
            (Err(read), Err(row)) => {
                prop_assert_eq!((read.kind(), read.message()), (row.kind(), row.message()));
            }
            (read, row) => prop_assert!(false, "{read:?} is not {row:?}"),
        }
        prop_assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }
}

#[test]
fn a_changed_line_is_not_read() {
    let line = br#"{"crc":"00000000","row":{"key":"00000000000000000000000000000000"}}"#;
    assert!(decode_row(line).is_none() && decode_row(json!({ "row": 1 }).to_string().as_bytes()).is_none());
}
