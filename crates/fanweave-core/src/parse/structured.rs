//! Structured answers: requested with a schema, deserialised to a type, and retried if they do not fit.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::json::{Reading, is_any};
use super::repair::retry_messages;
use super::value_stream::ValueStream;
use super::{MAX_EXCERPT_BYTES, nulls};
use crate::chain::{Chain, chain};
use crate::{
    Context, Delta, Error, ErrorKind, FinishReason, IntoChain, Message, Node, Parameters, Part, Prompt,
    ResponseFormat, Result, Role, Runnable, Streaming, ToolCall, ToolChoice, ToolResult, ToolSpec, excerpt,
};

/// Default maximum of retries. 2: a model that fails three times rarely succeeds at the fourth attempt.
const DEFAULT_MAX_RETRIES: u32 = 2;

/// The property of the answer if its type is not an object: providers accept only schemas of objects.
const ANSWER: &str = "answer";

/// The name of its schema if it refers to itself.
const WITHIN: &str = "#/$defs/answer";

/// Returns a message if a value is invalid.
type Check<T> = Arc<dyn Fn(&T) -> Result<(), String> + Send + Sync>;

/// Like [`Check`], for a value of its own.
type AsyncCheck<T> = Arc<dyn Fn(&T) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// A model whose answers are values of `T`: a step from [`Prompt`]. Made by [`structured_as`], or by
/// `fanweave::structured`, which derives the schema from the type.
///
/// The provider is asked to enforce the schema, if it can. The answer is deserialised to a `T` and
/// [checked](Self::check). If it does not fit, the model receives its answer and the error, and retries.
///
/// # Streaming
/// Emits the value of the first answer as it grows: strings grow, everything else appears once complete, and
/// nothing that was emitted is taken back. The complete value is emitted once it fits the type and has passed
/// the checks. If the first answer does not fit, the retries are not streamed; only the run's output is then
/// valid.
///
/// # Errors
/// A run fails with [`ErrorKind::Parse`] if no answer fits; the error contains the last one. An answer that
/// was truncated at the token limit is not retried. Errors of the model fail the run too.
pub struct Structured<T> {
    model: Chain<Prompt, Message>,
    name: Arc<str>,
    schema: Arc<Value>,
    /// Set if the schema wraps the answer in an object.
    is_wrapped: bool,
    max_retries: u32,
    is_strict: bool,
    by_tool: bool,
    checks: Vec<Check<T>>,
    async_checks: Vec<AsyncCheck<T>>,
}

