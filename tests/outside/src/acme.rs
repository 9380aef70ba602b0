//! A dialect: the API of a vendor that no other vendor has.
//!
//! `POST /v2/generate` with the model and what was said. The answer is one JSON object, or one per line.

use std::time::Duration;

use fanweave::models::protocol::{
    Call, Framing, HeaderMap, HttpRequest, Protocol, SseEvent, StatusCode, StreamDecoder, classify,
};
use fanweave::{
    Delta, Error, ErrorKind, Message, Result, Usage,
    messages::{FinishReason, Reply},
};
use serde_json::{Value, json};

/// The dialect.
pub struct Acme;

impl Protocol for Acme {
    fn request(&self, call: &Call<'_>) -> Result<HttpRequest> {
        if !call.parameters.stop.is_empty() {
            return Err(Error::new(ErrorKind::Input, "acme has no stop sequences"));
        }
        let said = call.messages.iter().map(|message| {
            let who = format!("{:?}", message.role).to_lowercase();
            json!({ "who": who, "text": message.text() })
        });
        let body = json!({ "model": call.model, "said": said.collect::<Value>(), "lines": call.stream });
        Ok(HttpRequest::post("/v2/generate", body.to_string()).streamed(call.stream))
    }

    fn response(&self, body: &[u8]) -> Result<Message> {
        let body = parse(body)?;
        let text =
            body["text"].as_str().ok_or_else(|| Error::new(ErrorKind::Decode, "the answer has no `text`"))?;
        let mut message = Message::assistant(text);
        let finish_reason = Some(FinishReason::Stop);
        message.reply = Some(Box::new(Reply::new().usage(usage(&body)).finish_reason(finish_reason)));
        Ok(message)
    }

    fn framing(&self) -> Framing {
        Framing::Lines
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(Decoder { is_done: false })
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Error {
        let error = classify(status, headers, body, "");
        let Ok(body) = parse(body.as_bytes()) else { return error };
        let error = match body["wrong"].as_str() {
            Some(wrong) => error.with_message(wrong),
            None => error,
        };
        match body["wait_ms"].as_u64() {
            Some(wait) => error.with_retry_after(Duration::from_millis(wait)),
            None => error,
        }
    }
}

struct Decoder {
    is_done: bool,
}

impl StreamDecoder for Decoder {
    fn event(&mut self, event: &SseEvent<'_>, deltas: &mut Vec<Delta>) -> Result<()> {
        let line = parse(event.data.as_bytes())?;
        if let Some(text) = line["text"].as_str() {
            deltas.push(Delta::text(text));
        }
        if line["end"] == true {
            self.is_done = true;
            deltas.push(Delta::Usage(usage(&line)));
            deltas.push(Delta::Finished(FinishReason::Stop));
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.is_done
    }
}

fn parse(body: &[u8]) -> Result<Value> {
    serde_json::from_slice(body).map_err(|_| Error::new(ErrorKind::Decode, "the answer is not valid JSON"))
}

fn usage(body: &Value) -> Usage {
    let tokens = |name: &str| body[name].as_u64().unwrap_or_default();
    Usage::new(tokens("read"), tokens("wrote"))
}
