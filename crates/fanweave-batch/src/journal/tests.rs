use std::collections::BTreeMap;

use fanweave_core::ReplyBody;

use super::*;
use crate::answer::{Answer, Content};
use crate::disk::faults::{Fault, Faults};

fn manifest() -> Manifest {
    Manifest::new(BTreeMap::new(), None)
}

fn record(n: u64) -> Record {
    let result = Outcome::Answer(Box::<Answer>::default());
    let key = Key::of(&[&n.to_le_bytes()]);
    Record {
        key,
        index: n,
        line: n + 1,
        id: None,
        latency_ms: 1,
        cost_usd: None,
        maybe_billed_usd: None,
        time: None,
        result,
    }
}

fn open(path: &Path) -> Result<(Journal, PreviousRun)> {
    Journal::open(&Disk::default(), path, &manifest(), false, false)
}

/// A journal on a disk that is full for a moment at step number `at`, unless it cannot be opened.
fn failing(path: &Path, at: u64) -> Option<Journal> {
    let faults = std::sync::Arc::new(Faults::at(at, Fault::Moment));
    let disk = Disk { faults: Some(faults) };
    Journal::open(&disk, path, &manifest(), false, false).ok().map(|(journal, _)| journal)
}

#[test]
fn appended_records_can_be_read_back_before_and_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let (mut journal, previous) = open(&path).unwrap();
    assert!(previous.done.is_empty());
    let locations: Vec<_> = (0..200).map(|n| journal.append(&record(n)).unwrap()).collect();
    assert_eq!(journal.read(locations[7]).unwrap(), record(7));
    journal.finish().unwrap();
    drop(journal);

    let (journal, previous) = open(&path).unwrap();
    assert_eq!(previous.done.len(), 200);
    assert_eq!(journal.read(previous.done[&record(9).key]).unwrap(), record(9));
}

#[test]
fn the_last_record_of_a_row_wins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let (mut journal, _) = open(&path).unwrap();
    let failed = Record { result: Outcome::Error(Box::default()), ..record(1) };
    journal.append(&failed).unwrap();
    journal.append(&record(1)).unwrap();
    drop(journal);
    assert!(open(&path).unwrap().1.done[&record(1).key].is_ok());
}

#[test]
fn a_second_writer_is_locked_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let first = open(&path).unwrap();
    assert_eq!(open(&path).err().expect("it is locked").kind(), ErrorKind::Locked);
    drop(first);
    assert!(open(&path).is_ok());
}

