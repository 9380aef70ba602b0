use super::*;

/// The text and the usage of the second event, if it is like the first one.
fn repeated(first: &str, deltas: &[Delta], second: &str) -> Option<(String, Option<String>)> {
    let mut last = Repeated::default();
    let usage = |json: &str| {
        let counts: serde_json::Value = serde_json::from_str(json).ok()?;
        Some(Usage::new(counts["n"].as_u64()?, 0))
    };
    last.remember(&SseEvent::new("", first), deltas, usage);
    let Repetition { delta, usage } = last.read(&SseEvent::new("", second))?;
    let text = match delta {
        Delta::Text { part: 3, text } => text,
        Delta::Reasoning { part: 3, text, signature: None } => format!("reasoning: {text}"),
        other => panic!("{other:?}"),
    };
    Some((text, usage.map(str::to_owned)))
}

fn text(text: &str) -> Vec<Delta> {
    vec![Delta::Text { part: 3, text: text.to_owned() }]
}

/// The text of the second event.
fn of(first: &str, said: &str, second: &str) -> Option<String> {
    repeated(first, &text(said), second).map(|(text, _)| text)
}

#[test]
fn an_event_that_differs_in_its_text_alone_is_a_repetition() {
    let first = r#"{"a":1,"delta":{"content":"Hello"},"b":null}"#;
    for (second, said) in [
        (r#"{"a":1,"delta":{"content":" you"},"b":null}"#, " you"),
        (r#"{"a":1,"delta":{"content":"\n\"ä\" \\ \ud83d\ude00"},"b":null}"#, "\n\"ä\" \\ 😀"),
        (r#"{"a":1,"delta":{"content":"Hello"},"b":null}"#, "Hello"),
        (r#"{"a":1,"delta":{"content":"}],{\\"},"b":null}"#, "}],{\\"),
    ] {
        assert_eq!(of(first, "Hello", second).as_deref(), Some(said), "{second}");
    }
    for other in [
        r#"{"a":2,"delta":{"content":"Hello"},"b":null}"#,
        r#"{"a":1,"delta":{"content":""},"b":null}"#,
        r#"{"a":1,"delta":{"content":null},"b":null}"#,
        r#"{"a":1,"delta":{"content":"Hello"},"b":null}}"#,
        r#"{"a":1,"delta":{"content":"Hello"},"b":nul"#,
        r#"{"a":1,"delta":{"content":"Hello","x":"y"},"b":null}"#,
        r#"{"a":1,"delta":{"content":"\ud83d"},"b":null}"#,
        r#"{"a":1,"delta":{"content":"\x"},"b":null}"#,
        r#"{"a":1,"delta":{"content":"\"},"b":null}"#,
        "{\"a\":1,\"delta\":{\"content\":\"a\nb\"},\"b\":null}",
        "",
    ] {
        assert_eq!(of(first, "Hello", other), None, "{other}");
    }
}

#[test]
fn values_that_no_dialect_reads_may_change() {
    let first = r#"{"created":17,"text": "a","sequence_number": 4,"obfuscation":"xyz"}"#;
    let second = r#"{"created":18,"text": "b","sequence_number": 15,"obfuscation":""}"#;
    assert_eq!(of(first, "a", second).as_deref(), Some("b"));
    for other in [
        r#"{"created":18,"text": "b","sequence_number": 1.5,"obfuscation":""}"#,
        r#"{"created":18,"text": "b","sequence_number": 15,"obfuscation":"\u00e4"}"#,
        r#"{"created":18,"text": "b","sequence_number": 15,"obfuscation":"#,
    ] {
        assert_eq!(of(first, "a", other), None, "{other}");
    }
    // The text of a field that is called so within a text.
    let first = r#"{"x":"\"created\":1","text":"a"}"#;
    assert_eq!(of(first, "a", r#"{"x":"\"created\":2","text":"a"}"#), None);
}

#[test]
fn only_the_text_of_a_field_with_text_is_a_hole() {
    for (first, said) in [
        // The text is not where it seems to be, or in two places.
        (r#"{"id":"5","content":5}"#, "5"),
        (r#"{"role":"user","content":"user"}"#, "user"),
        (r#"{"content":"\u0061","model":"a"}"#, "a"),
        (r#"{"content":""}"#, ""),
        (r#"{"x\"content":"a"}"#, "a"),
    ] {
        assert_eq!(of(first, said, first), None, "{first}");
    }
    let more = [text("a"), text("b")].concat();
    assert_eq!(repeated(r#"{"content":"a"}"#, &more, r#"{"content":"a"}"#), None);
    let signed = [Delta::Reasoning { part: 3, text: "a".into(), signature: Some("s".into()) }];
    assert_eq!(repeated(r#"{"content":"a"}"#, &signed, r#"{"content":"a"}"#), None);
    let thought = [Delta::Reasoning { part: 3, text: "a".into(), signature: None }];
    let read = repeated(r#"{"thinking":"a"}"#, &thought, r#"{"thinking":"b"}"#);
    assert_eq!(read, Some(("reasoning: b".to_owned(), None)));
}

#[test]
fn the_usage_of_a_repetition_is_passed_on_if_it_changes() {
    let event = |text: &str, usage: &str| format!(r#"{{"text":"{text}","usage":{usage},"x":1}}"#);
    let read = |count, second: &str| {
        let deltas = [text("a"), vec![Delta::Usage(Usage::new(count, 0))]].concat();
        repeated(&event("a", r#"{"n":1,"m":{"k":2}}"#), &deltas, second)
    };
    let unchanged = event("b", r#"{"n":1,"m":{"k":2}}"#);
    assert_eq!(read(1, &unchanged), Some(("b".to_owned(), None)));
    let more = r#"{"n":12,"o":"p"}"#;
    assert_eq!(read(1, &event("b", more)), Some(("b".to_owned(), Some(more.to_owned()))));
    assert_eq!(read(1, &event("b", "null")), None);
    assert_eq!(read(1, &event("b", r#"{"n":1"#)), None);
    // A usage that is not that of this field alone may not change.
    assert_eq!(read(2, &event("b", more)), None);
    assert_eq!(read(2, &unchanged), Some(("b".to_owned(), None)));
}

#[test]
fn a_stream_without_repetitions_is_soon_left_alone() {
    let mut last = Repeated::default();
    for n in 0..20 {
        let data = format!(r#"{{"n":{n},"text":"a"}}"#);
        let event = SseEvent::new("", &data);
        assert!(last.read(&event).is_none());
        last.forget();
        last.remember(&event, &text("a"), |_| None);
        assert_eq!(last.is_set, n < u64::from(MAX_MISSES));
    }
}
