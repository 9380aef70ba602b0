//! Windows: the end of a conversation, cut only between exchanges.

use std::collections::HashSet;

use crate::{Message, Part, Role};

/// Estimated tokens of the frame of a message. As in [`Usage::expected_of`](crate::Usage::expected_of).
const FRAME_TOKENS: usize = 4;

/// The end of a conversation that a prompt includes.
///
/// A window consists of whole exchanges: it begins at a message of the user, and keeps tool calls together
/// with their results. Its last exchange is always whole, unless it alone has more [`tokens`](Self::tokens).
///
/// ```
/// use fanweave::{Message, prompts::Window};
///
/// let talk = ["1 + 2?", "3", "And 4 more?", "7"];
/// let talk: Vec<_> = (0..).zip(talk).map(|(i, text)| match i % 2 {
///     0 => Message::user(text),
///     _ => Message::assistant(text),
/// }).collect();
/// let window = Window::messages(3).apply(talk);
/// assert_eq!(window, [Message::user("And 4 more?"), Message::assistant("7")]);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Window {
    size: Size,
    counting: fn(&Message) -> usize,
    keep_system: bool,
    max_result_bytes: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Size {
    All,
    Messages(usize),
    Exchanges(usize),
    Tokens(usize),
}

impl Window {
    const fn new(size: Size) -> Self {
        Self { size, counting: estimate, keep_system: true, max_result_bytes: None }
    }

    /// The whole conversation, without calls that have no result and results that have no call.
    pub const fn all() -> Self {
        Self::new(Size::All)
    }

    /// The exchanges at the end with at most `n` messages together, and at least the last exchange. System
    /// messages do not count. 0 keeps only them.
    pub const fn messages(n: usize) -> Self {
        Self::new(Size::Messages(n))
    }

    /// The last `n` exchanges: each is the messages of the user and all that follows until the user writes
    /// again.
    pub const fn exchanges(n: usize) -> Self {
        Self::new(Size::Exchanges(n))
    }

    /// The exchanges at the end with at most `n` tokens together, including the system messages, and at least
    /// the last exchange.
    ///
    /// If the last exchange alone has more, its oldest tool calls are dropped with their results, until it
    /// fits or none is left. Messages of the user are never dropped from it.
    pub const fn tokens(n: usize) -> Self {
        Self::new(Size::Tokens(n))
    }

    /// Counts the tokens of a message with `count`. Default: one for every four bytes of text, calls and
    /// results, 1,000 for each image, recording or document, and 4 for the message.
    #[must_use]
    pub const fn counting(self, count: fn(&Message) -> usize) -> Self {
        Self { counting: count, ..self }
    }

    /// Sets whether system messages before the window are kept. Default: true.
    #[must_use]
    pub const fn keep_system(self, keep: bool) -> Self {
        Self { keep_system: keep, ..self }
    }

    /// Shortens results of tools to at most `bytes` bytes of text and a note, if the last exchange has more
    /// than [`tokens`](Self::tokens) without its oldest calls. Default: results are never shortened.
    #[must_use]
    pub const fn shorten_results(self, bytes: usize) -> Self {
        Self { max_result_bytes: Some(bytes), ..self }
    }

    /// The index of the first message of the window: `messages.len()` if the window is empty. System messages
    /// may be before it.
    pub fn start(&self, messages: &[Message]) -> usize {
        let starts = exchanges(messages);
        let first_of = |n: usize| match n {
            0 => messages.len(),
            n if n >= starts.len() => 0,
            n => starts[starts.len() - n],
        };
        let (max, size_of): (usize, &dyn Fn(&Message) -> usize) = match self.size {
            Size::All => return 0,
            Size::Exchanges(n) => return first_of(n),
            Size::Messages(0) => return messages.len(),
            Size::Messages(n) => (n, &|message| usize::from(message.role != Role::System)),
            Size::Tokens(n) => {
                let system: usize = match self.keep_system {
                    true => messages.iter().filter(|m| m.role == Role::System).map(self.counting).sum(),
                    false => 0,
                };
                let count = self.counting;
                let keeps_system = self.keep_system;
                let size = move |message: &Message| match message.role {
                    Role::System if keeps_system => 0,
                    _ => count(message),
                };
                return within(messages, &starts, n.saturating_sub(system), &size);
            }
        };
        within(messages, &starts, max, size_of)
    }

    /// The messages of the window.
    pub fn apply(&self, messages: Vec<Message>) -> Vec<Message> {
        let messages = without_orphans(messages);
        let start = self.start(&messages);
        let mut window = Vec::with_capacity(messages.len() - start);
        for (i, message) in messages.into_iter().enumerate() {
            if i >= start || (self.keep_system && message.role == Role::System) {
                window.push(message);
            }
        }
        if let Size::Tokens(max) = self.size
            && exchanges(&window).len() <= 1
        {
            self.fit(&mut window, max);
        }
        window
    }

