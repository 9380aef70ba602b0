//! [`Item`]: any value that flows between erased steps, and its conversions.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::retrieve::Document;
use crate::{Error, ErrorKind, Message, Prompt, Result, Vars};

/// A value between two [erased](crate::Chain::erased) steps, or two steps of a [`dag`](crate::dag).
///
/// Prompts, messages and values of other languages pass unchanged; nothing is serialised on the way.
///
/// ```
/// use fanweave::crates::serde_json;
/// use fanweave::{Item, values::{FromItem, IntoItem}};
///
/// let item = vec!["Tides", "Turbines"].into_item()?;
/// assert_eq!(item.kind(), "a list");
/// assert_eq!(item.to_value()?, serde_json::json!(["Tides", "Turbines"]));
/// let titles = Vec::<String>::from_item(item).expect("a list of texts");
/// assert_eq!(titles, ["Tides", "Turbines"]);
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Item {
    /// A text.
    Text(String),
    /// A JSON value.
    Value(Value),
    /// Variables of a template.
    Vars(Vars),
    /// The input of a model.
    Prompt(Box<Prompt>),
    /// The answer of a model.
    Message(Box<Message>),
    /// A list of items.
    List(Vec<Item>),
    /// A value that this crate does not know.
    Foreign(Ticket),
}

impl Item {
    /// A value of any type. The next step gets it back with [`Ticket::downcast`].
    pub fn foreign<T: Any + Send + Sync>(value: T) -> Self {
        Self::Foreign(Ticket::new(value))
    }

    /// The kind of the item with its article, such as `a list`, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Item::Text(_) => "a text",
            Item::Value(value) => match value {
                Value::Null => "null",
                Value::Bool(_) => "a boolean",
                Value::Number(_) => "a number",
                Value::String(_) => "a text",
                Value::Array(_) => "a list",
                Value::Object(_) => "an object",
            },
            Item::Vars(_) => "an object",
            Item::Prompt(_) => "a prompt",
            Item::Message(_) => "a message",
            Item::List(_) => "a list",
            Item::Foreign(_) => "a foreign value",
        }
    }

    /// The item as JSON. Prompts and messages are serialised.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] if it is or contains a [`Foreign`](Self::Foreign) value.
    pub fn to_value(&self) -> Result<Value> {
        Ok(match self {
            Item::Text(text) => Value::String(text.clone()),
            Item::Value(value) => value.clone(),
            Item::Vars(vars) => Value::Object(vars.as_map().clone()),
            Item::Prompt(prompt) => serialized(prompt)?,
            Item::Message(message) => serialized(message)?,
            Item::List(items) => items.iter().map(Item::to_value).collect::<Result<_>>()?,
            Item::Foreign(_) => return Err(no_json()),
        })
    }

    /// Like [`to_value`](Self::to_value), without a copy of texts and JSON values.
    ///
    /// # Errors
    /// Those of `to_value`.
    pub fn into_value(self) -> Result<Value> {
        Ok(match self {
            Item::Text(text) => Value::String(text),
            Item::Value(value) => value,
            Item::Vars(vars) => Value::Object(vars.into_map()),
            Item::List(items) => items.into_iter().map(Item::into_value).collect::<Result<_>>()?,
            other => other.to_value()?,
        })
    }

    /// The text of a text or message.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] for any other item.
    pub fn into_text(self) -> Result<String> {
        match self {
            Item::Text(text) | Item::Value(Value::String(text)) => Ok(text),
            Item::Message(message) => Ok(message.into_text()),
            other => {
                let message = format!("expected a text or a message, got {}", other.description());
                Err(Error::new(ErrorKind::Input, message))
            }
        }
    }

    /// The kind, and that of the only item of a list: [`Vec::from_item`] returns the item that does not fit.
    pub(crate) fn description(&self) -> String {
        match self {
            Item::List(items) if items.len() == 1 => format!("a list with {}", items[0].kind()),
            other => other.kind().to_owned(),
        }
    }
}

fn serialized(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value)
        .map_err(|e| Error::new(ErrorKind::Input, "the value has no JSON form").with_source(e))
}

fn no_json() -> Error {
    Error::new(
        ErrorKind::Input,
        "a foreign value has no JSON form: return a serialisable value from its step",
    )
}

/// A value of a type that this crate does not know, such as an object of another language.
///
/// ```
/// use fanweave::values::Ticket;
///
/// struct Handle(u32);
///
/// let ticket = Ticket::new(Handle(7));
/// assert_eq!(ticket.downcast::<Handle>().expect("it is a handle").0, 7);
/// assert!(ticket.downcast::<String>().is_none());
/// ```
#[derive(Clone)]
pub struct Ticket(Arc<dyn Any + Send + Sync>);

