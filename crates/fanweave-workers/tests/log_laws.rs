//! Laws of the log of a shard, over interleavings of writers, forks, lost answers and releases.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeMap;

use bytes::Bytes;
use fanweave_batch::__private::encode_row;
use fanweave_batch::FinishedRow;
use fanweave_workers::{Done, Kind, Record, Refused, ShardLog};
use proptest::prelude::*;
use serde_json::json;

const ROWS: u64 = 4;

/// An action of one of three writers.
#[derive(Debug, Clone)]
struct Action {
    writer: usize,
    kind: Kind,
    row: u64,
    is_ok: bool,
    generation: u64,
    /// Set if the broker appends the record although the writer expected another last record.
    is_forced: bool,
    /// Set if the writer does not learn that its record was appended.
    is_answer_lost: bool,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let kind = prop_oneof![
        3 => Just(Kind::Claim), 6 => Just(Kind::Rows), 1 => Just(Kind::Try), 1 => Just(Kind::Release),
    ];
    let action = (
        0..3_usize,
        kind,
        0..ROWS,
        any::<bool>(),
        0..2_u64,
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(writer, kind, row, is_ok, generation, is_forced, is_answer_lost)| Action {
            writer,
            kind,
            row,
            is_ok,
            generation,
            is_forced,
            is_answer_lost,
        });
    prop::collection::vec(action, 0..60)
}

fn line(row: u64, writer: usize, is_ok: bool) -> Bytes {
    let result = match is_ok {
        true => json!({ "answer": { "content": format!("by {writer}") } }),
        false => json!({ "error": { "kind": "server", "message": format!("by {writer}"), "attempts": 1 } }),
    };
    let key = fanweave_batch::RowKey::of(&row).unwrap().to_string();
    let record = json!({ "key": key, "index": row, "line": row + 1, "latency_ms": 1, "result": result });
    let row: FinishedRow = serde_json::from_value(record).unwrap();
    let mut line = Vec::new();
    encode_row(&row, &mut line);
    line.into()
}

/// Knowledge of the log that a writer has.
#[derive(Default, Clone)]
struct Known {
    last: u64,
    physical: u64,
    claims: u64,
}

proptest! {
    #[test]
    fn a_row_keeps_its_first_result_within_a_generation(actions in actions()) {
        let mut writers = vec![Known::default(); 3];
        let mut log = ShardLog::default();
        let mut records: Vec<(u64, Record)> = Vec::new();
        let mut sequence = 0;
        for action in actions {
            let known = &mut writers[action.writer];
            if action.kind == Kind::Claim {
                // A claim follows a read.
                (known.last, known.physical) = (log.last, log.physical);
                known.claims += 1;
            }
            let body = match action.kind {
                Kind::Rows => line(action.row, action.writer, action.is_ok),
                Kind::Try => action.row.to_string().into(),
                Kind::Claim | Kind::Release => Bytes::new(),
            };
            let record = Record {
                kind: action.kind,
                writer: format!("{}.{}", action.writer, known.claims),
                previous: known.last,
                rows: ROWS,
                done: 0,
                failed: 0,
                generation: action.generation.max(log.generation),
                body,
            };
            let expected = known.physical;
            if expected != log.physical && !action.is_forced {
                // The broker refuses it: whatever the writer decides, its record is not in the log.
                let is_republished = log.refused(&record, expected) == Refused::Republish;
                prop_assert_eq!(is_republished, log.last == record.previous && log.physical > expected);
                continue;
            }
            sequence += 1;
            let before = log.clone();
            log.apply(sequence, &record);
            records.push((sequence, record.clone()));
            let is_accepted = log.last == sequence;
            prop_assert_eq!(is_accepted && before.last != record.previous, false, "a fork is ignored");
            let is_owner = before.owner.as_ref() == Some(&record.writer);
            prop_assert!(!is_accepted || is_owner || record.kind == Kind::Claim);
            if !is_accepted {
                prop_assert_eq!(&log.done, &before.done);
                prop_assert_eq!(&log.owner, &before.owner);
            }
            let kept: BTreeMap<u64, Done> = before
                .done
                .iter()
                .filter(|(_, done)| done.is_ok || log.generation == before.generation)
                .map(|(index, done)| (*index, done.clone()))
                .collect();
            for (index, done) in &kept {
                prop_assert_eq!(log.done.get(index), Some(done), "a result that counts stays");
            }
            if before.is_complete(ROWS, before.generation) && log.generation == before.generation {
                prop_assert_eq!(&log.done, &before.done);
            }
            if action.is_answer_lost && is_accepted {
                // The writer publishes it again, is refused, reads the log and finds it there.
                prop_assert_eq!(log.refused(&record, expected), Refused::IsThere);
                let mut twice = log.clone();
                twice.apply(sequence + 1, &record);
                prop_assert_eq!(twice.last, log.last, "a second copy is a fork");
                prop_assert_eq!(&twice.done, &log.done);
            }
            (writers[action.writer].last, writers[action.writer].physical) = (sequence, sequence);
        }
        let read = ShardLog::of(records.iter().map(|(sequence, record)| (*sequence, record)));
        prop_assert_eq!((read.last, read.owner, read.done), (log.last, log.owner, log.done));
    }
}
