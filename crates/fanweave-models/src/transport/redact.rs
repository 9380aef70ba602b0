//! Redaction of keys in answers: a server may echo the key that it received, or that of another request.
//!
//! Only the exact keys of this process are replaced, so that no other text can change. Errors are redacted in
//! more forms: see [`Secret::redact`].

use std::borrow::Cow;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use fanweave_core::{Citation, Delta, Message, Part, ReplyBody};
use memchr::{memchr, memmem};
use serde_json::Value;

use super::secret::{Inner, REDACTED, Secret};

/// The keys in use by this process. Read without a lock, also after a fork.
static KNOWN: ArcSwapOption<Vec<Weak<Inner>>> = ArcSwapOption::const_empty();

/// Adds a key, which is known until its last handle is dropped.
pub(crate) fn register(secret: &Secret) {
    if !secret.is_long_enough() {
        return;
    }
    KNOWN.rcu(|known| {
        let known = known.as_deref().map(Vec::as_slice).unwrap_or_default();
        let is_known = known.iter().filter_map(Weak::upgrade).any(|other| secret.is_handle_of(&other));
        let others = known.iter().filter(|weak| weak.strong_count() > 0).cloned();
        let own = (!is_known).then(|| secret.downgrade());
        Some(Arc::new(others.chain(own).collect::<Vec<_>>()))
    });
}

/// The keys in use by this process.
pub(crate) fn known() -> Vec<Secret> {
    let known = KNOWN.load();
    known.as_deref().into_iter().flatten().filter_map(Weak::upgrade).map(Secret::from_inner).collect()
}

/// Redacts the keys of this process in the texts of one answer, however its deltas are split.
#[derive(Default)]
pub(crate) struct Redactor {
    keys: Vec<Secret>,
    /// Ends of texts that may be the beginning of a key, by the text that they belong to.
    held: Vec<(Slot, String)>,
    /// Set once a key was found in a delta.
    found: bool,
}

/// A text that several deltas continue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Text(u32),
    Reasoning(u32),
    Arguments(u32),
}

impl Redactor {
    /// With the keys of this process at this time.
    pub(crate) fn new() -> Self {
        Self { keys: known(), ..Self::default() }
    }

    /// Returns true if none of these deltas has to change or to wait: nearly all of them.
    pub(crate) fn passes(&self, deltas: &[Delta]) -> bool {
        if self.keys.is_empty() {
            return true;
        }
        let passes = |text: &str| !self.contains(text) && self.beginning(text).is_none();
        let whole = |text: &Option<String>| text.as_deref().is_none_or(|text| !self.contains(text));
        self.held.is_empty()
            && deltas.iter().all(|delta| match delta {
                Delta::Text { text, .. } => passes(text),
                Delta::Reasoning { text, signature, .. } => passes(text) && whole(signature),
                Delta::ToolCall { id, name, arguments, .. } => passes(arguments) && whole(id) && whole(name),
                Delta::Started { id, model } => whole(id) && whole(model),
                Delta::Finished(_) | Delta::Usage(_) => true,
                Delta::Other { value, .. } | Delta::Value(value) => !self.is_in(value),
                Delta::Citation(citation) => {
                    let Citation { url, title, quote, source, .. } = &**citation;
                    whole(url) && whole(title) && whole(quote) && !self.is_in(source)
                }
                _ => true,
            })
    }

