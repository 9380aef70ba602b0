//! Citations, images and audio: kept in every dialect that has them, streamed and whole.

use fanweave_core::{Media, Message, Part};
use serde_json::{Value, json};

use super::protocol;
use crate::providers::testing::decode;

/// The message in the events of a stream, and the message in a body.
fn read(dialect: &str, events: &[Value], body: &Value) -> [Message; 2] {
    let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    let streamed = decode(&*protocol(dialect), &[stream.as_bytes()]).expect(&stream);
    [streamed, protocol(dialect).response(body.to_string().as_bytes()).expect(dialect)]
}

fn choice(field: &str, message: &Value, reason: Option<&str>) -> Value {
    json!({ "id": "c", "choices": [{ "index": 0, field: message, "finish_reason": reason }] })
}

/// Streamed and whole: two events with the halves of `message`, and a body.
fn chat(half: &Value, other: &Value, message: &Value) -> [Message; 2] {
    let events = [
        choice("delta", half, None),
        choice("delta", other, None),
        choice("delta", &json!({}), Some("stop")),
    ];
    read("openrouter", &events, &choice("message", message, Some("stop")))
}

fn cited(message: &Message) -> Vec<[&str; 3]> {
    fn or(value: &Option<String>) -> &str {
        value.as_deref().unwrap_or_default()
    }
    let reply = message.reply.as_deref().expect("a reply");
    reply.citations.iter().map(|c| [or(&c.url), or(&c.title), or(&c.quote)]).collect()
}

fn inline(media_type: &str, base64: &str) -> Media {
    Media::Inline { media_type: media_type.into(), base64: base64.into() }
}

#[test]
fn citations_are_kept_in_every_dialect_that_has_them() {
    let two = [["https://a.test", "A", ""], ["https://b.test", "B", ""]];
    let chat_form = |url: &str, title: &str| json!({ "type": "url_citation", "url_citation": { "url": url, "title": title, "start_index": 0 } });
    let (a, b) = (chat_form("https://a.test", "A"), chat_form("https://b.test", "B"));
    for message in chat(
        &json!({ "content": "Tides", "annotations": [a] }),
        &json!({ "content": " turn.", "annotations": [a, b] }),
        &json!({ "content": "Tides turn.", "annotations": [a, b] }),
    ) {
        assert_eq!((message.text().as_str(), cited(&message)), ("Tides turn.", two.to_vec()));
        let source = &message.reply.as_deref().expect("a reply").citations[0].source;
        assert_eq!(source["url_citation"]["start_index"], 0);
    }

    // Perplexity states all sources in every chunk.
    let with_sources = |mut chunk: Value| {
        chunk["citations"] = json!(["https://a.test", "https://b.test"]);
        chunk["search_results"] = json!([
            { "url": "https://a.test", "title": "A" }, { "url": "https://b.test", "title": "B" },
        ]);
        chunk
    };
    let events = [
        with_sources(choice("delta", &json!({ "content": "Tides turn." }), None)),
        with_sources(choice("delta", &json!({}), Some("stop"))),
    ];
    let body = with_sources(choice("message", &json!({ "content": "Tides turn." }), Some("stop")));
    for message in read("perplexity", &events, &body) {
        assert_eq!(cited(&message), two);
    }

    let flat = |url: &str, title: &str| json!({ "type": "url_citation", "url": url, "title": title, "start_index": 0, "end_index": 5 });
    let (a, b) = (flat("https://a.test", "A"), flat("https://b.test", "B"));
    let content = json!([{ "type": "output_text", "text": "Tides turn.", "annotations": [a, b] }]);
    let item = json!({ "id": "m", "type": "message", "content": content });
    let response = json!({ "id": "r", "status": "completed", "output": [item] });
    let at = json!({ "item_id": "m", "output_index": 0, "content_index": 0 });
    let with = |kind: &str, field: &str, value: &Value| {
        let mut event = at.clone();
        event["type"] = kind.into();
        event[field] = value.clone();
        event
    };
    let events = [
        with("response.output_text.delta", "delta", &"Tides turn.".into()),
        with("response.output_text.annotation.added", "annotation", &a),
        with("response.output_item.done", "item", &item),
        json!({ "type": "response.completed", "response": response }),
    ];
    for message in read("openai-responses", &events, &response) {
        assert_eq!((message.text().as_str(), cited(&message)), ("Tides turn.", two.to_vec()));
    }

    let a = json!({ "type": "web_search_result_location", "url": "https://a.test", "title": "A", "cited_text": "q" });
    let b = json!({ "type": "char_location", "document_title": "B", "document_index": 0, "cited_text": "r" });
    let block = json!({ "type": "text", "text": "Tides turn.", "citations": [a, b] });
    let events = [
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "", "citations": [] } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "Tides turn." } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "citations_delta", "citation": a } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "citations_delta", "citation": b } }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" } }),
        json!({ "type": "message_stop" }),
    ];
    let body = json!({ "id": "m", "content": [block], "stop_reason": "end_turn" });
    for message in read("anthropic", &events, &body) {
        assert_eq!(cited(&message), [["https://a.test", "A", "q"], ["", "B", "r"]]);
    }

    let chunks = json!([
        { "web": { "uri": "https://a.test", "title": "A" } }, { "web": { "uri": "https://b.test", "title": "B" } },
    ]);
    let whole = json!({ "candidates": [{
        "content": { "parts": [{ "text": "Tides turn." }] }, "finishReason": "STOP",
        "groundingMetadata": { "groundingChunks": chunks },
    }] });
    for message in read("gemini", std::slice::from_ref(&whole), &whole) {
        assert_eq!(cited(&message), two);
    }
}

