use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{ErrorKind, FinishReason, Part, ToolCall};

fn path(names: &[&str]) -> Path {
    names.iter().fold(Path::default(), |path, name| path.join((*name).into()))
}

#[test]
fn a_path_can_be_walked_from_outside_in() {
    let path = path(&["row 3", "outline", "openai/gpt-5-mini"]);
    assert_eq!(path.names().collect::<Vec<_>>(), ["row 3", "outline", "openai/gpt-5-mini"]);
    assert_eq!(path.names().next_back(), path.name());
    assert_eq!((path.len(), path.is_empty()), (3, false));
    let outside = Path::default();
    assert_eq!((outside.names().len(), outside.len(), outside.is_empty()), (0, 0, true));
}

#[test]
fn a_path_too_long_to_be_freed_is_an_error() {
    let names = vec!["step"; 1001];
    let error = serde_json::from_value::<Path>(json!(names)).expect_err("it is too long");
    assert_eq!(error.to_string(), "a path has 1001 names: at most 1000");
}

fn run_id(n: u64) -> RunId {
    RunId(NonZeroU64::new(n).expect("runs are numbered from 1"))
}

fn usage() -> impl Strategy<Value = Usage> {
    (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(input, output, cached)| Usage {
        input_tokens: input.into(),
        output_tokens: output.into(),
        cached_tokens: cached.into(),
        ..Usage::default()
    })
}

fn error() -> impl Strategy<Value = Error> {
    (".*", any::<Option<u16>>(), any::<u32>()).prop_map(|(message, status, wait)| {
        let error = Error::new(ErrorKind::Overloaded, message).with_step("outline");
        let error = error.with_retry_after(Duration::from_millis(wait.into()));
        status.map_or(error.clone(), |status| error.with_status(status))
    })
}

fn text() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(".*")
}

fn reason() -> impl Strategy<Value = FinishReason> {
    prop_oneof![
        Just(FinishReason::Stop),
        Just(FinishReason::ContentFilter),
        Just(FinishReason::Other("a reason of its own".into())),
    ]
}

fn delta() -> impl Strategy<Value = Delta> {
    let part = 0..4_u32;
    let leaf = prop_oneof![
        (part.clone(), ".*").prop_map(|(part, text)| Delta::Text { part, text }),
        (part.clone(), ".*", text()).prop_map(|(part, text, signature)| Delta::Reasoning {
            part,
            text,
            signature
        }),
        (part.clone(), text(), text(), ".*").prop_map(|(part, id, name, arguments)| Delta::ToolCall {
            part,
            id,
            name,
            arguments
        }),
        part.prop_map(|part| Delta::Other { part, value: json!({ "kind": "audio", "n": [1, 2.5, null] }) }),
        (text(), text()).prop_map(|(id, model)| Delta::Started { id, model }),
        reason().prop_map(Delta::Finished),
        usage().prop_map(Delta::Usage),
        ".*".prop_map(|text| Delta::Value(json!({ "title": text, "n": u64::MAX }))),
    ];
    leaf.prop_recursive(2, 4, 1, |inner| {
        (".*", inner)
            .prop_map(|(branch, delta)| Delta::Branch { branch: branch.into(), delta: Box::new(delta) })
    })
}

fn message() -> impl Strategy<Value = Arc<Message>> {
    (".*", usage(), reason()).prop_map(|(text, usage, reason)| {
        let call = ToolCall { id: "1".into(), name: "look".into(), arguments: "{}".into() };
        let mut message = Message::assistant(text);
        message.parts.push(Part::ToolCall(call));
        message.reply = Some(Box::new(Reply { usage, finish_reason: Some(reason), ..Reply::default() }));
        Arc::new(message)
    })
}

/// Every kind of event. A new kind that has no strategy fails to compile.
fn kind() -> impl Strategy<Value = EventKind> {
    fn is_listed(kind: &EventKind) {
        match kind {
            EventKind::StepStarted
            | EventKind::PromptSent(_)
            | EventKind::EmbeddingRequested(_)
            | EventKind::Delta(_)
            | EventKind::Waiting(_)
            | EventKind::RequestStarted
            | EventKind::Hedged
            | EventKind::Unanswered(_)
            | EventKind::FirstByte
            | EventKind::FirstChunk
            | EventKind::Retrying { .. }
            | EventKind::Answered(_)
            | EventKind::StepFinished { .. }
            | EventKind::StepFailed(_) => {}
        }
    }
    let kind = prop_oneof![
        Just(EventKind::StepStarted),
        ".*".prop_map(|text| EventKind::PromptSent(Arc::new(Prompt::from(text)))),
        (0..9_usize).prop_map(EventKind::EmbeddingRequested),
        delta().prop_map(EventKind::Delta),
        Just(EventKind::Waiting(WaitReason::Concurrency)),
        Just(EventKind::Waiting(WaitReason::Limit)),
        error().prop_map(|error| EventKind::Waiting(WaitReason::Outage(error))),
        Just(EventKind::RequestStarted),
        Just(EventKind::Hedged),
        usage().prop_map(EventKind::Unanswered),
        Just(EventKind::FirstByte),
        Just(EventKind::FirstChunk),
        (any::<u32>(), any::<u32>(), error()).prop_map(|(attempt, wait, error)| EventKind::Retrying {
            attempt,
            wait: Duration::from_millis(wait.into()),
            error
        }),
        message().prop_map(EventKind::Answered),
        message().prop_map(|message| EventKind::StepFinished {
            reply: message.reply.clone().map(|reply| Arc::new(*reply))
        }),
        Just(EventKind::StepFinished { reply: None }),
        error().prop_map(EventKind::StepFailed),
    ];
    kind.prop_map(|kind| {
        is_listed(&kind);
        kind
    })
}

proptest! {
    #[test]
    fn an_event_survives_json(
        kind in kind(),
        at in any::<u32>(),
        parent in any::<Option<u64>>(),
        names in proptest::collection::vec(".*", 0..4),
        tag in text(),
    ) {
        let labels = Labels {
            tags: tag.iter().map(|tag| tag.as_str().into()).collect(),
            metadata: tag.iter().map(|tag| ("tenant".into(), json!(tag))).collect(),
        };
        let event = Event {
            run: RunId::next(),
            parent: parent.and_then(NonZeroU64::new).map(RunId),
            path: names.iter().fold(Path::default(), |path, name| path.join(name.as_str().into())),
            at: Duration::from_micros(at.into()),
            kind,
            labels: Arc::new(labels),
        };
        let text = serde_json::to_string(&event).expect("an event serialises");
        let read: Event = serde_json::from_str(&text).expect("an event deserialises");
        prop_assert_eq!(format!("{read:?}"), format!("{event:?}"));
        prop_assert_eq!(serde_json::to_string(&read).expect("it serialises once more"), text);
        prop_assert_eq!(read.metadata("tenant"), event.metadata("tenant"));
    }
}

#[test]
fn an_event_is_an_object_with_named_fields() {
    let event = Event {
        run: run_id(7),
        parent: Some(run_id(3)),
        path: path(&["outline", "openai/gpt-5-mini"]),
        at: Duration::from_micros(1_250),
        kind: EventKind::Retrying {
            attempt: 2,
            wait: Duration::from_millis(800),
            error: Error::new(ErrorKind::Server, "Bad Gateway").with_status(502),
        },
        labels: Arc::new(Labels {
            tags: vec!["nightly".into()],
            metadata: vec![("tenant".into(), json!("acme"))],
        }),
    };
    insta::assert_snapshot!(serde_json::to_string_pretty(&event).expect("it serialises"));
}