    /// Adds a delta to `out` without keys. The end of a text that may be the beginning of a key waits for the
    /// next delta of that text.
    pub(crate) fn push(&mut self, delta: Delta, out: &mut Vec<Delta>) {
        match delta {
            Delta::Text { part, text } => {
                let text = self.feed(Slot::Text(part), text);
                if !text.is_empty() {
                    out.push(Delta::Text { part, text });
                }
            }
            Delta::Reasoning { part, text, mut signature } => {
                let text = self.feed(Slot::Reasoning(part), text);
                self.optional(&mut signature);
                if !text.is_empty() || signature.is_some() {
                    out.push(Delta::Reasoning { part, text, signature });
                }
            }
            Delta::ToolCall { part, mut id, mut name, arguments } => {
                let arguments = self.feed(Slot::Arguments(part), arguments);
                self.optional(&mut id);
                self.optional(&mut name);
                out.push(Delta::ToolCall { part, id, name, arguments });
            }
            Delta::Started { mut id, mut model } => {
                self.optional(&mut id);
                self.optional(&mut model);
                out.push(Delta::Started { id, model });
            }
            Delta::Finished(reason) => {
                self.flush(out);
                out.push(Delta::Finished(reason));
            }
            Delta::Other { part, mut value } => {
                self.value(&mut value);
                out.push(Delta::Other { part, value });
            }
            Delta::Citation(mut citation) => {
                self.citation(&mut citation);
                out.push(Delta::Citation(citation));
            }
            Delta::Value(mut value) => {
                self.value(&mut value);
                out.push(Delta::Value(value));
            }
            other => out.push(other),
        }
    }

    /// Adds the texts that wait: nothing follows them that could complete a key.
    pub(crate) fn flush(&mut self, out: &mut Vec<Delta>) {
        out.extend(self.held.drain(..).map(|(slot, text)| match slot {
            Slot::Text(part) => Delta::Text { part, text },
            Slot::Reasoning(part) => Delta::Reasoning { part, text, signature: None },
            Slot::Arguments(part) => Delta::ToolCall { part, id: None, name: None, arguments: text },
        }));
    }

    fn feed(&mut self, slot: Slot, text: String) -> String {
        let text = match self.held.iter().position(|(held, _)| *held == slot) {
            Some(at) => self.held.swap_remove(at).1 + &text,
            None => text,
        };
        let mut text = match self.redacted(&text) {
            Some(redacted) => {
                self.found = true;
                redacted
            }
            None => text,
        };
        if let Some(at) = self.beginning(&text) {
            self.held.push((slot, text.split_off(at)));
        }
        text
    }

    fn citation(&self, citation: &mut Citation) {
        for text in [&mut citation.url, &mut citation.title, &mut citation.quote] {
            self.optional(text);
        }
        self.value(&mut citation.source);
    }

    /// Redacts all texts of a message.
    pub(crate) fn message(&self, message: &mut Message) {
        if self.keys.is_empty() {
            return;
        }
        for part in &mut message.parts {
            match part {
                Part::Text(text) => self.text(text),
                Part::Reasoning { text, signature } => {
                    self.text(text);
                    self.optional(signature);
                }
                Part::ToolCall(call) => {
                    for text in [&mut call.id, &mut call.name, &mut call.arguments] {
                        self.text(text);
                    }
                }
                Part::Other(value) => self.value(value),
                // Media are bytes in base64, and models return no tool results.
                _ => {}
            }
        }
        if let Some(reply) = &mut message.reply {
            self.optional(&mut reply.id);
            self.optional(&mut reply.model);
            reply.citations.iter_mut().for_each(|citation| self.citation(citation));
            if let Some(raw) = &mut reply.raw
                && let Some(redacted) = self.of_body(raw.bytes())
            {
                *raw = ReplyBody::new(redacted);
            }
        }
    }

    /// Redacts a raw body, whose JSON may have escapes. `None` if it contains no key.
    fn of_body(&self, body: &[u8]) -> Option<String> {
        // Rare: few encoders escape printable ASCII characters.
        let escapes = memmem::find_iter(body, b"\\u00")
            .any(|at| matches!(body.get(at + 4), Some(b'2'..=b'7')))
            || memmem::find(body, b"\\/").is_some();
        let is_key_in = |key: &Secret| memmem::find(body, key.expose().as_bytes()).is_some();
        if !escapes && !self.keys.iter().any(is_key_in) {
            return None;
        }
        let text = String::from_utf8_lossy(body);
        let redacted = self.keys.iter().fold(Cow::Borrowed(&*text), |text, key| match key.redact(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(redacted) => Cow::Owned(redacted),
        });
        match redacted {
            Cow::Borrowed(_) => None,
            Cow::Owned(redacted) => Some(redacted),
        }
    }

