//! Mutations: valid streams with the oddities of real servers at random places. Each oddity is labelled
//! beforehand: a benign one costs nothing at all, a harmful one is an error of a given kind that keeps what
//! came before it.
//!
//! `FANWEAVE_MUTATIONS=1000000` sets the number of streams. `tests/measure/mutations.sh` does it.

mod benign;
mod harmful;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use fanweave_core::{ErrorKind, Message, Result};
use fastrand::Rng;

use self::benign::Oddity;
use self::harmful::Harm;
use self::wire::Wire;
use super::streams::{DIALECTS, Event, Original, events};
use super::{expected, protocol, seen};
use crate::providers::json;
use crate::providers::testing::decode;
use crate::transport::reader::read_whole;
use crate::transport::sse::SseLimits;

/// Streams in a plain run of the tests.
const DEFAULT_COUNT: u64 = 6_000;

/// Fragments of texts. Each is used at most once in a stream.
const TEXTS: [&str; 22] = [
    "Hello ",
    "there.",
    "wörld ",
    "😀",
    "\u{FEFF}mark ",
    "data: x\n\n",
    "event: error\n",
    "[DONE]",
    "data: [DONE]\n\n",
    "{\"error\":{\"message\":\"no\"}}",
    "{\"a\":1}{\"a\":2}",
    "a\r\nb\rc",
    "\"quoted\" \\ / \\n ",
    "\u{2028}\u{85}\u{0}",
    " ",
    "\n",
    "null",
    "00",
    "}]",
    "<b>&amp;",
    "NaN, ",
    ": comment",
];

/// Arguments of calls, each in the fragments of a stream.
const ARGUMENTS: [&[&str]; 9] = [
    &["{}"],
    &["{\"city\":", "\"Paris\"}"],
    &["{\"city\":\"Rome\"}"],
    &["{\"city\":\"Ro", "me\"}"],
    &["{", "\"a\"", ":", "{\"b\":[1,2,{\"c\":null}]}", "}"],
    &["{\"text\":\"}{\\\"", "}{\"}"],
    &["{\"text\":\"😀 ü\",", "\"n\":-1}"],
    &["{\"lines\":\"a\\nb\"", "}"],
    &["{\"empty\":{},", "\"list\":[]", "}"],
];

const NAMES: [&str; 3] = ["weather", "time", "look_up"];

const IDS: [&str; 4] = ["call_a", "call_b", "toolu_01", "x"];

/// A random answer that `dialect` can say.
fn answer(dialect: &str, random: &mut Rng) -> Original {
    let mut texts = TEXTS;
    random.shuffle(&mut texts);
    let mut texts = texts.into_iter();
    let mut some = |at_most: usize, random: &mut Rng| {
        let count = random.usize(..=at_most);
        texts.by_ref().take(count).collect::<Vec<_>>()
    };
    let (reasoning, text) = (some(3, random), some(6, random));
    let calls: Vec<_> = IDS
        .into_iter()
        .take(random.usize(..=IDS.len()) * usize::from(random.bool()))
        .map(|id| {
            (id, *random.choice(NAMES.iter()).expect("a name"), random.choice(ARGUMENTS).expect("some"))
        })
        .map(|(id, name, arguments)| (id, name, arguments.to_vec()))
        .collect();
    let text = if text.is_empty() && calls.is_empty() { vec!["Yes."] } else { text };
    match dialect {
        "openai-completions" if text.is_empty() => Original { text: vec!["Yes."], ..Original::default() },
        "openai-completions" => Original { text, ..Original::default() },
        _ => Original { reasoning, text, calls },
    }
}

/// A stream and what was done to it.
struct Case {
    dialect: &'static str,
    original: Original,
    events: Vec<Event>,
    benign: BTreeSet<Oddity>,
    harm: Option<Harm>,
}

/// Returns true for an event with the finish reason.
fn is_finish(dialect: &str, event: &Event) -> bool {
    let reason = match dialect {
        "openai" | "openai-completions" => "\"finish_reason\":\"",
        "openai-responses" => "\"type\":\"response.completed\"",
        "anthropic" => "\"stop_reason\":\"",
        "gemini" => "\"finishReason\":\"",
        _ => "\"done\":true",
    };
    event.data.contains(reason)
}

/// Position of the event with the finish reason.
fn finish(dialect: &str, events: &[Event]) -> usize {
    let position = events.iter().position(|event| is_finish(dialect, event));
    position.expect("every stream has a finish reason")
}

/// The texts of the first `count` events, which a partial answer must have.
fn said(original: &Original, events: &[Event]) -> String {
    let is_there = |text: &&&str| {
        let json = serde_json::to_string(text).expect("JSON");
        events.iter().any(|event| event.data.contains(&json))
    };
    original.text.iter().take_while(is_there).copied().collect()
}

/// Reads `bytes` in random pieces.
fn read(dialect: &str, bytes: &[u8], random: &mut Rng) -> Result<Message> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    let max_bytes = [3, 40, 4_096][random.usize(..3)];
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.usize(1..=max_bytes).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    decode(&*protocol(dialect), &pieces)
}

