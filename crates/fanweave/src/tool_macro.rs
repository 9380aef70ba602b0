//! Functions and traits used by the expansion of `#[tool]`.

use std::error::Error as StdError;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{Error, ErrorKind, Result};

/// The schema of a tool's arguments.
pub fn parameters<T: JsonSchema>() -> Value {
    let mut schema = crate::structured::schema_of::<T>();
    let Value::Object(fields) = &mut schema else { return schema };
    // The tool has its own name and description.
    fields.remove("title");
    fields.remove("description");
    // Providers require a type even if all alternatives have one.
    fields.entry("type").or_insert_with(|| "object".into());
    fields.entry("properties").or_insert_with(|| Value::Object(serde_json::Map::new()));
    schema
}

/// The return value of a tool's function.
pub struct Returned<T>(pub T);

/// For a function that can fail. Takes precedence over [`Plain`], which is implemented for a reference.
pub trait Fallible<T, E> {
    /// Converts to the text for the model.
    fn to_text(self) -> Result<String>
    where
        T: Readable,
        E: Reason;
}

impl<T, E> Fallible<T, E> for Returned<std::result::Result<T, E>> {
    fn to_text(self) -> Result<String>
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

/// For a function that cannot fail.
pub trait Plain<T> {
    /// Converts to the text for the model.
    fn to_text(self) -> Result<String>
    where
        T: Readable;
}

impl<T> Plain<T> for &Returned<T> {
    fn to_text(self) -> Result<String>
    where
        T: Readable,
    {
        written(&self.0)
    }
}

/// A string verbatim, and any other value as JSON.
fn written(value: &impl Serialize) -> Result<String> {
    // Not through a JSON value, which cannot hold integers of more than 64 bits.
    let json = serde_json::to_string(value);
    match json.and_then(|json| if json.starts_with('"') { serde_json::from_str(&json) } else { Ok(json) }) {
        Ok(text) => Ok(text),
        Err(error) => {
            let message = format!("the result of the tool cannot be serialised: {error}");
            Err(Error::new(ErrorKind::Step, message).with_source(error))
        }
    }
}

/// A type that a tool can return.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of a tool",
    label = "not serialisable",
    note = "return a `String`, something that derives `serde::Serialize`, or a `Result` of those"
)]
pub trait Readable: Serialize {}

#[diagnostic::do_not_recommend]
impl<T: Serialize> Readable for T {}

/// A type that a tool can return as its error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a tool",
    label = "not an error type",
    note = "return a `fanweave::Result`, or a `Result` with a `String`, a boxed error or a type that implements \
            `std::error::Error`"
)]
pub trait Reason: Into<Box<dyn StdError + Send + Sync>> {}

#[diagnostic::do_not_recommend]
impl<E: Into<Box<dyn StdError + Send + Sync>>> Reason for E {}

/// The future of a tool's method.
#[diagnostic::on_unimplemented(
    message = "the method `call` of a tool must be async, but this one returns `{Self}`",
    label = "the `call` of this tool is not async",
    note = "write `async fn call`, or `#[fanweave::tool(blocking)]` if it blocks"
)]
pub trait Work: Future {}

#[diagnostic::do_not_recommend]
impl<F: Future> Work for F {}

/// Returns the future of a method `call`. The bound produces the error message.
pub fn work<F: Work>(work: F) -> F {
    work
}

/// Provides a `call` for tools without their own, which would take precedence, to report an error.
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

/// Implemented for no type.
#[diagnostic::on_unimplemented(
    message = "the tool `{Self}` has no method `call`",
    label = "this tool cannot be called",
    note = "write `impl {Self} {{ async fn call(&self) -> String {{ .. }} }}`"
)]
pub trait Callable {}

/// Makes a boxed error an error type.
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
