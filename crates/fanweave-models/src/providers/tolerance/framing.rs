//! Framing: bodies of another kind than requested, and events that are separated oddly.

use fanweave_core::ErrorKind;

use super::events::KEEP_ALIVES;
use super::streams::{DIALECTS, events, rich, text, whole, wire};
use super::{expected, protocol, seen, streamed};
use crate::providers::testing::decode;
use crate::transport::reader::read_whole;
use crate::transport::sse::SseLimits;

#[test]
fn a_body_is_what_its_bytes_say_in_every_dialect() {
    for dialect in DIALECTS {
        for original in [text(), rich(dialect)] {
            let (all, body) = (events(dialect, &original), whole(dialect, &original));
            let stream = wire(dialect, &all);
            let lines: String = all.iter().map(|event| format!("{}\n", event.data)).collect();
            let with_data: String = all.iter().map(|event| format!("data: {}\n\n", event.data)).collect();
            let objects: Vec<_> = all.iter().filter(|event| event.data.starts_with('{')).collect();
            let join = |by: &str| objects.iter().map(|event| &*event.data).collect::<Vec<_>>().join(by);
            let indented = |json: &str| {
                let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
                format!("{json:#}")
            };
            let all_indented: Vec<_> = objects.iter().map(|event| indented(&event.data)).collect();
            for bytes in [
                &stream,
                &lines,
                &with_data,
                &body,
                &format!("\n{body}\n"),
                &format!("\u{FEFF}{body}"),
                &indented(&body),
                &format!("data: {body}\n\n"),
                &format!("data: {}\n\ndata: [DONE]\n\n", join("")),
                &join(""),
                &format!("[{}]", join(",")),
                &format!("[{}\n]\n", join("\n,")),
                &all_indented.join("\n"),
                &all_indented.join("\r\n\r\n"),
                &format!("[{}\n]\n", all_indented.join("\n,\r\n")),
            ] {
                let read = read_whole(&*protocol(dialect), bytes.as_bytes(), SseLimits::default());
                let read = read.map(|message| seen(&message)).map_err(|error| error.to_string());
                assert_eq!(read, Ok(expected(&original)), "{dialect}, plain: {bytes}");
                let read = streamed(dialect, bytes).map_err(|error| error.to_string());
                assert_eq!(read, Ok(expected(&original)), "{dialect}, streamed: {bytes}");
                let bytes: Vec<_> = bytes.as_bytes().chunks(7).collect();
                let read = decode(&*protocol(dialect), &bytes).map(|message| seen(&message));
                assert_eq!(read.map_err(|e| e.to_string()), Ok(expected(&original)), "{dialect}: {bytes:?}");
            }
        }
    }
}

#[test]
fn a_keep_alive_in_a_list_with_the_answer_costs_nothing() {
    let is_json = |data: &&&str| serde_json::from_str::<serde_json::Value>(data).is_ok();
    for dialect in DIALECTS {
        for original in [text(), rich(dialect)] {
            let all = events(dialect, &original);
            let objects: Vec<_> =
                all.iter().map(|event| &*event.data).filter(|data| data.starts_with('{')).collect();
            for keep_alive in KEEP_ALIVES.iter().filter(is_json) {
                for at in [0, 1, objects.len() - 1, objects.len()] {
                    let mut with_it = objects.clone();
                    with_it.insert(at, keep_alive);
                    let list = format!("[{}]", with_it.join(","));
                    for bytes in [format!("data: {list}\n\n"), format!("{list}\n")] {
                        let streamed = streamed(dialect, &bytes).map_err(|error| error.to_string());
                        assert_eq!(streamed, Ok(expected(&original)), "{dialect}, streamed: {bytes}");
                        let read = read_whole(&*protocol(dialect), bytes.as_bytes(), SseLimits::default());
                        let read = read.map(|message| seen(&message)).map_err(|error| error.to_string());
                        assert_eq!(read, Ok(expected(&original)), "{dialect}, plain: {bytes}");
                    }
                }
            }
        }
    }
}

#[test]
fn one_line_break_between_events_and_byte_order_marks_cost_nothing() {
    for dialect in DIALECTS {
        for original in [text(), rich(dialect)] {
            let stream = wire(dialect, &events(dialect, &original));
            let marked: String = stream
                .split_inclusive('\n')
                .map(|line| if line == "\n" { line.to_owned() } else { format!("\u{FEFF}{line}") })
                .collect();
            for odd in [stream.replace("\n\n", "\n"), stream.replace('\n', "\r\n"), marked] {
                let read = streamed(dialect, &odd).map_err(|error| error.to_string());
                assert_eq!(read, Ok(expected(&original)), "{dialect}: {odd}");
            }
        }
    }
}

#[test]
fn llama_cpp_reports_failures_in_a_field_named_error() {
    let error = "error: {\"code\":400,\"message\":\"the request exceeds the available context size\",\"type\":\"exceed_context_size_error\"}\n\n";
    for before in ["", "data: {\"choices\":[{\"delta\":{\"content\":\"Half\"}}]}\n\n"] {
        let failed = streamed("llamacpp", &format!("{before}{error}")).expect_err(before);
        assert_eq!(failed.kind(), ErrorKind::ContextLength, "{failed}");
        assert_eq!(failed.partial().is_some(), !before.is_empty());
    }
}

#[test]
fn a_failure_in_events_is_known_where_a_whole_answer_was_requested() {
    for dialect in DIALECTS {
        let read = |bytes: &str| read_whole(&*protocol(dialect), bytes.as_bytes(), SseLimits::default());
        let error = "data: {\"error\":{\"message\":\"slow down\",\"code\":429}}\n\n";
        let failed = read(error).unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::RateLimited, "{dialect}: {failed}");
        // A truncated stream keeps its beginning.
        let all = events(dialect, &text());
        let begun = all.iter().position(|event| event.data.contains("Hello ")).unwrap();
        // One line of Ollama is a whole body.
        let end = begun + usize::from(dialect == "ollama");
        let cut = read(&wire(dialect, &all[..=end])).unwrap_err();
        assert_eq!(cut.kind(), ErrorKind::StreamIncomplete, "{dialect}: {cut}");
        assert!(cut.partial().is_some(), "{dialect}");
        assert_eq!(read("no JSON").unwrap_err().kind(), ErrorKind::Decode, "{dialect}");
    }
}