impl Ticket {
    /// Wraps a value.
    pub fn new<T: Any + Send + Sync>(value: T) -> Self {
        Self(Arc::new(value))
    }

    /// The value, if it is a `T`.
    pub fn downcast<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.0.clone().downcast().ok()
    }
}

/// Two tickets are equal if they hold the same value, not an equal one.
impl PartialEq for Ticket {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(..)")
    }
}

/// Types that an [erased](crate::Chain::erased) step can take as its input.
pub trait FromItem: Sized {
    /// The expected kind with its article, such as `a list`, for messages.
    fn expects() -> String;

    /// Converts an item.
    ///
    /// # Errors
    /// The item, if it is of another kind. For a list with an item of another kind: a list of that item.
    fn from_item(item: Item) -> Result<Self, Item>;
}

/// Types that an [erased](crate::Chain::erased) step can return.
pub trait IntoItem {
    /// Converts the value.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] if the value cannot be serialised.
    fn into_item(self) -> Result<Item>;
}

/// A value of any type that serde can serialise or deserialise, as an item.
///
/// ```
/// use fanweave::values::{FromItem, IntoItem, Serde};
///
/// #[fanweave::schema]
/// struct Book {
///     title: String,
/// }
///
/// let item = Serde(Book { title: "Emma".to_owned() }).into_item()?;
/// let Serde(book) = Serde::<Book>::from_item(item).expect("a book");
/// assert_eq!(book.title, "Emma");
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Serde<T>(
    /// The value.
    pub T,
);

impl<T: DeserializeOwned> FromItem for Serde<T> {
    fn expects() -> String {
        let name = crate::graph::short_name(std::any::type_name::<T>());
        format!("a value of type {name}")
    }

    fn from_item(item: Item) -> Result<Self, Item> {
        let Ok(value) = item.to_value() else { return Err(item) };
        serde_json::from_value(value).map(Serde).map_err(|_| item)
    }
}

impl<T: Serialize> IntoItem for Serde<T> {
    fn into_item(self) -> Result<Item> {
        serialized(&self.0).map(Item::Value)
    }
}

/// Implements both conversions by one pattern each.
macro_rules! item {
    ($type:ty, $expects:literal, $($from:pat => $value:expr),+; $value_of:ident => $into:expr) => {
        impl FromItem for $type {
            fn expects() -> String {
                $expects.to_owned()
            }

            fn from_item(item: Item) -> Result<Self, Item> {
                match item {
                    $($from => Ok($value),)+
                    other => Err(other),
                }
            }
        }

        impl IntoItem for $type {
            fn into_item(self) -> Result<Item> {
                let $value_of = self;
                Ok($into)
            }
        }
    };
}

impl FromItem for Item {
    fn expects() -> String {
        "a value".to_owned()
    }

    fn from_item(item: Item) -> Result<Self, Item> {
        Ok(item)
    }
}

impl IntoItem for Item {
    fn into_item(self) -> Result<Item> {
        Ok(self)
    }
}

item!(String, "a text", Item::Text(text) | Item::Value(Value::String(text)) => text; text => Item::Text(text));
item!((), "null", Item::Value(Value::Null) => (); _null => Item::Value(Value::Null));
item!(bool, "a boolean", Item::Value(Value::Bool(value)) => value; value => Item::Value(value.into()));
item!(Ticket, "a foreign value", Item::Foreign(ticket) => ticket; ticket => Item::Foreign(ticket));
item!(Message, "a message", Item::Message(message) => *message; message => Item::Message(message.into()));
item!(
    Prompt, "a prompt",
    Item::Prompt(prompt) => *prompt,
    Item::Message(message) => Prompt::from(*message),
    Item::Text(text) | Item::Value(Value::String(text)) => Prompt::from(text);
    prompt => Item::Prompt(prompt.into())
);
item!(
    Vars, "variables",
    Item::Vars(vars) => vars,
    Item::Value(Value::Object(map)) => Vars::from(map),
    Item::Text(text) | Item::Value(Value::String(text)) => Vars::from(text);
    vars => Item::Vars(vars)
);

impl FromItem for Value {
    fn expects() -> String {
        "a JSON value".to_owned()
    }

    fn from_item(item: Item) -> Result<Self, Item> {
        match item {
            Item::Value(value) => Ok(value),
            Item::Text(text) => Ok(Value::String(text)),
            other => other.to_value().map_err(|_| other),
        }
    }
}

impl IntoItem for Value {
    fn into_item(self) -> Result<Item> {
        Ok(Item::Value(self))
    }
}