#[test]
fn images_and_audio_are_kept_as_parts() {
    let (png, wav) = ("iVBORw0KGgo=", "UklGRiQAAABXQVZF");
    let url = format!("data:image/png;base64,{png}");
    let image = Part::Image(inline("image/png", png));
    let wire = json!([{ "type": "image_url", "image_url": { "url": url } }]);
    let text = || Part::Text("Here.".to_owned());
    for message in chat(
        &json!({ "content": "Here." }),
        &json!({ "content": "", "images": wire }),
        &json!({ "content": "Here.", "images": wire }),
    ) {
        assert_eq!(message.parts, [text(), image.clone()]);
    }
    // As a part of the content.
    let content = json!([{ "type": "text", "text": "Here." }, wire[0]]);
    for message in chat(&json!({}), &json!({ "content": content }), &json!({ "content": content })) {
        assert_eq!(message.parts, [text(), image.clone()]);
    }
    let audio = |data: &str, transcript: &str| json!({ "audio": { "id": "a", "data": data, "transcript": transcript } });
    for message in chat(&audio(&wav[..8], "He"), &audio(&wav[8..], "re."), &audio(wav, "Here.")) {
        assert_eq!(message.parts, [text(), Part::Audio(inline("audio/wav", wav))]);
    }

    let parts = json!([{ "text": "Here." }, { "inlineData": { "mimeType": "image/png", "data": png } }]);
    let whole = json!({ "candidates": [{ "content": { "parts": parts }, "finishReason": "STOP" }] });
    for message in read("gemini", std::slice::from_ref(&whole), &whole) {
        assert_eq!(message.parts, [text(), image.clone()]);
    }

    // The result of a tool of the provider, which it wants back as it came.
    let item = json!({ "id": "ig", "type": "image_generation_call", "status": "completed", "result": png });
    let response = json!({ "id": "r", "status": "completed", "output": [item] });
    let events = [
        json!({ "type": "response.output_item.done", "output_index": 0, "item": item }),
        json!({ "type": "response.completed", "response": response }),
    ];
    for message in read("openai-responses", &events, &response) {
        assert_eq!(message.parts, [Part::Other(item.clone())]);
    }
    // A block without an end.
    let block = json!({ "type": "web_search_tool_result", "tool_use_id": "s", "content": [] });
    let events = [
        json!({ "type": "content_block_start", "index": 0, "content_block": block }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" } }),
        json!({ "type": "message_stop" }),
    ];
    for message in read("anthropic", &events, &json!({ "content": [block], "stop_reason": "end_turn" })) {
        assert_eq!(message.parts, [Part::Other(block.clone())]);
    }
}