    /// Returns true if a delta contained a key.
    pub(crate) fn found(&self) -> bool {
        self.found
    }

    fn text(&self, text: &mut String) {
        if let Some(redacted) = self.redacted(text) {
            *text = redacted;
        }
    }

    fn optional(&self, text: &mut Option<String>) {
        if let Some(text) = text {
            self.text(text);
        }
    }

    /// Redacts the texts of a JSON value, which was parsed and therefore has a limited depth.
    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => {
                if fields.keys().any(|name| self.contains(name)) {
                    let renamed =
                        |(name, value): (String, Value)| (self.redacted(&name).unwrap_or(name), value);
                    *fields = std::mem::take(fields).into_iter().map(renamed).collect();
                }
                fields.values_mut().for_each(|field| self.value(field));
            }
            _ => {}
        }
    }

    fn is_in(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.contains(text),
            Value::Array(items) => items.iter().any(|item| self.is_in(item)),
            Value::Object(fields) => {
                fields.iter().any(|(name, field)| self.contains(name) || self.is_in(field))
            }
            _ => false,
        }
    }

    fn contains(&self, text: &str) -> bool {
        self.keys.iter().any(|key| key.is_in(text))
    }

    /// Returns `text` without keys if it contains one.
    fn redacted(&self, text: &str) -> Option<String> {
        let mut redacted = Cow::Borrowed(text);
        for key in self.keys.iter().filter(|key| key.is_in(text)) {
            redacted = Cow::Owned(redacted.replace(key.expose(), REDACTED));
        }
        match redacted {
            Cow::Borrowed(_) => None,
            Cow::Owned(redacted) => Some(redacted),
        }
    }

    /// Start of the end of `text` that is the beginning of a key.
    fn beginning(&self, text: &str) -> Option<usize> {
        self.keys.iter().filter_map(|key| beginning(text, key.expose())).min()
    }
}

