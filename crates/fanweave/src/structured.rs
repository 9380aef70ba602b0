//! Structured answers from a type alone.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Message, Prompt, Runnable, Structured, structured_as};

/// Longest name of a schema. Source: OpenAI's limit.
const LONGEST_NAME: usize = 64;

/// A model whose answers are values of `T`: a step from [`Prompt`]. The schema comes from the type and its doc comments.
///
/// ```
/// use fanweave::{chain, model, structured};
///
/// /// A book to read.
/// #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
/// struct Book {
///     title: String,
///     /// First and last name.
///     author: String,
///     year: Option<u16>,
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> fanweave::Result<()> {
/// let book = structured::<Book>(model("sim/writer")?).check(|book| match book.title.as_str() {
///     "" => Err("the title is empty".to_owned()),
///     _ => Ok(()),
/// });
/// println!("{:?}", chain(book).invoke("Recommend a book.").await?);
/// # Ok(())
/// # }
/// ```
///
/// See [`Structured`] for what happens where an answer does not fit. Each provider is sent the schema in the form that it
/// takes: a constraint that it does not know goes into the description, and where its strict mode cannot say the type, as with
/// maps, the schema is sent without it or in words. What comes is checked here in any case.
pub fn structured<T>(model: impl Runnable<Input = Prompt, Output = Message>) -> Structured<T>
where
    T: DeserializeOwned + JsonSchema + Send + 'static,
{
    structured_as(model, name_of::<T>(), schema_of::<T>())
}

/// The schema of a type. Types within it stand where they are used, because not every provider follows references.
pub(crate) fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// The name of a type as providers take it.
fn name_of<T: JsonSchema>() -> String {
    let name = T::schema_name();
    let plain = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' });
    plain.take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(serde::Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "its schema is what counts")]
    enum Cover {
        Paper,
        Cloth { colour: String },
    }

    #[derive(serde::Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "its schema is what counts")]
    struct Shelf {
        /// All of them.
        books: Vec<(String, Option<Cover>)>,
        by_year: BTreeMap<String, u32>,
        #[schemars(extend("format" = "date"))]
        since: String,
    }

    #[test]
    fn schemas_come_from_types_and_doc_comments() {
        insta::assert_json_snapshot!(schema_of::<Shelf>());
        assert_eq!(name_of::<Vec<Option<Shelf>>>(), "Array_of_Nullable_Shelf");
    }
}