/// A model whose answers are values of `T`, with the JSON schema `schema`. `name` is the name of the schema.
///
/// ```
/// use fanweave::{parsers::structured_as, testing::Fake};
/// use fanweave::crates::serde_json::json;
///
/// #[fanweave::schema]
/// #[derive(Debug, PartialEq)]
/// struct Book {
///     title: String,
///     year: u16,
/// }
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let schema = json!({
///     "type": "object",
///     "properties": { "title": { "type": "string" }, "year": { "type": "integer" } },
///     "required": ["title", "year"],
/// });
/// // The first answer has no year: the model receives the error.
/// let model = Fake::script([Ok(r#"{"title": "Emma"}"#), Ok(r#"{"title": "Emma", "year": 1815}"#)]);
/// let book = structured_as::<Book>(model, "book", schema)
///     .check(|book| if book.year < 2000 { Ok(()) } else { Err("an older book, please".into()) });
/// let chain = fanweave::chain(book);
/// assert_eq!(chain.invoke("Recommend a book.").await?, Book { title: "Emma".into(), year: 1815 });
/// # Ok(())
/// # }) }
/// ```
pub fn structured_as<T>(
    model: impl Runnable<Input = Prompt, Output = Message>,
    name: impl Into<Arc<str>>,
    schema: Value,
) -> Structured<T>
where
    T: DeserializeOwned + Send + 'static,
{
    let is_object = schema.get("type").is_some_and(|kind| kind == "object")
        && !["anyOf", "oneOf", "allOf", "$ref"].iter().any(|keyword| schema.get(keyword).is_some());
    let schema = if is_object { schema } else { wrapped(schema) };
    Structured {
        model: chain(model),
        name: name.into(),
        schema: Arc::new(schema),
        is_wrapped: !is_object,
        max_retries: DEFAULT_MAX_RETRIES,
        is_strict: false,
        by_tool: false,
        checks: Vec::new(),
        async_checks: Vec::new(),
    }
}

/// A model whose answers are JSON values with the JSON schema `schema`, which need not be known before the
/// program runs. Otherwise like [`structured_as`].
///
/// Types, enums and the names of fields are checked against the schema; other keywords only by the provider,
/// if it can do so. Add a [check](Structured::check) for them.
///
/// ```
/// use fanweave::{chain, parsers::structured_value, testing::Fake};
/// use fanweave::crates::serde_json::json;
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let schema = json!({ "type": "array", "items": { "type": "string" } });
/// let model = Fake::script([Ok(r#"{"answer": ["Emma", "Persuasion"]}"#)]);
/// let titles = structured_value(model, "titles", schema);
/// assert_eq!(chain(titles).invoke("Two novels by Jane Austen?").await?, json!(["Emma", "Persuasion"]));
/// # Ok(())
/// # }) }
/// ```
pub fn structured_value<M>(
    model: impl IntoChain<Prompt, Message, M>,
    name: impl Into<Arc<str>>,
    schema: Value,
) -> Structured<Value> {
    structured_as(model.into_step(), name, schema)
}

/// The object that wraps an answer under [`ANSWER`].
#[derive(serde::Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Wrapped<T> {
    // A custom function makes the field required, even if it is an `Option`.
    #[serde(deserialize_with = "T::deserialize")]
    answer: T,
}

/// The schema of an object that wraps the answer. Definitions stay at the root, where references look for
/// them.
fn wrapped(mut schema: Value) -> Value {
    let mut root = Map::new();
    if let Value::Object(schema) = &mut schema {
        for keyword in ["$defs", "definitions", "$schema"] {
            if let Some(value) = schema.remove(keyword) {
                root.insert(keyword.to_owned(), value);
            }
        }
    }
    let definitions = root.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    let moved = definitions.fold(refer(&mut schema), |moved, of| refer(of) | moved);
    if moved {
        // The root is now the wrapper.
        let definitions = root.entry("$defs").or_insert_with(|| json!({}));
        if let Value::Object(definitions) = definitions {
            let answer = std::mem::replace(&mut schema, json!({ "$ref": WITHIN }));
            definitions.insert(ANSWER.to_owned(), answer);
        }
    }
    root.insert("type".to_owned(), json!("object"));
    root.insert("properties".to_owned(), json!({ ANSWER: schema }));
    root.insert("required".to_owned(), json!([ANSWER]));
    Value::Object(root)
}

/// Redirects references to the root to the answer. Returns true if there were any.
fn refer(schema: &mut Value) -> bool {
    match schema {
        Value::Object(object) => {
            object.iter_mut().fold(false, |moved, (keyword, value)| match keyword.as_str() {
                "$ref" if value == "#" => {
                    *value = json!(WITHIN);
                    true
                }
                // Keys here are names, not keywords.
                "properties" | "$defs" | "definitions" if value.is_object() => {
                    let named = value.as_object_mut().into_iter().flat_map(Map::values_mut);
                    named.fold(moved, |moved, schema| refer(schema) | moved)
                }
                // Values, not schemas.
                "enum" | "const" | "default" | "examples" => moved,
                _ => refer(value) | moved,
            })
        }
        Value::Array(all) => all.iter_mut().fold(false, |moved, one| refer(one) | moved),
        _ => false,
    }
}

impl<T: DeserializeOwned + Send + 'static> Structured<T> {
    /// Maximum retries. Default 2.
    #[must_use]
    pub fn max_retries(self, times: u32) -> Self {
        Self { max_retries: times, ..self }
    }

    /// Rejects answers that are not valid JSON. By default they are read
    /// [leniently](crate::parse::json::Json::lenient) before the model is asked for a better one.
    #[must_use]
    pub fn strict(self) -> Self {
        Self { is_strict: true, ..self }
    }

    /// Asks for the answer as the arguments of a tool call, for models and servers that support tools and no
    /// response format. The model is offered one tool, which has the name of the schema, and must call it;
    /// tools and choices of the prompt are replaced. An answer without a call is read as text. After an
    /// answer that does not fit, the model receives the error as the result of its call. Default: a response
    /// format.
    ///
    /// ```
    /// use fanweave::{chain, parsers::structured_value, testing::{Answer, Fake}};
    /// use fanweave::crates::serde_json::json;
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let schema = json!({ "type": "object", "properties": { "title": { "type": "string" } } });
    /// let model = Fake::script([Answer::calls([("book", json!({ "title": "Emma" }))])]).model();
    /// let book = structured_value(model, "book", schema).by_tool();
    /// assert_eq!(chain(book).invoke("Recommend a book.").await?, json!({ "title": "Emma" }));
    /// # Ok(())
    /// # }) }
    /// ```
    #[must_use]
    pub fn by_tool(self) -> Self {
        Self { by_tool: true, ..self }
    }

    /// Rejects values that fit the type but are invalid: `check` returns the reason, which the model
    /// receives.
    #[must_use]
    pub fn check(mut self, check: impl Fn(&T) -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.checks.push(Arc::new(check));
        self
    }

    /// Like [`check`](Self::check), for checks that wait, such as for a database. They run one after the
    /// other, after the other checks, and each receives a copy of the value. Dropping the run drops them.
    ///
    /// ```
    /// use fanweave::{chain, parsers::structured_value, testing::Fake};
    /// use fanweave::crates::serde_json::{Value, json};
    ///
    /// async fn is_in_stock(book: Value) -> Result<(), String> {
    ///     if book["title"] == "Emma" { Ok(()) } else { Err("it is out of stock: name another".to_owned()) }
    /// }
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let model = Fake::script([Ok(r#"{"title": "Sanditon"}"#), Ok(r#"{"title": "Emma"}"#)]);
    /// let schema = json!({ "type": "object", "properties": { "title": { "type": "string" } } });
    /// let book = structured_value(model, "book", schema).check_async(is_in_stock);
    /// assert_eq!(chain(book).invoke("Recommend a book.").await?, json!({ "title": "Emma" }));
    /// # Ok(())
    /// # }) }
    /// ```
    #[must_use]
    pub fn check_async<F, Fut>(mut self, check: F) -> Self
    where
        T: Clone,
        F: Fn(T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.async_checks.push(Arc::new(move |value: &T| check(value.clone()).boxed()));
        self
    }

    async fn read(&self, message: &Message) -> Result<T> {
        let text = match self.call(message) {
            Some(call) => call.arguments.clone(),
            None => message.text(),
        };
        let wrong = |reason: String| {
            let shown = excerpt(text.trim(), MAX_EXCERPT_BYTES);
            Error::new(ErrorKind::Parse, format!("{reason}, in {shown:?}")).with_body(&text)
        };
        let value = self.value(message, &text, wrong)?;
        for check in &self.checks {
            check(&value).map_err(wrong)?;
        }
        let waiting: Vec<_> = self.async_checks.iter().map(|check| check(&value)).collect();
        for check in waiting {
            check.await.map_err(wrong)?;
        }
        Ok(value)
    }

    fn value(&self, message: &Message, text: &str, wrong: impl Fn(String) -> Error) -> Result<T> {
        // A JSON value holds no integers beyond 64 bits: they are parsed from the text.
        if !is_any::<T>() {
            let plain = match self.is_wrapped {
                true => super::json::parse(text).map(|Wrapped { answer }| answer),
                false => super::json::parse(text),
            };
            if plain.is_ok() {
                return plain;
            }
        }
        let reply = message.reply.as_deref();
        let reason = reply.and_then(|reply| reply.finish_reason.as_ref());
        let reading = if self.is_strict { Reading::Within } else { Reading::Lenient };
        let value = super::json::parse_in::<Value>(text, reading).map_err(|error| match reason {
            Some(FinishReason::Length) => {
                let message = "the answer was truncated at the token limit: raise `max_tokens`";
                Error::new(ErrorKind::Parse, message).with_body(text)
            }
            Some(FinishReason::Refusal | FinishReason::ContentFilter) => {
                let message =
                    format!("the model declined to answer: {:?}", excerpt(text.trim(), MAX_EXCERPT_BYTES));
                Error::new(ErrorKind::Parse, message).with_body(text)
            }
            _ => error,
        })?;
        let value = match (self.is_wrapped, value) {
            (true, Value::Object(mut object)) if object.contains_key(ANSWER) => {
                object.remove(ANSWER).unwrap_or_default()
            }
            (_, value) => value,
        };
        let of_answer = if self.is_wrapped { &self.schema["properties"][ANSWER] } else { &*self.schema };
        nulls::read(value, of_answer, &self.schema, &self.name).map_err(wrong)
    }

    /// The call whose arguments are the answer.
    fn call<'m>(&self, message: &'m Message) -> Option<&'m ToolCall> {
        message.tool_calls().find(|call| self.by_tool && *call.name == *self.name)
    }

    /// Asks for an answer that fits the schema.
    fn request(&self, parameters: &mut Parameters) {
        let (name, schema) = (self.name.to_string(), Value::clone(&self.schema));
        if self.by_tool {
            parameters.format = None;
            parameters.tool_choice = Some(ToolChoice::Tool(name.clone()));
            let description = "Gives the answer.".to_owned();
            parameters.tools = vec![ToolSpec { name, description, parameters: schema }];
        } else {
            parameters.format = Some(ResponseFormat::JsonSchema { name, schema, strict: true });
        }
    }

    /// The messages that follow an answer that does not fit.
    fn retry(&self, mut message: Message, error: &Error) -> Vec<Message> {
        if self.call(&message).is_none() {
            return retry_messages(message.text(), error).collect();
        }
        // Providers want a result for each call.
        let results = message.tool_calls().map(|call| {
            let text = match *call.name == *self.name {
                true => format!("{error}. Call the tool with the corrected arguments."),
                false => format!("unknown tool `{}`: call `{}`", call.name, self.name),
            };
            Part::ToolResult(ToolResult::error(&*call.id, text))
        });
        let results = Message::from_parts(Role::Tool, results.collect());
        message.reply = None;
        vec![message, results]
    }

    /// Returns true if another answer may be better than this one.
    fn may_improve(message: &Message) -> bool {
        let reason = message.reply.as_deref().and_then(|reply| reply.finish_reason.as_ref());
        !matches!(reason, Some(FinishReason::Length | FinishReason::Refusal | FinishReason::ContentFilter))
    }
}

/// Turns the deltas of the first call of a tool into those of a text.
struct Arguments {
    tool: Arc<str>,
    /// The index of the call.
    part: Option<u32>,
    /// Set if a part of the text before the call has been shown, which cannot be taken back.
    has_shown_text: bool,
}

impl Arguments {
    fn of(tool: Arc<str>) -> Self {
        Self { tool, part: None, has_shown_text: false }
    }

    /// The delta as text. Text before the call is not part of the value.
    fn text_of(&mut self, delta: Delta, values: &mut ValueStream) -> Option<Delta> {
        match delta {
            Delta::ToolCall { part, name, arguments, .. } => {
                if self.part.is_none() && name.as_deref() == Some(&*self.tool) {
                    self.part = Some(part);
                    self.has_shown_text = values.is_shown();
                    *values = ValueStream::holding_complete();
                }
                (self.part == Some(part) && !self.has_shown_text).then(|| Delta::text(arguments))
            }
            Delta::Text { .. } if self.part.is_none() => Some(delta),
            _ => None,
        }
    }
}

impl<T: DeserializeOwned + Send + 'static> Runnable for Structured<T> {
    const DRIVES_CALLS: bool = true;

    type Input = Prompt;
    type Output = T;

    async fn run(&self, mut prompt: Prompt, cx: &Context) -> Result<T> {
        self.request(&mut prompt.parameters);
        let (mut values, is_wrapped) = (ValueStream::holding_complete(), self.is_wrapped);
        let mut arguments = self.by_tool.then(|| Arguments::of(self.name.clone()));
        // The complete value is emitted once it has been checked.
        let complete = Arc::new(Mutex::new(None));
        let held = complete.clone();
        let first = cx.mapped(Box::new(move |delta: Delta| {
            let delta = match &mut arguments {
                Some(arguments) => arguments.text_of(delta, &mut values)?,
                None => delta,
            };
            let mut value = values.push(&delta)?;
            if is_wrapped {
                value = value.get_mut(ANSWER)?.take();
            }
            if !values.has_ended() {
                return Some(Delta::Value(value));
            }
            *held.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            None
        }));
        let (reader, without_deltas) = (cx, cx.without_deltas());
        let mut cx = &first;
        let mut left = self.max_retries;
        loop {
            // The last answer is not followed by a retry.
            let retry_prompt = (left > 0).then(|| prompt.clone());
            let message = self.model.run(prompt, cx).await?;
            let error = match (self.read(&message).await, retry_prompt) {
                (Ok(value), _) => {
                    let complete = complete.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if let Some(complete) = complete {
                        reader.delta(Delta::Value(complete)).await;
                    }
                    if let Some(call) = self.call(&message) {
                        // A call without a result is not valid in the history of a session.
                        reader.record(|| vec![Message::assistant(&*call.arguments)]);
                    }
                    return Ok(value);
                }
                (Err(error), Some(max_retries)) if Self::may_improve(&message) => {
                    prompt = max_retries;
                    error
                }
                (Err(error), _) => return Err(error.with_partial(message)),
            };
            prompt.messages.extend(self.retry(message, &error));
            *complete.lock().unwrap_or_else(PoisonError::into_inner) = None;
            left -= 1;
            cx = &without_deltas;
        }
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        Node::around(format!("structured {}", self.name), [self.model.describe()])
    }
}

