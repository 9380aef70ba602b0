//! Tool calls of the writer, and their arguments.

use std::collections::HashSet;

use super::schema::{self, Hints};
use super::{ChatRequest, Role, Tool, ToolCall, ToolChoice, extract, words};
use crate::draw::Rng;

/// Words that request the same thing twice.
const PLURAL_WORDS: [&str; 4] = ["both", "each", "two", "every"];

/// The calls in answer to `request`; `None` if it is answered with text.
///
/// A required call is always made. With [`ToolChoice::Auto`], a user message is answered with a call of the
/// tool whose name and description share the most words with it, if any.
pub(super) fn calls(request: &ChatRequest<'_>, rng: &mut Rng) -> Option<Vec<ToolCall>> {
    let tool = chosen(request)?;
    let prompt = request.last_user_text();
    let wants_several = words::words(prompt).any(|word| PLURAL_WORDS.contains(&&*word.to_lowercase()));
    let count = if wants_several && request.parallel_tool_calls { 2 } else { 1 };
    let mut hints = Hints::of(request);
    let call = |_| {
        let arguments = schema::instance(&tool.parameters, &hints, rng).to_string();
        hints.next_name();
        ToolCall {
            id: format!("{:016x}{:08x}", rng.bits(), rng.bits() as u32),
            name: tool.name.clone(),
            arguments,
        }
    };
    Some((0..count).map(call).collect())
}

fn chosen<'a>(request: &'a ChatRequest<'_>) -> Option<&'a Tool> {
    let has_results = request.messages.last().is_some_and(|message| message.role != Role::User);
    match &request.tool_choice {
        ToolChoice::None => None,
        ToolChoice::Named(name) => request.tools.iter().find(|tool| tool.name == *name),
        ToolChoice::Required => related(request).or(request.tools.first()),
        ToolChoice::Auto if has_results => None,
        ToolChoice::Auto => related(request),
    }
}

/// The tool that shares the most words with the last message; the first of several.
fn related<'a>(request: &'a ChatRequest<'_>) -> Option<&'a Tool> {
    let wanted: HashSet<String> = words::telling_words(request.last_user_text()).map(extract::stem).collect();
    let shared = |tool: &Tool| {
        let named = words::telling_words(&tool.name.replace('_', " ")).collect::<Vec<_>>();
        let described = words::telling_words(&tool.description);
        let about: HashSet<String> = named.into_iter().chain(described).map(extract::stem).collect();
        about.intersection(&wanted).count()
    };
    let related = request.tools.iter().filter(|tool| shared(tool) > 0);
    related.reduce(|best, tool| if shared(tool) > shared(best) { tool } else { best })
}