#[test]
fn a_file_that_is_not_a_journal_of_this_version_is_not_modified() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let refused = |text: &[u8]| {
        std::fs::write(&path, text).unwrap();
        let error = open(&path).err().expect("it is refused");
        assert_eq!(error.kind(), ErrorKind::Journal);
        assert_eq!(std::fs::read(&path).unwrap(), text);
        error.to_string().replace(&path.display().to_string(), "JOURNAL")
    };
    let mut newer = Vec::new();
    let manifest = serde_json::json!({"journal": 9, "fanweave": "9.0.0", "fingerprint": {}, "input": null});
    record::encode(LineKind::Manifest, &manifest, &mut newer);
    let mut older = Vec::new();
    let manifest = serde_json::json!({"journal": 1, "fanweave": "0.0.1", "fingerprint": {}, "input": null});
    record::encode(LineKind::Manifest, &manifest, &mut older);
    let damaged = br#"{"crc":"00000000","manifest":{}}"#;
    let messages = [
        refused(b"my diary\n"),
        refused(b"my diary"),
        refused(&[damaged, &b"\n"[..]].concat()),
        refused(&newer),
        refused(&older),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r"
    JOURNAL: not a fanweave journal; move it or choose another output
    JOURNAL: not a fanweave journal; move it or choose another output
    JOURNAL: the first line is corrupt, so the run that this journal belongs to is unknown; start over (discards the journal's answers), or choose another output
    JOURNAL: the journal was written by fanweave 9.0.0 (journal format 9), and this version reads format 2; finish the run with that version, or start over (discards the journal's answers)
    JOURNAL: the journal was written by fanweave 0.0.1 (journal format 1), and this version reads format 2; finish the run with that version, or start over (discards the journal's answers)
    ");
}

#[test]
fn a_long_line_of_a_file_that_is_not_a_journal_is_not_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    std::fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
    let mut file = Disk::default().open(&path).unwrap();
    let error = recover(&mut file, &path, &manifest(), false).expect_err("it is refused");
    assert!(error.to_string().contains("not a fanweave journal"), "{error}");
    let mut rest = Vec::new();
    (&file).read_to_end(&mut rest).unwrap();
    assert!(rest.len() >= (1 << 20) - (1 << 16), "only {} bytes were left unread", rest.len());
}

#[test]
fn a_location_takes_at_most_sixteen_bytes() {
    assert_eq!(size_of::<Option<RowLocation>>(), 16);
}

#[test]
fn lines_after_a_torn_line_are_not_read_as_its_rest() {
    let mut torn = 0;
    for at in 0..24 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let Some(mut journal) = failing(&path, at) else { continue };
        let written: Vec<_> = (0..6).filter(|n| journal.append(&record(*n)).is_ok()).collect();
        torn += usize::from(written.len() < 6);
        drop(journal);
        let (journal, previous) = open(&path).unwrap();
        assert!(previous.notes.is_empty(), "step {at}: {:?}", previous.notes);
        assert_eq!(previous.done.len(), written.len(), "step {at}");
        for n in written {
            assert_eq!(journal.read(previous.done[&record(n).key]).unwrap(), record(n), "step {at}");
        }
    }
    assert!(torn >= 5, "{torn}");
}

#[test]
fn rows_of_one_write_are_all_in_the_journal_or_none_is() {
    let mut failed = 0;
    for at in 0..16 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let Some(mut journal) = failing(&path, at) else { continue };
        let rows = [0, 1, 2, 3, 4].map(record);
        let locations = journal.append_first(rows.iter()).unwrap();
        assert!(matches!(locations.len(), 0 | 5), "step {at}: {locations:?}");
        for (row, location) in rows.iter().zip(&locations) {
            assert_eq!(journal.read(*location).unwrap(), *row, "step {at}");
        }
        failed += usize::from(locations.is_empty());
        let last = journal.append(&record(9));
        drop(journal);
        let (_, previous) = open(&path).unwrap();
        assert!(previous.notes.is_empty(), "step {at}: {:?}", previous.notes);
        assert_eq!(previous.done.len(), locations.len() + usize::from(last.is_ok()), "step {at}");
    }
    assert!(failed >= 1, "no write failed");
}

#[test]
fn rows_beyond_the_size_of_a_write_are_left_for_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&folder.path().join("j")).unwrap();
    let long = |n| {
        let answer = Answer { content: Content::Text("x".repeat(40_000)), ..Answer::default() };
        Record { result: Outcome::Answer(Box::new(answer)), ..record(n) }
    };
    let rows = [0, 1, 2, 3].map(long);
    assert_eq!(journal.append_first(rows.iter()).unwrap().len(), 2);
    assert_eq!(journal.append_first(rows[2..].iter()).unwrap().len(), 2);
    assert!(journal.append_first([].iter()).unwrap().is_empty());

    let faults = std::sync::Arc::new(Faults::default());
    let mut journal = Journal::temporary(&Disk { faults: Some(faults.clone()) }).unwrap();
    let before = faults.steps();
    journal.append_first([0, 1, 2].map(record).iter()).unwrap();
    assert_eq!(faults.steps() - before, 1, "one write");
}

#[test]
fn an_answer_nested_to_the_limit_of_the_parser_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let (mut journal, _) = open(&path).unwrap();
    for depth in [1, 120, 124, 125, 126, 127] {
        let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let answer = Answer {
            content: Content::Json(value.clone()),
            raw: Some(ReplyBody::new(text)),
            ..Answer::default()
        };
        let deep = Record { result: Outcome::Answer(Box::new(answer)), ..record(depth as u64) };
        let location = journal.append(&deep).unwrap();
        assert_eq!(journal.read(location).unwrap(), deep, "{depth} levels");
    }
}

proptest::proptest! {
    #[test]
    fn a_number_is_read_back_as_it_was_written(number in proptest::num::f64::NORMAL) {
        let answer = Answer { content: Content::Json(number.into()), ..Answer::default() };
        let result = Outcome::Answer(Box::new(answer));
        let written = Record { cost_usd: Some(number), result, ..record(1) };
        let mut line = Vec::new();
        record::encode(LineKind::Row, &written, &mut line);
        proptest::prop_assert_eq!(row(&line).unwrap(), written);
    }
}
