//! Answers that only seem finished, or only seem to have failed: streamed and whole.

use fanweave_core::{ErrorKind, FinishReason, Message};
use serde_json::{Value, json};

use super::streams::{DIALECTS, Event, events, text, whole, wire};
use super::{expected, protocol, seen, streamed};
use crate::providers::testing::decode;
use crate::transport::reader::read_whole;
use crate::transport::sse::SseLimits;

/// The field of the finish reason, and its value for a complete text.
const REASONS: [(&str, &str, &str); 5] = [
    ("openai", "\"finish_reason\":", "\"stop\""),
    ("openai-completions", "\"finish_reason\":", "\"stop\""),
    ("anthropic", "\"stop_reason\":", "\"end_turn\""),
    ("gemini", "\"finishReason\":", "\"STOP\""),
    ("ollama", "\"done_reason\":", "\"stop\""),
];

/// The stream and the whole answer with another finish reason.
fn with_reason(dialect: &str, field: &str, plain: &str, reason: &str) -> [String; 2] {
    let (from, to) = (format!("{field}{plain}"), format!("{field}\"{reason}\""));
    [wire(dialect, &events(dialect, &text())), whole(dialect, &text())].map(|plain| {
        let changed = plain.replace(&from, &to);
        assert_ne!(changed, plain);
        changed
    })
}