    /// Drops the oldest rounds of calls of a single exchange, and shortens results, until it fits.
    fn fit(&self, window: &mut Vec<Message>, max: usize) {
        let mut total: usize = window.iter().map(self.counting).sum();
        let mut dropped = HashSet::new();
        let mut at = 0;
        while total > max && at < window.len() {
            let round = at + 1 + results_after(window, at);
            // The calls at the end wait for their results, or for the answer.
            if has_calls(&window[at]) && round < window.len() {
                total -= window[at..round].iter().map(self.counting).sum::<usize>().min(total);
                dropped.extend(at..round);
            }
            at = round;
        }
        let mut i = 0;
        window.retain(|_| {
            i += 1;
            !dropped.contains(&(i - 1))
        });
        if let Some(max_bytes) = self.max_result_bytes.filter(|_| total > max) {
            let parts = window.iter_mut().flat_map(|message| &mut message.parts);
            for part in parts {
                if let Part::ToolResult(result) = part {
                    result.parts.iter_mut().for_each(|part| shorten(part, max_bytes));
                }
            }
        }
    }
}

/// The start of the exchanges at the end that fit in `max` together, and at least of the last one.
fn within(messages: &[Message], starts: &[usize], max: usize, size: &dyn Fn(&Message) -> usize) -> usize {
    let mut end = messages.len();
    let mut total = 0usize;
    for &start in starts.iter().rev() {
        total = total.saturating_add(messages[start..end].iter().map(size).sum());
        if total > max && end < messages.len() {
            return end;
        }
        end = start;
    }
    // Messages before the first of the user belong to no exchange.
    let before: usize = messages[..end].iter().map(size).sum();
    if total.saturating_add(before) > max && end < messages.len() { end } else { 0 }
}

/// The index of the first message of each exchange.
fn exchanges(messages: &[Message]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut of_user = false;
    for (i, message) in messages.iter().enumerate() {
        let is_user = message.role == Role::User && !has_results(message);
        if is_user && !of_user {
            starts.push(i);
        }
        // A system message in between does not end the messages of the user.
        of_user = is_user || (of_user && message.role == Role::System);
    }
    starts
}

fn has_calls(message: &Message) -> bool {
    message.tool_calls().next().is_some()
}

fn has_results(message: &Message) -> bool {
    message.parts.iter().any(|part| matches!(part, Part::ToolResult(_)))
}

/// The number of messages with results directly after the message at `at`.
fn results_after(messages: &[Message], at: usize) -> usize {
    messages[at + 1..].iter().take_while(|message| has_results(message)).count()
}

/// Drops results without a call before them, and calls without a result unless they are the last of the
/// conversation.
fn without_orphans(mut messages: Vec<Message>) -> Vec<Message> {
    let mut at = 0;
    let mut dropped = vec![false; messages.len()];
    while at < messages.len() {
        let end = at + 1 + results_after(&messages, at);
        let called: HashSet<String> = messages[at].tool_calls().map(|call| call.id.clone()).collect();
        let own_results = has_results(&messages[at]);
        if called.is_empty() && end == at + 1 && !own_results {
            at = end;
            continue;
        }
        let mut answered = HashSet::new();
        for message in &mut messages[at + 1..end] {
            message.parts.retain(|part| match part {
                Part::ToolResult(result) => called.contains(&result.id) && answered.insert(result.id.clone()),
                _ => true,
            });
        }
        let waits = end == messages.len();
        messages[at].parts.retain(|part| match part {
            Part::ToolCall(call) => waits || answered.contains(&call.id),
            // Only a message after a call has results, and those are handled with their call.
            Part::ToolResult(_) => false,
            _ => true,
        });
        for (i, message) in messages[at..end].iter().enumerate() {
            let had_more = i > 0 || !called.is_empty() || own_results;
            let is_empty = message.parts.iter().all(|part| matches!(part, Part::Reasoning { .. }));
            dropped[at + i] = had_more && is_empty;
        }
        at = end;
    }
    let mut dropped = dropped.into_iter();
    messages.retain(|_| !dropped.next().unwrap_or_default());
    messages
}

fn shorten(part: &mut Part, max_bytes: usize) {
    let Part::Text(text) = part else { return };
    if text.len() > max_bytes {
        let end = text.floor_char_boundary(max_bytes);
        let omitted = text.len() - end;
        text.truncate(end);
        text.push_str(&format!("[{omitted} bytes omitted]"));
    }
}

/// The estimated tokens of a message.
fn estimate(message: &Message) -> usize {
    fn bytes(part: &Part) -> usize {
        if let Some(tokens) = part.media_tokens() {
            return tokens * 4;
        }
        match part {
            Part::Text(text) | Part::Reasoning { text, .. } => text.len(),
            Part::ToolCall(call) => call.name.len() + call.arguments.len(),
            Part::ToolResult(result) => result.parts.iter().map(bytes).sum(),
            Part::Other(value) => value.to_string().len(),
            Part::Image(_) | Part::Audio(_) | Part::File(_) => 0,
        }
    }
    message.parts.iter().map(bytes).sum::<usize>().div_ceil(4) + FRAME_TOKENS
}

#[cfg(test)]
mod tests;
