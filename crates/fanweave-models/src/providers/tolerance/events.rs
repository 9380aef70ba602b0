//! Keep-alives, end markers, finish reasons and failures in streams.

use fanweave_core::{Error, ErrorKind, Message};

use super::streams::{DIALECTS, Event, events, rich, text, wire};
use super::{expected, protocol, seen, streamed};
use crate::providers::testing::decode;

/// Data of events that say nothing of an answer, as servers and gateways send them.
pub(super) const KEEP_ALIVES: [&str; 23] = [
    "",
    " ",
    "null",
    "true",
    "7",
    "[]",
    "[null]",
    "{}",
    "\"\"",
    "keep-alive",
    "[PING]",
    "PING",
    "OPENROUTER PROCESSING",
    r#"{"type":"ping"}"#,
    r#"{"status":"working"}"#,
    r#"{"message":"working"}"#,
    r#"{"detail":"queued","msg":"position 3"}"#,
    r#"{"error":null}"#,
    r#"{"error":{"code":0,"message":""}}"#,
    r#"[{"type":"ping"}]"#,
    r#"[{"detail":"queued"},{"message":"position 3"}]"#,
    r#"["queued", null, 3]"#,
    r#"[["queued"], [{"msg":"queued"}]]"#,
];

fn odd(name: &'static str, data: &str) -> Event {
    Event { name, data: data.to_owned() }
}

/// Checks that `dialect` reads its answers with `odd` at any place like the originals.
fn costs_nothing(dialect: &str, odd: &Event) {
    for original in [text(), rich(dialect)] {
        let plain = events(dialect, &original);
        for at in 0..=plain.len() {
            let mut with_odd = plain.clone();
            with_odd.insert(at, odd.clone());
            let stream = wire(dialect, &with_odd);
            let read = streamed(dialect, &stream).map_err(|error| error.to_string());
            assert_eq!(read, Ok(expected(&original)), "{dialect}: {stream}");
        }
    }
}

#[test]
fn a_keep_alive_of_any_form_costs_nothing_in_any_dialect() {
    for dialect in DIALECTS {
        for data in KEEP_ALIVES {
            costs_nothing(dialect, &odd("", data));
            if dialect != "ollama" {
                costs_nothing(dialect, &odd("ping", data));
                costs_nothing(dialect, &odd("tool.progress", data));
            }
        }
    }
}

/// Position after the event with the finish reason.
fn finished(dialect: &str, events: &[Event]) -> usize {
    let reason = match dialect {
        "openai" | "openai-completions" => "\"finish_reason\":\"",
        "openai-responses" => "response.completed",
        "anthropic" => "\"stop_reason\":\"",
        "gemini" => "finishReason",
        _ => "\"done\":true",
    };
    1 + events.iter().position(|event| event.data.contains(reason)).expect("every stream has a finish reason")
}

#[test]
fn a_finish_reason_and_a_clean_end_complete_an_answer_in_every_dialect() {
    const MARKERS: [&str; 8] = [
        "[DONE]",
        "[done]",
        "\"[DONE]\"",
        "DONE",
        "data: [DONE]",
        r#"{"type":"message_stop"}"#,
        r#"{"done": true}"#,
        "",
    ];
    for dialect in DIALECTS {
        let original = text();
        let all = events(dialect, &original);
        let finished = finished(dialect, &all);
        for marker in MARKERS {
            let mut cut = all[..finished].to_vec();
            cut.push(odd("", marker));
            let read = streamed(dialect, &wire(dialect, &cut)).expect(dialect);
            assert_eq!(
                (read.text, read.finish),
                (original.text.concat(), expected(&original).finish),
                "{dialect}"
            );
        }
    }
}

fn failed(dialect: &str, events: &[Event]) -> (Error, Message) {
    let stream = wire(dialect, events);
    let error = decode(&*protocol(dialect), &[stream.as_bytes()]).expect_err(&stream);
    let partial = error.partial().cloned().unwrap_or_else(|| Message::assistant(""));
    (error, partial)
}

#[test]
fn a_failure_keeps_its_words_beside_an_id_a_model_or_a_usage() {
    for dialect in DIALECTS {
        let all = events(dialect, &text());
        for fields in [
            r#""id":"x","model":"m""#,
            r#""responseId":"x","modelVersion":"m""#,
            r#""usage":{"prompt_tokens":3,"input_tokens":3}"#,
            r#""usageMetadata":{"promptTokenCount":3}"#,
            r#""model":"m","prompt_eval_count":3"#,
            r#""model":"m","choices":[]"#,
        ] {
            for words in [r#""message":"the sky fell""#, r#""success":false,"detail":"the sky fell""#] {
                // At the beginning, and in the middle.
                for at in [0, 1] {
                    let mut failing = all[..at].to_vec();
                    failing.push(odd("", &format!("{{{fields},{words}}}")));
                    failing.push(odd("", "[DONE]"));
                    let (error, _) = failed(dialect, &failing);
                    assert!(error.message().contains("the sky fell"), "{dialect} {fields} {words}: {error}");
                    assert!(error.is_retryable(), "{dialect}: {error}");
                }
                // An answer that follows is one.
                if !words.contains("success") && !fields.contains("usage") && !fields.contains("count") {
                    let mut answered = all.clone();
                    answered.insert(1, odd("", &format!("{{{fields},{words}}}")));
                    let read = streamed(dialect, &wire(dialect, &answered)).expect(dialect);
                    assert_eq!(read.text, "Hello there.", "{dialect} {fields} {words}");
                }
            }
        }
    }
}

