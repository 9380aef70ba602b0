//! What `#[tool]` expands to.

use std::error::Error as StdError;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{Error, ErrorKind, Result};

/// The schema of a tool's arguments.
pub fn parameters<T: JsonSchema>() -> Value {
    let mut schema = crate::structured::schema_of::<T>();
    let Value::Object(fields) = &mut schema else { return schema };
    // The tool says both itself.
    fields.remove("title");
    fields.remove("description");
    // Providers look for it even where all alternatives say so.
    fields.entry("type").or_insert_with(|| "object".into());
    fields.entry("properties").or_insert_with(|| Value::Object(serde_json::Map::new()));
    schema
}

/// What a tool's function returned.
pub struct Returned<T>(pub T);

/// Of a function that can fail. Found before [`Plain`], which is there for a reference.
pub trait Fallible<T, E> {
    /// What the model gets to read.
    fn said(self) -> Result<String>
    where
        T: Readable,
        E: Reason;
}

impl<T, E> Fallible<T, E> for Returned<std::result::Result<T, E>> {
    fn said(self) -> Result<String>
    where
        T: Readable,
        E: Reason,
    {
        match self.0 {
            Ok(value) => written(&value),
            Err(error) => Err(match error.into().downcast::<Error>() {
                Ok(error) => *error,
                Err(error) => Error::new(ErrorKind::Step, error.to_string()).with_source(Said(error)),
            }),
        }
    }
}

/// Of a function that cannot.
pub trait Plain<T> {
    /// What the model gets to read.
    fn said(self) -> Result<String>
    where
        T: Readable;
}

impl<T> Plain<T> for &Returned<T> {
    fn said(self) -> Result<String>
    where
        T: Readable,
    {
        written(&self.0)
    }
}

/// A text as it is, and anything else as JSON.
fn written(value: &impl Serialize) -> Result<String> {
    // A JSON value holds no integers beyond 64 bits.
    let json = serde_json::to_string(value);
    match json.and_then(|json| if json.starts_with('"') { serde_json::from_str(&json) } else { Ok(json) }) {
        Ok(text) => Ok(text),
        Err(error) => {
            let message = format!("the answer of the tool cannot be serialised: {error}");
            Err(Error::new(ErrorKind::Step, message).with_source(error))
        }
    }
}

/// What a model can read.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the answer of a tool",
    label = "no model can read this",
    note = "return a `String`, something that derives `serde::Serialize`, or a `Result` of those"
)]
pub trait Readable: Serialize {}

#[diagnostic::do_not_recommend]
impl<T: Serialize> Readable for T {}

/// What can be the error of a tool.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a tool",
    label = "this is no error",
    note = "return a `fanweave::Result`, or a `Result` with a `String`, a boxed error or a type that implements \
            `std::error::Error`"
)]
pub trait Reason: Into<Box<dyn StdError + Send + Sync>> {}

#[diagnostic::do_not_recommend]
impl<E: Into<Box<dyn StdError + Send + Sync>>> Reason for E {}

/// What the method of a tool gives, before it is waited for.
#[diagnostic::on_unimplemented(
    message = "the method `call` of a tool is async, and this one gives `{Self}`",
    label = "the `call` of this tool is not async",
    note = "write `async fn call`, or `#[fanweave::tool(blocking)]` where it blocks"
)]
pub trait Work: Future {}

#[diagnostic::do_not_recommend]
impl<F: Future> Work for F {}

/// The work of a method `call`.
pub fn work<F: Work>(work: F) -> F {
    work
}

/// Stands in where a tool has no method `call` of its own, which would be found first.
pub trait NoCall: Sized {
    /// Cannot be called.
    fn call(&self) -> std::future::Ready<()>
    where
        Self: Callable,
    {
        std::future::ready(())
    }
}

impl<T> NoCall for T {}

/// Is implemented for nothing.
#[diagnostic::on_unimplemented(
    message = "the tool `{Self}` has no method `call`",
    label = "this tool cannot be called",
    note = "write `impl {Self} {{ async fn call(&self) -> String {{ .. }} }}`"
)]
pub trait Callable {}

/// A boxed error as one.
#[derive(Debug)]
pub(crate) struct Said(pub(crate) Box<dyn StdError + Send + Sync>);

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Said {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}