impl IntoItem for &str {
    fn into_item(self) -> Result<Item> {
        Ok(Item::Text(self.to_owned()))
    }
}

macro_rules! number {
    ($($type:ty),+) => {$(
        impl FromItem for $type {
            fn expects() -> String {
                concat!("a number (", stringify!($type), ")").to_owned()
            }

            fn from_item(item: Item) -> Result<Self, Item> {
                match item {
                    Item::Value(Value::Number(number)) => {
                        serde_json::from_value(Value::Number(number.clone()))
                            .map_err(|_| Item::Value(Value::Number(number)))
                    }
                    other => Err(other),
                }
            }
        }

        impl IntoItem for $type {
            fn into_item(self) -> Result<Item> {
                Ok(Item::Value(self.into()))
            }
        }
    )+};
}

number!(i8, i16, i32, i64, isize, u8, u16, u32, u64, usize, f32, f64);

impl FromItem for Document {
    fn expects() -> String {
        "a document".to_owned()
    }

    fn from_item(item: Item) -> Result<Self, Item> {
        Serde::from_item(item).map(|Serde(document)| document)
    }
}

impl IntoItem for Document {
    fn into_item(self) -> Result<Item> {
        Serde(self).into_item()
    }
}

impl<T: FromItem> FromItem for Vec<T> {
    fn expects() -> String {
        format!("a list (each item: {})", T::expects())
    }

    fn from_item(item: Item) -> Result<Self, Item> {
        let unfit = |item| Item::List(vec![item]);
        match item {
            Item::List(items) => items.into_iter().map(|item| T::from_item(item).map_err(unfit)).collect(),
            Item::Value(Value::Array(values)) => {
                values.into_iter().map(|value| T::from_item(Item::Value(value)).map_err(unfit)).collect()
            }
            other => Err(other),
        }
    }
}

impl<T: IntoItem> IntoItem for Vec<T> {
    fn into_item(self) -> Result<Item> {
        self.into_iter().map(IntoItem::into_item).collect::<Result<_>>().map(Item::List)
    }
}

impl<T: FromItem> FromItem for Option<T> {
    fn expects() -> String {
        format!("{} or null", T::expects())
    }

    fn from_item(item: Item) -> Result<Self, Item> {
        match item {
            Item::Value(Value::Null) => Ok(None),
            other => T::from_item(other).map(Some),
        }
    }
}

impl<T: IntoItem> IntoItem for Option<T> {
    fn into_item(self) -> Result<Item> {
        match self {
            Some(value) => value.into_item(),
            None => Ok(Item::Value(Value::Null)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::vars;

    #[test]
    fn an_item_of_another_kind_comes_back_for_the_message() {
        let number = json!(3).into_item().unwrap();
        assert_eq!(String::from_item(number.clone()).unwrap_err(), number);
        assert_eq!(Vec::<String>::from_item(number).unwrap_err().kind(), "a number");
        let mixed = json!(["a", 3]).into_item().unwrap();
        assert_eq!(Vec::<String>::from_item(mixed).unwrap_err().description(), "a list with a number");
        assert_eq!(u8::from_item(json!(300).into_item().unwrap()).unwrap_err().kind(), "a number");
    }

    #[test]
    fn texts_become_prompts_and_variables_as_they_do_in_typed_chains() {
        assert_eq!(Prompt::from_item("hi".into_item().unwrap()).unwrap(), Prompt::from("hi"));
        assert_eq!(Vars::from_item("hi".into_item().unwrap()).unwrap(), vars! { input: "hi" });
    }

    #[test]
    fn a_foreign_value_is_that_very_value_and_has_no_json_form() {
        let item = Item::foreign(vec![1u8]);
        let list = Item::List(vec![item.clone()]);
        assert_eq!(list.to_value().unwrap_err().kind(), ErrorKind::Input);
        let Item::Foreign(ticket) = item.clone() else { panic!("{item:?}") };
        assert_eq!(*ticket.downcast::<Vec<u8>>().unwrap(), [1]);
        assert_eq!(item, Item::Foreign(ticket));
        assert_ne!(item, Item::foreign(vec![1u8]));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-z]{1,3}", inner, 0..4)
                    .prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_survives_items(value in values()) {
            let item = value.clone().into_item().unwrap();
            prop_assert_eq!(&item.to_value().unwrap(), &value);
            if let Ok(items) = Vec::<Item>::from_item(item.clone()) {
                prop_assert_eq!(&items.into_item().unwrap().into_value().unwrap(), &value);
            }
            prop_assert_eq!(Value::from_item(item).unwrap(), value);
        }
    }
}
