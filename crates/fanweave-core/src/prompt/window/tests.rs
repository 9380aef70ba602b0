use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{ToolCall, ToolResult};

fn calls(ids: &[&str]) -> Message {
    let calls = ids.iter().map(|id| ToolCall::new(*id, "look", json!({})));
    Message::from_parts(Role::Assistant, vec![]).with_tool_calls(calls)
}

fn results(ids: &[&str]) -> Message {
    let results =
        ids.iter().map(|id| Part::ToolResult(ToolResult::new(*id, "a result of forty bytes, more or less")));
    Message::from_parts(Role::Tool, results.collect())
}

fn talk() -> Vec<Message> {
    vec![
        Message::system("s"),
        Message::user("1"),
        calls(&["a", "b"]),
        results(&["b"]),
        results(&["a"]),
        Message::assistant("one"),
        Message::user("2"),
        Message::assistant("two"),
    ]
}

fn kept(window: Window) -> Vec<usize> {
    let talk = talk();
    let position = |message: &Message| talk.iter().position(|m| m == message).unwrap();
    window.apply(talk.clone()).iter().map(position).collect()
}

#[test]
fn a_window_begins_at_a_message_of_the_user() {
    assert_eq!(kept(Window::messages(1)), [0, 6, 7], "the last exchange is whole");
    assert_eq!(kept(Window::messages(6)), [0, 6, 7], "and so is the one before");
    assert_eq!(kept(Window::messages(7)), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(kept(Window::messages(0)), [0]);
    assert_eq!(kept(Window::exchanges(1).keep_system(false)), [6, 7]);
    assert_eq!(kept(Window::exchanges(usize::MAX)).len(), 8);
    let each = |_: &Message| 10;
    assert_eq!(kept(Window::tokens(30).counting(each)), [0, 6, 7]);
    assert_eq!(kept(Window::tokens(79).counting(each)), [0, 6, 7]);
    assert_eq!(kept(Window::tokens(80).counting(each)).len(), 8);
}

#[test]
fn an_exchange_beyond_the_limit_drops_its_oldest_calls_and_never_the_question() {
    let mut talk = vec![Message::user("q")];
    for id in ["a", "b", "c"] {
        talk.extend([calls(&[id]), results(&[id])]);
    }
    let each = |_: &Message| 10;
    let window = Window::tokens(50).counting(each).apply(talk.clone());
    assert_eq!(window, [&talk[..1], &talk[3..]].concat(), "one round is dropped");
    let window = Window::tokens(0).counting(each).apply(talk.clone());
    assert_eq!(window, [&talk[..1], &talk[5..]].concat(), "the last round waits for an answer");
    let shortened = Window::tokens(0).shorten_results(8).apply(talk);
    let Part::ToolResult(result) = &shortened[2].parts[0] else { panic!("{shortened:?}") };
    assert_eq!(result.text(), "a result[29 bytes omitted]");
}

#[test]
fn calls_and_results_without_each_other_are_dropped() {
    let talk = vec![
        results(&["lost"]),
        Message::user("1"),
        calls(&["a", "unanswered"]),
        results(&["a", "of another"]),
        Message::user("2"),
        calls(&["never"]),
        Message::user("3"),
        calls(&["waits"]),
    ];
    let expected = [
        Message::user("1"),
        calls(&["a"]),
        results(&["a"]),
        Message::user("2"),
        Message::user("3"),
        calls(&["waits"]),
    ];
    assert_eq!(Window::all().apply(talk), expected);
}

/// Conversations with parallel calls, results in one message or several, system messages, and orphans.
fn any_talk() -> impl Strategy<Value = Vec<Message>> {
    prop::collection::vec((0u8..7, 0u8..4), 0..24).prop_map(|choices| {
        let mut talk = Vec::new();
        for (n, (kind, many)) in choices.into_iter().enumerate() {
            let ids: Vec<String> = (0..=many).map(|i| format!("{n}-{i}")).collect();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            match kind {
                0 | 1 => talk.push(Message::user(n.to_string())),
                2 => talk.push(Message::assistant(n.to_string())),
                3 => talk.push(Message::system(n.to_string())),
                4 => talk.extend([calls(&ids), results(&ids)]),
                5 => {
                    talk.push(calls(&ids));
                    talk.extend(ids.iter().rev().map(|id| results(&[*id])));
                }
                _ if many == 0 => talk.push(calls(&ids)),
                _ => talk.push(results(&ids)),
            }
        }
        talk
    })
}

proptest! {
    #[test]
    fn a_window_is_valid_for_every_dialect(talk in any_talk(), size in 0usize..30, kind in 0u8..4) {
        let window = match kind {
            0 => Window::all(),
            1 => Window::messages(size),
            2 => Window::exchanges(size),
            _ => Window::tokens(size * 8),
        };
        let whole = Window::all().apply(talk.clone());
        let kept = window.apply(talk);
        // Each result directly follows its call, and each call has its result or is the last message.
        let mut open = HashSet::new();
        for message in &kept {
            if !has_results(message) {
                prop_assert!(open.is_empty(), "calls without results: {kept:?}");
                open = message.tool_calls().map(|call| call.id.clone()).collect();
            }
            for part in &message.parts {
                if let Part::ToolResult(result) = part {
                    prop_assert!(open.remove(&result.id), "a result without a call: {kept:?}");
                }
            }
        }
        let rest: Vec<_> = kept.iter().filter(|message| message.role != Role::System).cloned().collect();
        let all: Vec<_> = whole.iter().filter(|message| message.role != Role::System).cloned().collect();
        let has_user = all.iter().any(|message| message.role == Role::User);
        if rest.len() < all.len() && has_user && !rest.is_empty() {
            prop_assert_eq!(rest[0].role, Role::User);
        }
        if kind != 3 {
            prop_assert!(all.ends_with(&rest), "a window is the end: {:?}", kept);
        }
        if kind == 1 && rest.len() > size {
            let count = exchanges(&rest).len();
            prop_assert!(count <= 1, "{} messages in {} exchanges", rest.len(), count);
        }
        prop_assert_eq!(Window::all().apply(kept.clone()), kept);
    }
}