#[test]
fn an_end_marker_without_a_finish_reason_is_incomplete() {
    for dialect in DIALECTS {
        let original = text();
        let all = events(dialect, &original);
        let reason = all[..finished(dialect, &all) - 1].to_vec();
        for marker in ["[DONE]", "[done]", "", r#"{"type":"message_stop"}"#] {
            let mut cut = reason.clone();
            cut.push(odd("", marker));
            let (error, partial) = failed(dialect, &cut);
            assert_eq!(error.kind(), ErrorKind::StreamIncomplete, "{dialect} {marker}");
            // The text of Gemini's last event comes with its finish reason.
            assert!(partial.text().starts_with("Hello "), "{dialect} {marker}: {partial:?}");
            // Nothing but the marker.
            let (error, _) = failed(dialect, &cut[reason.len()..]);
            assert_eq!(error.kind(), ErrorKind::StreamIncomplete, "{dialect} {marker}");
            assert!(error.is_retryable());
        }
    }
}

#[test]
fn an_error_event_of_any_name_says_the_words_of_the_server() {
    let names =
        ["error", "upstream_error", "Error", "exception", "failed", "FAILURE", "fatal", "stream-error"];
    let datas = [
        r#"{"message":"model overloaded, boom"}"#,
        r#"{"error":{"message":"model overloaded, boom"}}"#,
        r#"{"error":"model overloaded, boom"}"#,
        r#"{"detail":"model overloaded, boom"}"#,
        r#"["model overloaded, boom"]"#,
        r#""model overloaded, boom""#,
        "model overloaded, boom",
        r#"{"error_msg":"model overloaded, boom"}"#,
        r#"{"errors":[{"message":"model overloaded, boom"}]}"#,
    ];
    for dialect in DIALECTS {
        let original = text();
        let all = events(dialect, &original);
        let at = finished(dialect, &all) - 1;
        for data in datas {
            // Ollama's lines have no names.
            for name in names.into_iter().filter(|_| dialect != "ollama") {
                let mut events = all.clone();
                events.insert(at, odd(name, data));
                let (error, partial) = failed(dialect, &events);
                assert!(error.message().contains("boom"), "{dialect} {name} {data}: {error}");
                assert!(partial.text().starts_with("Hello "), "{dialect}: {partial:?}");
            }
            // A failure at the end, without a name, and without anything after it.
            if data.starts_with('{') {
                let mut events = all[..at].to_vec();
                events.push(odd("", data));
                let (error, partial) = failed(dialect, &events);
                assert!(error.message().contains("boom"), "{dialect} {data}: {error}");
                assert!(partial.text().starts_with("Hello "), "{dialect}: {partial:?}");
            }
            let (error, _) = failed(dialect, &[odd("", data)]);
            assert!(error.message().contains("boom"), "{dialect} {data}: {error}");
        }
    }
}

#[test]
fn a_finish_reason_that_means_a_failure_is_an_error_with_the_partial_answer() {
    for (dialect, reason) in [
        ("openai", "\"finish_reason\":\"stop\""),
        ("openai-completions", "\"finish_reason\":\"stop\""),
        ("anthropic", "\"stop_reason\":\"end_turn\""),
        ("gemini", "\"finishReason\":\"STOP\""),
        ("ollama", "\"done_reason\":\"stop\""),
    ] {
        let stream = wire(dialect, &events(dialect, &text()));
        let field = reason.split_once(':').expect("a field").0;
        let failed = stream.replace(reason, &format!("{field}:\"error\""));
        assert_ne!(failed, stream);
        let error = decode(&*protocol(dialect), &[failed.as_bytes()]).expect_err(&failed);
        assert_eq!(error.kind(), ErrorKind::Server, "{dialect}");
        assert_eq!(error.partial().map(Message::text).as_deref(), Some("Hello there."), "{dialect}");
        // An unknown reason is the provider's.
        let unknown = stream.replace(reason, &format!("{field}:\"pause_turn\""));
        let read = decode(&*protocol(dialect), &[unknown.as_bytes()]).expect(&unknown);
        assert_eq!(seen(&read).text, "Hello there.");
        // Malformed calls fail an answer only if it is empty.
        let malformed = stream.replace(reason, &format!("{field}:\"MALFORMED_FUNCTION_CALL\""));
        assert!(decode(&*protocol(dialect), &[malformed.as_bytes()]).is_ok(), "{dialect}");
        let empty = malformed.replace("Hello ", "").replace("there.", "");
        let error = decode(&*protocol(dialect), &[empty.as_bytes()]).expect_err(&empty);
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Decode, true), "{dialect}");
    }
}

#[test]
fn zeros_and_smaller_counts_replace_no_usage() {
    let later = [
        ("openai", r#"{"id":"c1","choices":[],"usage":{"prompt_tokens":0,"completion_tokens":3}}"#),
        (
            "openai-completions",
            r#"{"id":"c1","choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#,
        ),
        ("anthropic", r#"{"type":"message_delta","delta":{},"usage":{"input_tokens":0,"output_tokens":0}}"#),
        ("gemini", r#"{"usageMetadata":{"promptTokenCount":0,"candidatesTokenCount":0}}"#),
    ];
    for (dialect, data) in later {
        let mut with_zeros = events(dialect, &text());
        let end = with_zeros.len() - usize::from(dialect != "gemini");
        with_zeros.insert(end, odd("", data));
        let read = streamed(dialect, &wire(dialect, &with_zeros)).expect(data);
        assert_eq!(read, expected(&text()), "{dialect}");
    }
}