fn data(events: &[Value]) -> String {
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

#[test]
fn a_reason_that_says_nothing_finishes_no_answer() {
    for (dialect, field, plain) in REASONS.into_iter().filter(|(dialect, ..)| *dialect != "ollama") {
        for reason in ["", "null", "None", "FINISH_REASON_UNSPECIFIED"] {
            let [stream, body] = with_reason(dialect, field, plain, reason);
            let error = streamed(dialect, &stream).expect_err(&stream);
            assert_eq!(error.kind(), ErrorKind::StreamIncomplete, "{dialect} {reason}");
            assert_eq!(error.partial().map(Message::text).as_deref(), Some("Hello there."), "{dialect}");
            let empty = body.replace("Hello there.", "").replace("Hello ", "").replace("there.", "");
            let error = protocol(dialect).response(empty.as_bytes()).expect_err(&empty);
            assert_eq!(error.kind(), ErrorKind::Decode, "{dialect} {reason}");
        }
    }
}

#[test]
fn a_reason_with_the_word_of_a_failure_is_a_failure_in_every_dialect() {
    for (dialect, field, plain) in REASONS {
        for (reason, kind) in [
            ("engine_overloaded", ErrorKind::Overloaded),
            ("overloaded_error", ErrorKind::Overloaded),
            ("UNAVAILABLE", ErrorKind::Overloaded),
            ("internal_server_error", ErrorKind::Server),
            ("api_error", ErrorKind::Server),
            ("exception", ErrorKind::Server),
            ("request_timeout", ErrorKind::Timeout),
        ] {
            let [stream, body] = with_reason(dialect, field, plain, reason);
            let read = [
                decode(&*protocol(dialect), &[stream.as_bytes()]),
                protocol(dialect).response(body.as_bytes()),
            ];
            for read in read {
                let error = read.expect_err(&stream);
                assert_eq!(error.kind(), kind, "{dialect} {reason}");
                assert!(error.is_retryable() && error.message().contains(reason), "{dialect}: {error}");
                assert_eq!(error.partial().map(Message::text).as_deref(), Some("Hello there."), "{dialect}");
            }
        }
    }
}

#[test]
fn a_reason_of_another_dialect_is_understood() {
    for (dialect, field, plain) in REASONS {
        for (reason, finish) in [
            ("MAX_TOKENS", FinishReason::Length),
            ("length", FinishReason::Length),
            ("max_output_tokens", FinishReason::Length),
            ("content_filter", FinishReason::ContentFilter),
            ("SAFETY", FinishReason::ContentFilter),
            ("eos_token", FinishReason::Stop),
        ] {
            for read in with_reason(dialect, field, plain, reason) {
                let message =
                    read_whole(&*protocol(dialect), read.as_bytes(), SseLimits::default()).expect(&read);
                assert_eq!(message.finish_reason(), Some(&finish), "{dialect} {reason}");
            }
        }
    }
}

#[test]
fn an_event_that_says_that_it_failed_fails_a_stream_that_continues() {
    let failures = [
        ("", r#"{"success":false,"message":"the sky fell","code":500}"#),
        ("", r#"{"message":"the sky fell","status":503}"#),
        ("", r#"{"status":"failed","detail":"the sky fell"}"#),
        ("stream.failed", r#"{"detail":"the sky fell"}"#),
        ("response.failed", r#"{"response":{"error":{"message":"the sky fell"}}}"#),
    ];
    for dialect in DIALECTS {
        for (name, failure) in failures {
            if dialect == "ollama" && !name.is_empty() {
                continue;
            }
            let mut all = events(dialect, &text());
            let at = all.iter().position(|event| event.data.contains("there.")).expect("the text");
            all.insert(at, Event { name, data: failure.to_owned() });
            let stream = wire(dialect, &all);
            let error = streamed(dialect, &stream).expect_err(&stream);
            assert!(error.message().contains("the sky fell"), "{dialect} {name} {failure}: {error}");
        }
        // The failure of a tool on the server is not one of the answer.
        let mut all = events(dialect, &text());
        all.insert(1, Event { name: "response.mcp_call.failed", data: "{\"sequence_number\":3}".to_owned() });
        let read = streamed(dialect, &wire(dialect, &all)).unwrap();
        assert_eq!(read, expected(&text()), "{dialect}");
    }
}

#[test]
fn a_failure_beside_the_choices_is_not_lost() {
    let chunk = |more: Value| {
        let choice = json!({ "index": 0, "delta": { "content": "Hel" }, "finish_reason": "stop" });
        let mut chunk = json!({ "id": "c", "choices": [choice] });
        chunk["x_groq"] = more;
        chunk
    };
    let failed = chunk(json!({ "id": "r", "error": "the sky fell" }));
    for body in [data(std::slice::from_ref(&failed)), data(&[chunk(json!({ "id": "r" })), failed])] {
        let error = streamed("openai", &body).expect_err(&body);
        assert!(error.message().contains("the sky fell"), "{error}");
    }
    let choice = |error: Value| json!({ "text": "Hel", "finish_reason": "stop", "error": error });
    let body = |error: Value| json!({ "id": "c", "choices": [choice(error)] });
    for error in [json!({ "message": "the sky fell" }), json!("the sky fell")] {
        let body = body(error);
        for read in [
            protocol("openai-completions").response(body.to_string().as_bytes()),
            decode(&*protocol("openai-completions"), &[data(std::slice::from_ref(&body)).as_bytes()]),
        ] {
            let error = read.unwrap_err();
            assert!(error.message().contains("the sky fell"), "{error}");
            assert_eq!(error.partial().map(Message::text).as_deref(), Some("Hel"));
        }
    }
    let none = body(json!({}));
    let read = protocol("openai-completions").response(none.to_string().as_bytes()).unwrap();
    assert_eq!(read.text(), "Hel");
}

#[test]
fn a_response_that_says_that_it_is_not_finished_is_an_error() {
    let item = json!({ "type": "message", "content": [{ "type": "output_text", "text": "Hel" }] });
    let unfinished = [
        ("openai-responses", json!({ "status": "in_progress", "output": [item] }), "Hel"),
        ("openai-responses", json!({ "status": "queued", "output": [] }), ""),
        ("ollama", json!({ "model": "m", "message": { "content": "Hel" }, "done": false }), "Hel"),
        ("ollama", json!({ "model": "m", "message": { "content": "Hel" }, "done": "false" }), "Hel"),
    ];
    for (dialect, body, partial) in unfinished {
        let error = protocol(dialect).response(body.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StreamIncomplete, "{body}");
        assert_eq!(error.partial().map(Message::text).unwrap_or_default(), partial, "{body}");
    }
    // The event's name says what the status does not.
    let stream = |name: &str, response: Value| {
        let delta = json!({ "type": "response.output_text.delta", "delta": "Hel" });
        decode(
            &*protocol("openai-responses"),
            &[data(&[delta, json!({ "type": name, "response": response })]).as_bytes()],
        )
    };
    let details = json!({ "incomplete_details": { "reason": "max_output_tokens" } });
    let cut = stream("response.incomplete", details).unwrap();
    assert_eq!(cut.finish_reason(), Some(&FinishReason::Length));
    let done = stream("response.completed", json!({ "status": "in_progress" })).unwrap();
    assert_eq!(done.finish_reason(), Some(&FinishReason::Stop));
    let failed = json!({ "status": "failed", "error": { "message": "the sky fell" } });
    assert!(stream("response.completed", failed).unwrap_err().message().contains("the sky fell"));
}

#[test]
fn the_end_of_ollama_is_known_in_any_form() {
    for end in [
        json!({ "done": true }),
        json!({ "done": "true" }),
        json!({ "done": 1 }),
        json!({ "done_reason": "stop" }),
        json!({ "done": null, "done_reason": "stop" }),
    ] {
        let stream = format!(
            "{}\n{end}\n",
            json!({ "model": "m", "message": { "content": "Hello." }, "done": false })
        );
        let read = streamed("ollama", &stream).expect(&stream);
        assert_eq!((&*read.text, read.finish), ("Hello.", Some(FinishReason::Stop)), "{stream}");
    }
}

#[test]
fn every_candidate_that_was_started_must_be_finished() {
    let choice = |index: u8, text: &str, finish: Value| json!({ "index": index, "delta": { "content": text }, "finish_reason": finish });
    let chunk = |choices: &[Value]| json!({ "id": "c", "choices": choices });
    let begun = chunk(&[choice(0, "Hello.", json!(null)), choice(1, "Oth", json!(null))]);
    let (one, other) = (chunk(&[choice(0, "", json!("stop"))]), chunk(&[choice(1, "er", json!("stop"))]));
    let error = streamed("openai", &data(&[begun.clone(), one.clone()])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StreamIncomplete);
    assert_eq!(error.partial().map(Message::text).as_deref(), Some("Hello."));
    for order in [[begun.clone(), one.clone(), other.clone()], [begun, other, one]] {
        assert_eq!(streamed("openai", &data(&order)).unwrap().text, "Hello.");
    }
}

#[test]
fn candidates_may_be_numbered_from_one() {
    let choice = |text: &str, finish: Value| {
        json!({ "id": "c", "choices": [{
            "index": 1, "text": text, "delta": { "content": text }, "finish_reason": finish,
        }] })
    };
    let chat = data(&[choice("Hel", json!(null)), choice("lo.", json!("stop"))]);
    let candidate =
        json!({ "index": 1, "content": { "parts": [{ "text": "Hello." }] }, "finishReason": "STOP" });
    let gemini = json!({ "candidates": [candidate] });
    let read = protocol("gemini").response(gemini.to_string().as_bytes()).unwrap();
    assert_eq!(seen(&read).text, "Hello.");
    for (dialect, stream) in [("openai", &chat), ("openai-completions", &chat), ("gemini", &data(&[gemini]))]
    {
        assert_eq!(streamed(dialect, stream).expect(dialect).text, "Hello.", "{dialect}");
    }
}

#[test]
fn a_repeated_body_is_read_once() {
    for dialect in ["openai", "openai-responses"] {
        let body = whole(dialect, &text()).repeat(2);
        let read = read_whole(&*protocol(dialect), body.as_bytes(), SseLimits::default()).expect(&body);
        assert_eq!(seen(&read).text, "Hello there.", "{dialect}");
    }
}

/// Some servers send only the first piece of a text in a delta, or one index for all items.
#[test]
fn what_only_an_event_at_the_end_states_is_not_lost() {
    let delta = |text: &str| {
        json!({ "type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "m1",
            "delta": text })
    };
    let text_done = |id: &str, content: u8, text: &str| {
        json!({ "type": "response.output_text.done", "output_index": 0, "content_index": content, "item_id": id,
            "text": text })
    };
    let part = |text: &str| json!({ "type": "output_text", "text": text });
    let message = |id: &str, content: Value| json!({ "id": id, "type": "message", "content": content });
    let item_done =
        |item: Value| json!({ "type": "response.output_item.done", "output_index": 0, "item": item });
    let added = |id: &str| json!({ "type": "response.output_item.added", "output_index": 0, "item": message(id, json!([])) });
    let end = |output: Value| json!({ "type": "response.completed", "response": { "output": output } });
    let nothing = || end(json!([]));
    let refusal = json!([part("Hel"), { "type": "refusal", "refusal": "I can't." }]);
    let refused = "HelI can't.";
    let cases = [
        (vec![delta("Hel"), text_done("m1", 1, "lo."), nothing()], "Hello."),
        (
            vec![delta("Hel"), item_done(message("m1", json!([part("Hel"), part("lo.")]))), nothing()],
            "Hello.",
        ),
        (vec![delta("Hel"), text_done("m1", 0, "Hello."), nothing()], "Hello."),
        (vec![delta("Hel"), end(json!([message("m1", json!([part("Hello.")]))]))], "Hello."),
        (vec![delta("Hel"), end(json!([message("m9", json!("Hello."))]))], "Hello."),
        (
            vec![
                delta("Hel"),
                end(json!([message("m1", json!([part("Hel")])), message("m2", json!([part("lo.")]))])),
            ],
            "Hello.",
        ),
        (
            vec![
                added("m1"),
                delta("Hel"),
                text_done("m1", 0, "Hel"),
                added("m2"),
                text_done("m2", 0, "lo."),
                item_done(message("m2", json!([part("lo.")]))),
                nothing(),
            ],
            "Hello.",
        ),
        (
            vec![
                added("m1"),
                delta("Hel"),
                text_done("m2", 0, "lo."),
                item_done(message("m2", json!([part("lo.")]))),
                nothing(),
            ],
            "Hello.",
        ),
        (vec![delta("Hel"), item_done(message("m1", refusal.clone())), nothing()], refused),
        (vec![delta("Hel"), end(json!([message("m1", refusal)]))], refused),
        (
            vec![
                json!({ "type": "response.completed", "response": { "output": null, "output_text": "Hello." } }),
            ],
            "Hello.",
        ),
        // Ids that change with each event, and pieces without numbers.
        (
            vec![
                added("a"),
                delta("Hello."),
                text_done("b", 0, "Hello."),
                item_done(message("c", json!([part("Hello.")]))),
                end(json!([message("d", json!([part("Hello.")]))])),
            ],
            "Hello.",
        ),
        (
            vec![
                json!({ "type": "response.output_text.delta", "item_id": "x", "delta": "Hel" }),
                json!({ "type": "response.output_text.delta", "item_id": "y", "delta": "lo." }),
                json!({ "type": "response.output_text.done", "item_id": "z", "text": "Hello." }),
                end(json!([message("d", json!([part("Hello.")]))])),
            ],
            "Hello.",
        ),
        (
            vec![
                json!({ "type": "response.output_text.delta", "output_index": 0, "delta": "Hello." }),
                text_done("m1", 1, "lo."),
                end(json!([message("m1", json!([part("Hel"), part("lo.")]))])),
            ],
            "Hello.",
        ),
        // White space that the final response omits.
        (vec![delta("\nHello."), end(json!([message("m9", json!("Hello."))]))], "\nHello."),
    ];
    for (events, text) in cases {
        let read = streamed("openai-responses", &data(&events)).expect(text);
        let finish = if text == refused { FinishReason::Refusal } else { FinishReason::Stop };
        assert_eq!((&*read.text, read.finish), (text, Some(finish)), "{events:?}");
    }
}
