//! Helpers shared by the tests of all dialects.

use fanweave_core::{ErrorKind, Media, Message, Parameters, Part, Result, Role, ToolCall, ToolResult};
use proptest::prelude::*;
use serde_json::Value;

use crate::protocol::{Call, HttpRequest, Protocol};
use crate::transport::reader::read_chunks;
use crate::transport::sse::SseLimits;

/// The request for a call, and its body.
pub(super) fn request(
    protocol: &dyn Protocol,
    messages: &[Message],
    parameters: &Parameters,
    stream: bool,
) -> Result<(HttpRequest, Value)> {
    let call = Call::new("m", messages, parameters).streamed(stream);
    let request = protocol.request(&call)?;
    let body = serde_json::from_slice(&request.body).expect("a request is JSON");
    Ok((request, body))
}

/// Reads a recorded stream, which its server closed.
pub(super) fn decode(protocol: &dyn Protocol, chunks: &[&[u8]]) -> Result<Message> {
    read_chunks(protocol, chunks.iter().copied(), SseLimits::default())
}

pub(super) fn with_parts(role: Role, parts: Vec<Part>) -> Message {
    Message::from_parts(role, parts)
}

pub(super) fn call(id: &str, arguments: &str) -> Part {
    Part::ToolCall(ToolCall { id: id.into(), name: "weather".into(), arguments: arguments.into() })
}

pub(super) fn result(id: &str, is_error: bool) -> Part {
    Part::ToolResult(ToolResult { is_error, ..ToolResult::new(id, "sunny") })
}

/// Two tool calls and their results, each a text and an image.
pub(super) fn results_with_an_image() -> [Message; 3] {
    let parts = vec![Part::Text("a map".into()), Part::Image(inline("image/png"))];
    let result = |id: &str| {
        let result = ToolResult { id: id.into(), parts: parts.clone(), is_error: false };
        with_parts(Role::Tool, vec![Part::ToolResult(result)])
    };
    let calls = with_parts(Role::Assistant, vec![call("a", "{}"), call("b", "{}")]);
    [calls, result("a"), result("b")]
}

pub(super) fn inline(media_type: &str) -> Media {
    Media::Inline { media_type: media_type.into(), base64: "aGk=".into() }
}

/// Id, name and arguments of each tool call.
pub(super) fn calls(message: &Message) -> Vec<(&str, &str, &str)> {
    message.tool_calls().map(|call| (&*call.id, &*call.name, &*call.arguments)).collect()
}

/// Checks the laws for complete recorded streams: a prefix of the stream is incomplete or has all of the
/// answer, and any split of its bytes gives the same message.
pub(super) fn holds_for_a_stream(protocol: &dyn Protocol, stream: &str) {
    let whole = decode(protocol, &[stream.as_bytes()]).expect("a recorded stream can be read");
    let bytes: Vec<_> = stream.as_bytes().chunks(1).collect();
    assert_eq!(decode(protocol, &bytes).expect("as before"), whole);
    let finish = |message: &Message| message.reply.as_ref().and_then(|reply| reply.finish_reason.clone());
    for at in 0..stream.len() {
        match decode(protocol, &[&stream.as_bytes()[..at]]) {
            // The usage may follow the finish reason.
            Ok(cut) => assert_eq!((&cut.parts, finish(&cut)), (&whole.parts, finish(&whole)), "byte {at}"),
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::StreamIncomplete | ErrorKind::Decode),
                "cut at byte {at}: {error}"
            ),
        }
    }
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..24);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(200));
    let outcome = runner.run(&cuts, |cuts| {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let chunks: Vec<_> = cuts.windows(2).map(|w| &stream.as_bytes()[w[0]..w[1]]).collect();
        prop_assert_eq!(&decode(protocol, &chunks).expect("as before"), &whole);
        Ok(())
    });
    outcome.expect("any split gives the same message");
}