impl<T> Clone for Structured<T> {
    fn clone(&self) -> Self {
        Self {
            model: self.model.clone(),
            name: self.name.clone(),
            schema: self.schema.clone(),
            is_wrapped: self.is_wrapped,
            max_retries: self.max_retries,
            is_strict: self.is_strict,
            by_tool: self.by_tool,
            checks: self.checks.clone(),
            async_checks: self.async_checks.clone(),
        }
    }
}

impl<T> fmt::Debug for Structured<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Structured")
            .field("name", &self.name)
            .field("again", &self.max_retries)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use proptest::prelude::*;

    use super::*;
    use crate::model::fake::{Answer, Asked, Fake};

    fn schema() -> Value {
        json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] })
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Number {
        n: u8,
    }

    #[tokio::test]
    async fn a_model_receives_the_error_and_retries_are_limited() {
        let answers = || Fake::script([Ok("n is 3"), Ok(r#"{"n": 300}"#), Ok(r#"{"n": 3}"#)]);
        let number = structured_as::<Number>(answers(), "number", schema());
        assert_eq!(chain(number).invoke("?").await.unwrap(), Number { n: 3 });

        let number = structured_as::<Number>(answers(), "number", schema()).max_retries(1);
        let error = chain(number).invoke("?").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Parse);
        assert!(error.message().starts_with("n: invalid value: integer `300`, expected u8"), "{error}");
        assert_eq!(error.partial().unwrap().text(), r#"{"n": 300}"#);
    }

    #[tokio::test]
    async fn an_error_names_the_field_and_what_it_got() {
        #[derive(Debug, serde::Deserialize)]
        struct Tag {
            #[serde(rename = "name")]
            _name: u8,
        }
        #[derive(Debug, serde::Deserialize)]
        struct Page {
            #[serde(rename = "tags")]
            _tags: Vec<Tag>,
        }
        let tag = json!({ "type": "object", "properties": { "name": { "type": "integer" } }, "required": ["name"] });
        let page = json!({ "type": "object", "properties": { "tags": { "type": "array", "items": tag } } });
        for (answer, says) in [
            (r#"{"tags": [{"name": 1}, {"name": "five"}]}"#, r#"tags[1].name: expected integer, got "five""#),
            (
                r#"{"tags": [{}, {"name": []}]}"#,
                "tags[0]: missing field `name`; tags[1].name: expected integer, got []",
            ),
            (r#"{"tags": [{"name": 256}]}"#, "tags[0].name: invalid value: integer `256`, expected u8"),
        ] {
            let read = structured_as::<Page>(Fake::script([Ok(answer)]), "page", page.clone()).max_retries(0);
            let error = chain(read).invoke("?").await.unwrap_err();
            assert!(error.message().starts_with(says), "{error}");
        }
        let typed = chain(crate::json_as::<Page>());
        let answer = Message::assistant(r#"So: {"tags": [{"name": "5"}]}"#);
        let error = typed.invoke(answer).await.unwrap_err();
        assert!(
            error.message().contains(r#"tags[0].name: invalid type: string "5", expected u8"#),
            "{error}"
        );
    }

    #[tokio::test]
    async fn the_conversation_contains_each_answer_and_its_error() {
        struct Learns;
        impl crate::ChatModel for Learns {
            fn name(&self) -> &str {
                "test/learns"
            }
            async fn generate(&self, prompt: Prompt, _: &Context) -> Result<Message> {
                assert!(matches!(
                    prompt.parameters.format,
                    Some(ResponseFormat::JsonSchema { strict: true, .. })
                ));
                let last = prompt.messages.last().unwrap().text();
                Ok(Message::assistant(match prompt.messages.len() {
                    1 => r#"{"n": 1}"#,
                    _ if last.contains("n must be even") => r#"{"n": 2}"#,
                    _ => "?",
                }))
            }
        }
        let even = |number: &Number| {
            if number.n.is_multiple_of(2) { Ok(()) } else { Err("n must be even".to_owned()) }
        };
        let number = structured_as::<Number>(crate::Model::new(Learns), "number", schema()).check(even);
        assert_eq!(chain(number).invoke("?").await.unwrap(), Number { n: 2 });
    }

    #[tokio::test]
    async fn a_type_other_than_an_object_is_wrapped_in_one() {
        let list = json!({ "type": "array", "items": { "type": "string" } });
        for answer in [r#"{"answer": ["a", "b"]}"#, r#"["a", "b"]"#] {
            let model = Fake::script([Ok(answer)]);
            let words = structured_as::<Vec<String>>(model, "words", list.clone());
            assert_eq!(words.schema["properties"]["answer"], list);
            assert_eq!(chain(words).invoke("?").await.unwrap(), ["a", "b"]);
        }
    }

    #[tokio::test]
    async fn a_null_of_an_optional_property_is_removed() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Page {
            #[serde(default)]
            lines: u8,
            note: Option<u8>,
        }
        let page = json!({
            "type": "object",
            "properties": { "lines": { "type": "integer" }, "note": { "type": ["integer", "null"] } },
        });
        // The form that strict modes give to a property that is not required.
        let model = Fake::script([Ok(r#"{"lines": null, "note": null}"#)]);
        let read = chain(structured_as::<Page>(model, "page", page.clone()).max_retries(0)).invoke("?").await;
        assert_eq!(read.unwrap(), Page { lines: 0, note: None });
        let model = Fake::script([Ok(r#"{"answer": [{"lines": null, "note": 1}]}"#)]);
        let pages =
            json!({ "type": "array", "items": { "$ref": "#/$defs/page" }, "$defs": { "page": page } });
        let read = chain(structured_as::<Vec<Page>>(model, "pages", pages).max_retries(0)).invoke("?").await;
        assert_eq!(read.unwrap(), [Page { lines: 0, note: Some(1) }]);
        // A required property that is still missing.
        let model = Fake::script([Ok(r#"{"n": null}"#)]);
        let error = chain(structured_as::<Number>(model, "number", schema()).max_retries(0))
            .invoke("?")
            .await
            .unwrap_err();
        assert!(error.message().starts_with("n: expected integer, got null"), "{error}");
    }

    #[tokio::test]
    async fn an_unwrapped_answer_is_accepted_if_it_is_optional() {
        let schema = json!({ "anyOf": [schema(), { "type": "null" }] });
        for answer in [r#"{"n": 3}"#, r#"{"answer": {"n": 3}}"#] {
            let number =
                structured_as::<Option<Number>>(Fake::script([Ok(answer)]), "number", schema.clone());
            assert_eq!(chain(number).invoke("?").await.unwrap(), Some(Number { n: 3 }), "{answer}");
        }
    }

    #[tokio::test]
    async fn integers_of_128_bits_are_read_to_the_last_digit() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Large {
            n: u128,
        }
        let model = || {
            Fake::script([Ok(
                r#"{"n": 340282366920938463463374607431768211455, "answer": -36893488147419103232}"#,
            )])
        };
        let read = chain(structured_as::<Large>(model(), "large", schema()).max_retries(0)).invoke("?").await;
        assert_eq!(read.unwrap(), Large { n: u128::MAX });
        let integer = json!({ "type": "integer" });
        let read = chain(structured_as::<i128>(model(), "large", integer).max_retries(0)).invoke("?").await;
        assert_eq!(read.unwrap(), -(1 << 65));
    }

    #[tokio::test]
    async fn the_error_of_a_huge_answer_is_short() {
        let huge: &'static str = format!(r#"{{"n": "{}"}}"#, "x".repeat(1_000_000)).leak();
        let number = structured_as::<Number>(Fake::script([Ok(huge)]), "number", schema()).max_retries(0);
        let error = chain(number).invoke("?").await.unwrap_err();
        assert!(error.to_string().len() < 1000, "{} bytes", error.to_string().len());
        assert!(error.message().contains("n: expected integer"), "{error}");
    }

    #[tokio::test]
    async fn text_before_a_tool_call_does_not_belong_to_the_answer() {
        struct Says;
        impl crate::ChatModel for Says {
            fn name(&self) -> &str {
                "test/says"
            }
            async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
                let (text, call) = match prompt.messages.len() {
                    1 => (r#"I look [here] first: {"n": 1}."#, true),
                    _ => (r#"{"n": 2}"#, false),
                };
                cx.delta(Delta::text(text)).await;
                let mut message = Message::assistant(text);
                if call {
                    let call =
                        crate::ToolCall { id: "1".into(), name: "look".into(), arguments: "{}".into() };
                    message.parts.push(crate::Part::ToolCall(call));
                }
                Ok(message)
            }
        }
        let agent = crate::Model::new(Says).with_tools(crate::tool::Tools::new()).run_tools(3);
        let mut run = chain(structured_as::<Number>(agent, "number", schema())).stream("?");
        let mut last = None;
        while let Some(delta) = run.next().await {
            last = Some(delta.unwrap());
        }
        assert_eq!(run.output().await.unwrap(), Number { n: 2 });
        assert_eq!(last, Some(Delta::Value(json!({ "n": 2 }))));
    }

    #[tokio::test]
    async fn a_refused_value_is_never_streamed_as_complete() {
        let shown = async |retries, answers: &[&'static str]| {
            let model = Fake::script(answers.iter().map(|answer| Ok(*answer)).collect::<Vec<_>>());
            let number = structured_as::<Number>(model, "number", schema()).max_retries(retries);
            let even = number.check(|n| if n.n.is_multiple_of(2) { Ok(()) } else { Err("odd".to_owned()) });
            chain(even).stream("?").map(Result::ok).collect::<Vec<_>>().await
        };
        let value = |value| Some(Delta::Value(value));
        assert_eq!(shown(0, &[r#"{"n": 1}"#]).await, [value(json!({})), None]);
        assert_eq!(shown(1, &[r#"{"n": 1}"#, r#"{"n": 2}"#]).await, [value(json!({}))]);
        assert_eq!(shown(0, &[r#"{"n": 2}"#]).await, [value(json!({})), value(json!({ "n": 2 }))]);
    }

    #[test]
    fn a_type_that_refers_to_itself_still_does_within_another() {
        let of = |to: &str| json!({ "properties": { "const": { "$ref": to } }, "enum": [{ "$ref": "#" }] });
        let sum = json!({ "oneOf": [{ "type": "number" }, of("#")], "$defs": { "a": of("#"), "b": of("#/$defs/a") } });
        let wrapped = structured_as::<Value>(Fake::echo(), "sum", sum).schema;
        let within = json!({ "oneOf": [{ "type": "number" }, of("#/$defs/answer")] });
        assert_eq!(wrapped["$defs"]["answer"], within);
        assert_eq!(wrapped["$defs"]["a"], of("#/$defs/answer"));
        assert_eq!(wrapped["$defs"]["b"], of("#/$defs/a"));
        assert_eq!(wrapped["properties"]["answer"], json!({ "$ref": "#/$defs/answer" }));
        assert_eq!(wrapped["type"], "object");
    }

    #[tokio::test]
    async fn an_answer_without_text_is_not_added_to_the_conversation() {
        struct Silent;
        impl crate::ChatModel for Silent {
            fn name(&self) -> &str {
                "test/silent"
            }
            async fn generate(&self, prompt: Prompt, _: &Context) -> Result<Message> {
                // Providers reject empty messages.
                assert!(prompt.messages.iter().all(|message| !message.text().is_empty()), "{prompt:?}");
                Ok(Message::assistant(if prompt.messages.len() == 1 { "" } else { r#"{"n": 1}"# }))
            }
        }
        let number = structured_as::<Number>(crate::Model::new(Silent), "number", schema());
        assert_eq!(chain(number).invoke("?").await.unwrap(), Number { n: 1 });
    }

    #[tokio::test]
    async fn a_truncated_answer_is_not_retried() {
        struct Short;
        impl crate::ChatModel for Short {
            fn name(&self) -> &str {
                "test/short"
            }
            async fn generate(&self, prompt: Prompt, _: &Context) -> Result<Message> {
                assert_eq!(prompt.messages.len(), 1, "asked again");
                let mut message = Message::assistant(r#"{"n": "#);
                message.reply.get_or_insert_default().finish_reason = Some(FinishReason::Length);
                Ok(message)
            }
        }
        let number = structured_as::<Number>(crate::Model::new(Short), "number", schema());
        let error = chain(number).invoke("?").await.unwrap_err();
        assert!(error.message().contains("raise `max_tokens`"), "{error}");
    }

    /// Returns true if `later` is `before` or a continuation of it.
    fn has_grown(before: &Value, later: &Value) -> bool {
        match (before, later) {
            (Value::String(before), Value::String(later)) => later.starts_with(before.as_str()),
            (Value::Array(before), Value::Array(later)) => {
                before.len() <= later.len() && before.iter().zip(later).all(|(a, b)| has_grown(a, b))
            }
            (Value::Object(before), Value::Object(later)) => {
                before.iter().all(|(name, a)| later.get(name).is_some_and(|b| has_grown(a, b)))
            }
            (before, later) => before == later,
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            Just(Value::Null),
            r#"[a-z "\\é]{0,12}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{1,5}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn partial_values_only_grow_and_end_as_the_whole(value in values(), cuts in prop::collection::vec(1_usize..9, 1..60)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let text = json!({ "answer": value }).to_string();
                let mut deltas = Vec::new();
                let mut chars = text.chars().peekable();
                for cut in cuts.iter().cycle() {
                    if chars.peek().is_none() {
                        break;
                    }
                    deltas.push(Delta::text(chars.by_ref().take(*cut).collect::<String>()));
                }
                let model = Deltas(deltas);
                // Not an object, so the value is wrapped in one.
                let mut run = chain(structured_as::<Value>(crate::Model::new(model), "any", json!({}))).stream("?");
                let mut before: Option<Value> = None;
                while let Some(delta) = run.next().await {
                    let Delta::Value(now) = delta.unwrap() else { panic!("no value") };
                    if let Some(before) = &before {
                        assert!(has_grown(before, &now), "{before} became {now}");
                    }
                    before = Some(now);
                }
                assert_eq!(run.output().await.unwrap(), value);
            });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_may_be_async_and_lead_to_a_retry() {
        let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = asked.clone();
        let is_even = move |value: Value| {
            seen.lock().unwrap().push(value.clone());
            async move {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                if value["n"].as_u64().is_some_and(|n| n % 2 == 0) { Ok(()) } else { Err("odd".to_owned()) }
            }
        };
        let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
        let model = |answers: [&'static str; 3]| Fake::script(answers.map(Ok));
        let number = |answers| {
            let checked = structured_value(model(answers), "number", schema.clone());
            checked.check(|value| value["n"].is_u64().then_some(()).ok_or("no number".to_owned()))
        };
        let answers = [r#"{"n": 1}"#, r#"{"n": "two"}"#, r#"{"n": 4}"#];
        let even = number(answers).check_async(is_even.clone());
        assert_eq!(chain(even).invoke("?").await.unwrap(), json!({ "n": 4 }));
        // A value that another check has rejected is not passed on.
        assert_eq!(*asked.lock().unwrap(), [json!({ "n": 1 }), json!({ "n": 4 })]);
        let error = chain(number(answers).check_async(is_even).max_retries(0)).invoke("?").await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Parse, r#"odd, in "{\"n\": 1}""#));
    }

    #[tokio::test]
    async fn a_value_by_a_tool_call_is_streamed_checked_and_corrected() {
        let call = |n: u16| Answer::calls([("number", json!({ "n": n }))]);
        let asked = Asked::default();
        let model = Fake::script([call(300), Answer::text(r#"{"n": 4}"#), call(1), call(2)]);
        let model = model.record_in(&asked).model();
        let number = chain(structured_as::<Number>(model, "number", schema()).by_tool());
        // The error is the result of the call, and an answer without a call is read.
        assert_eq!(number.invoke("?").await.unwrap(), Number { n: 4 });
        let last = asked.last().unwrap();
        assert_eq!(last.parameters.tool_choice, Some(ToolChoice::Tool("number".into())));
        assert_eq!((last.parameters.tools.len(), &last.parameters.format), (1, &None));
        let [_, called, result] = &last.messages[..] else { panic!("{last:?}") };
        let Part::ToolResult(result) = &result.parts[0] else { panic!("{last:?}") };
        assert_eq!(Some(&result.id), called.tool_calls().next().map(|call| &call.id));
        assert!(result.is_error && result.text().contains("n: invalid value: integer `300`"), "{result:?}");

        let even = number_that_is_even(Fake::script([call(1), call(2)]).model());
        assert_eq!(chain(even).invoke("?").await.unwrap(), Number { n: 2 });
        let run = number.stream("?");
        let deltas: Vec<_> = run.map(Result::unwrap).collect().await;
        assert_eq!(deltas.last(), Some(&Delta::Value(json!({ "n": 1 }))));
    }

    fn number_that_is_even(model: crate::Model) -> Structured<Number> {
        let even = |n: &Number| if n.n.is_multiple_of(2) { Ok(()) } else { Err("n must be even".to_owned()) };
        structured_as::<Number>(model, "number", schema()).by_tool().check(even)
    }

    #[tokio::test]
    async fn text_beside_a_tool_call_is_not_part_of_its_value() {
        let call = |part, name: Option<&str>, arguments: &str| Delta::ToolCall {
            part,
            id: name.map(|name| format!("id-{name}-{part}")),
            name: name.map(str::to_owned),
            arguments: arguments.to_owned(),
        };
        let deltas = vec![
            Delta::text("I look [here]: "),
            call(0, Some("other"), r#"{"n": 7}"#),
            call(1, Some("words"), r#"{"answer": ["a"#),
            call(1, None, r#"b", "c"]}"#),
            Delta::text(r#"{"answer": ["x"]}"#),
        ];
        let list = json!({ "type": "array", "items": { "type": "string" } });
        let model = crate::Model::new(Deltas(deltas));
        let words = structured_as::<Vec<String>>(model, "words", list).by_tool();
        let mut run = chain(words).stream("?");
        let mut shown = Vec::new();
        while let Some(delta) = run.next().await {
            shown.push(delta.unwrap());
        }
        assert_eq!(run.output().await.unwrap(), ["ab", "c"]);
        assert_eq!(shown.last(), Some(&Delta::Value(json!(["ab", "c"]))));
        assert_eq!(shown.first(), Some(&Delta::Value(json!(["a"]))));
    }

    struct Deltas(Vec<Delta>);

    impl crate::ChatModel for Deltas {
        fn name(&self) -> &str {
            "test/deltas"
        }

        async fn generate(&self, _: Prompt, cx: &Context) -> Result<Message> {
            let mut fold = crate::Fold::default();
            for delta in &self.0 {
                fold.push(delta);
                cx.delta(delta.clone()).await;
            }
            Ok(fold.into_message())
        }
    }
}