fn beginning(text: &str, key: &str) -> Option<usize> {
    let (text, key) = (text.as_bytes(), key.as_bytes());
    let first = *key.first()?;
    let mut at = text.len().saturating_sub(key.len() - 1);
    while let Some(found) = memchr(first, &text[at..]) {
        at += found;
        if key.starts_with(&text[at..]) {
            return Some(at);
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use fanweave_core::Fold;
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "sk-canary-sk-can0123";

    fn redactor(keys: &[&str]) -> Redactor {
        let keys = keys.iter().map(|key| Secret::new((*key).to_owned())).collect();
        Redactor { keys, ..Redactor::default() }
    }

    fn through(redactor: &mut Redactor, deltas: impl IntoIterator<Item = Delta>) -> Vec<Delta> {
        let mut out = Vec::new();
        for delta in deltas {
            if redactor.passes(std::slice::from_ref(&delta)) {
                out.push(delta);
            } else {
                redactor.push(delta, &mut out);
            }
        }
        redactor.flush(&mut out);
        out
    }

    fn text_of(deltas: &[Delta]) -> String {
        deltas.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_key_is_redacted_at_every_split_into_three_deltas() {
        let text = format!("the key sk-can is {KEY}, and sk-{KEY}{KEY} sk-canary");
        let wanted = text.replace(KEY, REDACTED);
        for from in 0..=text.len() {
            for to in from..=text.len() {
                let parts = [&text[..from], &text[from..to], &text[to..]];
                let out = through(&mut redactor(&[KEY]), parts.map(Delta::text));
                assert_eq!(text_of(&out), wanted, "{from} {to}");
            }
        }
    }

    #[test]
    fn interleaved_parts_and_kinds_are_separate_texts() {
        let (head, tail) = KEY.split_at(9);
        let call = |arguments: &str| Delta::ToolCall {
            part: 0,
            id: None,
            name: None,
            arguments: arguments.to_owned(),
        };
        let think = |text: &str| Delta::Reasoning { part: 0, text: text.to_owned(), signature: None };
        let deltas = [Delta::text(head), call(head), think(head), think(tail), call(tail), Delta::text(tail)];
        let mut fold = Fold::default();
        let out = through(&mut redactor(&["gsk_0123456789", KEY]), deltas);
        out.iter().for_each(|delta| fold.push(delta));
        let message = fold.into_message();
        assert_eq!(message.parts.len(), 3);
        let json = serde_json::to_string(&message.parts).unwrap();
        assert!(!json.contains(tail) && json.matches(REDACTED).count() == 3, "{json}");
    }

    #[test]
    fn every_text_of_a_message_is_redacted() {
        let mut message = Message::assistant(format!("a {KEY}"));
        message.parts.push(Part::Reasoning { text: KEY.into(), signature: Some(KEY.into()) });
        message.parts.push(Part::Other(serde_json::json!({ "a": [KEY], KEY: { "b": KEY } })));
        let call = serde_json::from_value(serde_json::json!({
            "id": KEY, "name": KEY, "arguments": format!("{{\"k\":\"{KEY}\"}}")
        }));
        message.parts.push(Part::ToolCall(call.unwrap()));
        let reply = message.reply.get_or_insert_default();
        (reply.id, reply.model) = (Some(KEY.into()), Some(KEY.into()));
        reply.raw = Some(ReplyBody::new(format!("[\"{KEY}\", \"{}\"]", KEY.replace('-', "\\u002d"))));
        redactor(&[KEY]).message(&mut message);
        let json = serde_json::to_string(&message).unwrap();
        assert!(!json.contains("canary"), "{json}");
        let raw = message.reply.unwrap().raw.unwrap();
        assert_eq!(raw.text(), "[\"[redacted]\", \"[redacted]\"]");
        for plain in ["{\"a\": \"\\u00e9\\u003c\\/\"}", "[]"] {
            assert_eq!(redactor(&[KEY]).of_body(plain.as_bytes()), None);
        }
    }

    #[test]
    fn a_short_key_and_one_that_was_dropped_are_not_known() {
        let secret = Secret::new("sk-registered-0123".to_owned());
        let is_known = |key: &str| known().iter().any(|known| known.expose() == key);
        register(&secret);
        register(&secret.clone());
        register(&Secret::new("test".to_owned()));
        assert!(is_known("sk-registered-0123") && !is_known("test"));
        drop(secret);
        assert!(!is_known("sk-registered-0123"));
    }

    proptest! {
        #[test]
        fn text_without_keys_is_unchanged_and_arrives_whole(
            texts in prop::collection::vec("(sk-)?[ sk\\-canary0-9é]{0,12}", 0..12),
        ) {
            let whole = texts.concat();
            prop_assume!(!whole.contains(KEY));
            let out = through(&mut redactor(&[KEY, "kanyar-sk-999"]), texts.iter().map(Delta::text));
            prop_assert_eq!(text_of(&out), whole);
        }

        /// No delta contains a key, wherever the text is split.
        #[test]
        fn a_key_in_any_text_is_redacted(
            before in "[sk\\-canary ]{0,20}",
            after in "[sk\\-canary0-9 ]{0,20}",
            cuts in prop::collection::vec(0_usize..60, 0..6),
        ) {
            let text = format!("{before}{KEY}{after}");
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let deltas = cuts.windows(2).map(|pair| Delta::text(&text[pair[0]..pair[1]]));
            let shown = text_of(&through(&mut redactor(&[KEY]), deltas));
            prop_assert!(!shown.contains(KEY), "{}", shown);
            prop_assert!(shown.contains(REDACTED), "{}", shown);
        }
    }
}