/// Checks what was read against the label. An error says what is wrong.
fn check(case: &Case, kinds: &[ErrorKind], said: &str, read: Result<Message>) -> Result<(), String> {
    let Case { dialect, original, benign, .. } = case;
    match (read, kinds) {
        (Ok(message), []) => {
            let (seen, expected) = (seen(&message), expected(original));
            if seen != expected {
                return Err(format!("read as {seen:?}, not {expected:?}"));
            }
            let ids: Vec<_> = message.tool_calls().map(|call| &*call.id).collect();
            let are_kept = ids.iter().eq(original.calls.iter().map(|(id, ..)| id));
            if !are_kept && !benign.contains(&Oddity::NoIds) {
                return Err(format!("{dialect}: the ids are {ids:?}"));
            }
            let unique: BTreeSet<_> = ids.iter().filter(|id| !id.is_empty()).collect();
            if unique.len() != ids.len() { Err(format!("ids are not unique: {ids:?}")) } else { Ok(()) }
        }
        (Err(error), []) => Err(format!("the answer was lost: {error}")),
        (Ok(message), _) => Err(format!("a failure was read as {:?}", seen(&message))),
        (Err(error), kinds) if !kinds.contains(&error.kind()) => {
            Err(format!("the kind is {:?}, not one of {kinds:?}: {error}", error.kind()))
        }
        (Err(error), _) => {
            let partial = error.partial().map(Message::text).unwrap_or_default();
            let whole = original.text.concat();
            if whole.starts_with(&partial) && partial.len() >= said.len() {
                Ok(())
            } else {
                Err(format!("the partial answer is {partial:?}, of {said:?} ({whole:?}): {error}"))
            }
        }
    }
}

/// Makes, mutates and reads one stream.
fn run(seed: u64, counts: &mut BTreeMap<String, u64>) -> Result<(), String> {
    let random = &mut Rng::with_seed(seed);
    let dialect = *random.choice(DIALECTS.iter()).expect("a dialect");
    let original = answer(dialect, random);
    let events = events(dialect, &original);
    let mut case = Case { dialect, original, events, benign: BTreeSet::new(), harm: None };
    for _ in 0..random.usize(..5) {
        let oddity = *random.choice(Oddity::ALL.iter()).expect("an oddity");
        if oddity.fits(&case.benign) && oddity.apply(&mut case, random) {
            case.benign.insert(oddity);
        }
    }
    let mut kinds: &[ErrorKind] = &[];
    let mut at = case.events.len();
    if random.bool() {
        let harm = *random.choice(Harm::ALL.iter()).expect("a harm");
        if let Some(harmed) = harm.apply(&mut case, random) {
            (kinds, at) = (harmed.kinds, harmed.at);
            case.harm = Some(harm);
        }
    }
    let Case { dialect, original, events, .. } = &case;
    let wire = Wire::random(dialect, &case.benign, random);
    let (mut bytes, ends) = wire.write(dialect, events, random);
    match case.harm {
        Some(Harm::Cut) => {
            let end = ends[finish(dialect, events)];
            bytes.truncate(random.usize(..end));
            at = ends.iter().take_while(|end| **end <= bytes.len()).count();
        }
        Some(Harm::NoUtf8) => {
            // The quote after the last brace or comma.
            let end = ends[at];
            let start = end - events[at].data.len();
            let quote = bytes[start..end].iter().rposition(|byte| *byte == b'"');
            bytes[start + quote.expect("each object has a key")] = 0xff;
        }
        _ => {}
    }
    for oddity in &case.benign {
        *counts.entry(format!("benign {oddity:?}")).or_default() += 1;
    }
    *counts.entry(format!("framing {wire:?}")).or_default() += 1;
    let harm = case.harm.map_or("none".to_owned(), |harm| format!("{harm:?}"));
    *counts.entry(format!("harmful {harm}")).or_default() += 1;
    let mut kinds = kinds.to_vec();
    // If no answer comes, the words of a keep-alive are those of a failure.
    let has_words = case.benign.contains(&Oddity::KeepAlive) && kinds.contains(&ErrorKind::StreamIncomplete);
    kinds.extend(has_words.then_some(ErrorKind::Server));
    let said = said(original, &events[..at.min(events.len())]);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        check(&case, &kinds, &said, read(dialect, &bytes, random)).map_err(|e| format!("streamed: {e}"))?;
        // One chunk alone is a whole answer.
        if !kinds.is_empty() && json::read(&bytes).is_ok() {
            return Ok(());
        }
        let whole = read_whole(&*protocol(dialect), &bytes, SseLimits::default());
        let mut kinds = kinds.clone();
        // A body without any event of an answer is unreadable, not incomplete.
        kinds.extend(kinds.contains(&ErrorKind::StreamIncomplete).then_some(ErrorKind::Decode));
        check(&case, &kinds, "", whole).map_err(|e| format!("whole: {e}"))
    }));
    let outcome = outcome.unwrap_or_else(|_| Err("a panic".to_owned()));
    let Case { dialect, benign, harm, .. } = &case;
    outcome.map_err(|what| {
        let bytes = String::from_utf8_lossy(&bytes);
        format!("seed {seed}: {dialect}, {benign:?}, {wire:?}, {harm:?}: {what}\n{bytes}")
    })
}

#[test]
fn benign_oddities_cost_nothing_and_harmful_ones_are_errors_of_their_kind() {
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse().expect("a number"));
    let first = number("FANWEAVE_MUTATIONS_SEED").unwrap_or(0);
    let count = number("FANWEAVE_MUTATIONS").unwrap_or(DEFAULT_COUNT);
    let mut counts = BTreeMap::new();
    let mut wrong = Vec::new();
    for seed in first..first + count {
        wrong.extend(run(seed, &mut counts).err());
        if wrong.len() == 40 {
            break;
        }
    }
    counts.iter().for_each(|(name, count)| println!("{name}: {count}"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let expected = Oddity::ALL.len() + Harm::ALL.len() + 1;
    let seen = counts.keys().filter(|name| !name.starts_with("framing")).count();
    assert!(count < 1_000 || seen == expected, "{seen} of {expected} kinds were tried: {counts:?}");
}
