//! Requests of rows in the dialect of their own provider: sent as they are, with what has changed since.
//!
//! A change is found by writing the parameters twice, as they were read and as they are now.

use fanweave_core::prompt::RequestBody;
use fanweave_core::{Error, ErrorKind, Message, Parameters, Result};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::splice::Splice;
use crate::protocol::Call;

/// Sets the fields of `request` that differ between the parameters of the row and those of the call. `write`
/// writes the request of a call without messages.
///
/// # Errors
/// Those of `write`.
pub(super) fn set_parameters(
    call: &Call<'_>,
    body: &RequestBody,
    request: &mut Splice<'_>,
    write: impl Fn(&Call<'_>) -> Result<Map<String, Value>>,
) -> Result<()> {
    let before = body.parameters();
    // The model is that of the call, whatever the row names.
    let mut now = call.parameters.clone();
    now.model.clone_from(&before.model);
    if now == *before {
        return Ok(());
    }
    let written = |parameters: &Parameters| write(&Call { messages: &[], body: None, parameters, ..*call });
    let now = written(call.parameters)?;
    // Values of the row that cannot be written are for the provider to refuse.
    let plain = || {
        let mut plain = before.clone();
        (plain.temperature, plain.top_p) = (None, None);
        (plain.reasoning_effort, plain.reasoning_budget, plain.reasoning_summary) = (None, None, false);
        plain
    };
    let before = written(before).or_else(|_| written(&plain()))?;
    set_changed(request, &before, &now)
}

/// Sets the fields that differ between `before` and `now`, also within objects.
fn set_changed(
    request: &mut Splice<'_>,
    before: &Map<String, Value>,
    now: &Map<String, Value>,
) -> Result<()> {
    let empty = Map::new();
    let removed = before.keys().filter(|name| !now.contains_key(*name));
    for name in now.keys().chain(removed) {
        let (before, now) = (before.get(name), now.get(name));
        if before == now {
            continue;
        }
        let name = spelling(request, name);
        let own = request.get(&name).filter(|own| own.starts_with('{')).map(str::to_owned);
        match (before, now, own) {
            (Some(Value::Object(_)) | None, Some(Value::Object(now)), Some(own)) => {
                let mut inner = Splice::new(&own)?;
                set_changed(&mut inner, before.and_then(Value::as_object).unwrap_or(&empty), now)?;
                request.set(&name, Some(raw(inner.finish())?))?;
            }
            (_, now, _) => request.set(&name, now)?,
        }
    }
    Ok(())
}

/// The name of a field in a request, which may have it in `snake_case`.
pub(super) fn spelling(request: &Splice<'_>, name: &str) -> String {
    if request.get(name).is_none() && name.contains(char::is_uppercase) {
        let snake = name.chars().fold(String::new(), |mut snake, c| {
            if c.is_uppercase() {
                snake.push('_');
            }
            snake.push(c.to_ascii_lowercase());
            snake
        });
        if request.get(&snake).is_some() {
            return snake;
        }
    }
    name.to_owned()
}

/// The messages that were added before and after those of the row. `None` if those were changed.
///
/// # Errors
/// [`ErrorKind::Input`] if messages were changed that the prompt does not represent completely.
pub(super) fn added<'a>(
    call: &Call<'a>,
    body: &RequestBody,
    fields: &[&str],
) -> Result<Option<(&'a [Message], &'a [Message])>> {
    let all = call.messages;
    if let Some(own) = body.messages_in(all) {
        return Ok(Some((&all[..own.start], &all[own.end..])));
    }
    let is_message = |field: &&String| fields.iter().any(|name| field.starts_with(name));
    match body.unmapped().iter().find(is_message) {
        None => Ok(None),
        Some(lost) => {
            let message = format!("the messages of the row were changed, and `{lost}` would be lost");
            Err(Error::new(ErrorKind::Input, message))
        }
    }
}

fn raw(json: Vec<u8>) -> Result<Box<RawValue>> {
    let text =
        String::from_utf8(json).map_err(|_| Error::new(ErrorKind::Input, "the request is not UTF-8"))?;
    RawValue::from_string(text)
        .map_err(|e| Error::new(ErrorKind::Input, "the request is not JSON").with_source(e))
}
