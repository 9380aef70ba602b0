//! The columns of a table of results: those of the input, the fields of structured answers, and those of
//! every result.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::flat::{COLUMNS, Cell, ColumnType, ItemType, cells};
use crate::answer::Content;
use crate::journal::{Outcome, Record};

/// Position of the answer in [`COLUMNS`].
const ANSWER: usize = 2;

/// Positions of the cached tokens and of those of reasoning in [`COLUMNS`], which earlier versions did not
/// write.
const TOKEN_DETAILS: std::ops::RangeInclusive<usize> = 7..=8;

/// Maximum notes on columns with another name, and names in a note on more of them.
const MAX_NOTES: usize = 3;
const MAX_SHOWN: usize = 20;

/// Column of the number of a sample, if rows have several.
const SAMPLE: &str = "sample";

/// The columns of a table. Default: those of every result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shape {
    /// Columns of the input.
    own: Vec<Column>,
    /// Fields of the answers. If there are some, they are in place of the answer.
    fields: Vec<Column>,
    /// Type of the answers.
    answer: ColumnType,
    /// Results per row. 0 and 1 mean one.
    samples: u32,
    /// Set to omit the [`TOKEN_DETAILS`].
    is_without_details: bool,
}

/// A column from outside.
#[derive(Debug, Clone, PartialEq)]
struct Column {
    /// Name of the field.
    field: String,
    /// Name in the table, which no other column has.
    name: String,
    kind: ColumnType,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            own: Vec::new(),
            fields: Vec::new(),
            answer: ColumnType::Text,
            samples: 0,
            is_without_details: false,
        }
    }
}

impl Shape {
    /// The columns `own` of the input, and the properties of the schema of the answers, for this number of
    /// results per row, with or without the details of the tokens. `kinds` are the types of columns of the
    /// input that are not texts.
    pub(crate) fn new(
        own: &[String],
        kinds: &HashMap<String, ColumnType>,
        answer_schema: Option<&Value>,
        samples: u32,
        has_token_details: bool,
    ) -> Self {
        let is_column = |(at, _): &(usize, _)| has_token_details || !TOKEN_DETAILS.contains(at);
        let columns = COLUMNS.iter().enumerate().filter(is_column);
        let mut taken: HashSet<String> = columns.map(|(_, (name, _))| (*name).to_owned()).collect();
        if samples > 1 {
            taken.insert(SAMPLE.to_owned());
        }
        let properties = answer_schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
        let is_object =
            answer_schema.is_some_and(|schema| schema.get("type").is_some_and(|kind| kind == "object"));
        let properties = properties.filter(|_| is_object).into_iter().flatten();
        let fields =
            properties.map(|(name, schema)| Column::new(name, "answer", kind_of(schema), &mut taken));
        let fields = fields.collect();
        // Columns that clash with no other keep their names, whatever the others are renamed to.
        let mut names: Vec<_> =
            own.iter().map(|name| taken.insert(name.clone()).then(|| name.clone())).collect();
        let own = own.iter().zip(&mut names).map(|(field, name)| {
            let kind = kinds.get(field).copied().unwrap_or(ColumnType::Text);
            match name.take() {
                Some(name) => Column { field: field.clone(), name, kind },
                None => Column::new(field, "input", kind, &mut taken),
            }
        });
        let own = own.collect();
        let answer = answer_schema.map_or(ColumnType::Text, |schema| match kind_of(schema) {
            // The vectors of embeddings.
            ColumnType::List(ItemType::Number) => ColumnType::List(ItemType::Float),
            list @ ColumnType::List(_) => list,
            _ => ColumnType::Text,
        });
        Self { own, fields, answer, samples, is_without_details: !has_token_details }
    }

    /// The position of a row in the input, and the number of its sample if rows have several.
    pub(super) fn position(&self, index: u64) -> (u64, Option<u64>) {
        match u64::from(self.samples) {
            0 | 1 => (index, None),
            samples => (index / samples, Some(index % samples)),
        }
    }

    /// The columns of the input that have another name in the table, as notes: many of them in one.
    pub(crate) fn notes(&self) -> Vec<String> {
        let renamed: Vec<_> = self.own.iter().filter(|column| column.field != column.name).collect();
        if renamed.len() > MAX_NOTES {
            let fields: Vec<_> = renamed.iter().map(|column| format!("`{}`", column.field)).collect();
            let (count, first) = (fields.len(), &renamed[0].name);
            let shown = fields[..fields.len().min(MAX_SHOWN)].join(", ");
            let more = if count > MAX_SHOWN { ", .." } else { "" };
            return vec![format!(
                "{count} columns of the input have another name in the output, such as `{first}`, because it has \
                 columns with their names: {shown}{more}"
            )];
        }
        let note = |Column { field, name, .. }: &Column| {
            format!(
                "the column `{field}` of the input is `{name}` in the output, which has a column `{field}`"
            )
        };
        renamed.into_iter().map(note).collect()
    }

    /// The fields of the input that are columns, in order, and their types.
    #[cfg(feature = "xlsx")]
    pub(super) fn own_fields(&self) -> impl Iterator<Item = (&str, ColumnType)> {
        self.own.iter().map(|column| (column.field.as_str(), column.kind))
    }

    /// Names and types of the columns, in order.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&str, ColumnType)> {
        let outside = |column: &'_ Column| column.kind;
        let own = self.own.iter().map(move |column| (column.name.as_str(), outside(column)));
        let fields = self.fields.iter().map(move |column| (column.name.as_str(), outside(column)));
        let (before, after) = COLUMNS.split_at(ANSWER);
        let answer = self.fields.is_empty().then_some((after[0].0, self.answer));
        let sample = (self.samples > 1).then_some((SAMPLE, ColumnType::Whole));
        own.chain(before[..1].iter().copied())
            .chain(sample)
            .chain(before[1..].iter().copied())
            .chain(fields)
            .chain(answer)
            .chain(
                after[1..]
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| self.has(ANSWER + 1 + at))
                    .map(|(_, column)| *column),
            )
    }

    /// Returns true if the table has this one of [`COLUMNS`].
    fn has(&self, at: usize) -> bool {
        !self.is_without_details || !TOKEN_DETAILS.contains(&at)
    }

    /// The cells of a result, in the order of its columns.
    pub(super) fn cells(&self, record: &Record, own: Option<&Map<String, Value>>) -> Vec<Cell> {
        let mut all = Vec::with_capacity(self.own.len() + self.fields.len() + COLUMNS.len());
        let of = |columns: &[Column], object: Option<&Map<String, Value>>, all: &mut Vec<Cell>| {
            all.extend(
                columns
                    .iter()
                    .map(|column| cell(object.and_then(|object| object.get(&column.field)), column.kind)),
            );
        };
        of(&self.own, own, &mut all);
        for (at, cell) in cells(record).into_iter().enumerate() {
            if at == 0 {
                let (row, sample) = self.position(record.index);
                all.extend(std::iter::once(row).chain(sample).map(|n| Cell::Whole(i64::try_from(n).ok())));
                continue;
            }
            if at != ANSWER || self.fields.is_empty() {
                if self.has(at) {
                    all.push(cell);
                }
                continue;
            }
            let answer = match &record.result {
                Outcome::Answer(answer) => match &answer.content {
                    Content::Json(Value::Object(object)) => Some(object),
                    _ => None,
                },
                // Those of the steps that had ended before the failure.
                Outcome::Error(failure) => failure.outputs.as_ref(),
            };
            of(&self.fields, answer, &mut all);
        }
        all
    }
}

impl Column {
    fn new(field: &str, prefix: &str, kind: ColumnType, taken: &mut HashSet<String>) -> Self {
        let free = |name: &String| !taken.contains(name);
        let mut names = std::iter::once(field.to_owned())
            .chain(std::iter::once(format!("{prefix}_{field}")))
            .chain((2..).map(|n| format!("{prefix}_{field}_{n}")));
        let name = names.find(free).expect("there are more numbers than columns");
        taken.insert(name.clone());
        Self { field: field.to_owned(), name, kind }
    }
}

/// Type of a column for values of a schema.
fn kind_of(schema: &Value) -> ColumnType {
    let schema = without_null(schema);
    match type_of(schema) {
        Some("integer") => ColumnType::Whole,
        Some("number") => ColumnType::Number,
        Some("boolean") => ColumnType::Bool,
        Some("array") => match schema.get("items").map(without_null).map(type_of) {
            Some(Some("string")) => ColumnType::List(ItemType::Text),
            Some(Some("integer")) => ColumnType::List(ItemType::Whole),
            Some(Some("number")) => ColumnType::List(ItemType::Number),
            Some(Some("boolean")) => ColumnType::List(ItemType::Bool),
            _ => ColumnType::Text,
        },
        _ => ColumnType::Text,
    }
}

/// The schema, or its only alternative to null.
fn without_null(schema: &Value) -> &Value {
    let is_null = |schema: &&Value| schema.get("type").is_some_and(|kind| kind == "null");
    let alternatives = ["anyOf", "oneOf"].into_iter().find_map(|name| schema.get(name)?.as_array());
    let others: Vec<_> = alternatives.into_iter().flatten().filter(|one| !is_null(one)).collect();
    match others.as_slice() {
        [one] => one,
        _ => schema,
    }
}

/// The only type of a schema beside null.
fn type_of(schema: &Value) -> Option<&str> {
    match schema.get("type")? {
        Value::String(kind) => Some(kind),
        Value::Array(kinds) => match kinds.iter().filter(|kind| *kind != "null").collect::<Vec<_>>()[..] {
            [kind] => kind.as_str(),
            _ => None,
        },
        _ => None,
    }
}

fn cell(value: Option<&Value>, kind: ColumnType) -> Cell {
    match kind {
        ColumnType::Whole => Cell::Whole(value.and_then(Value::as_i64)),
        ColumnType::Number => Cell::Number(value.and_then(Value::as_f64)),
        ColumnType::Bool => Cell::Bool(value.and_then(Value::as_bool)),
        ColumnType::Text | ColumnType::Date | ColumnType::List(_) => Cell::Text(match value {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn many_renamed_columns_are_one_note() {
        let own = COLUMNS.map(|(name, _)| name.to_owned());
        let notes = Shape::new(&own, &HashMap::new(), None, 1, true).notes();
        let [note] = notes.as_slice() else { panic!("{notes:?}") };
        assert!(
            note.starts_with(
                "15 columns of the input have another name in the output, such as `input_index`"
            ),
            "{note}"
        );
    }

    #[test]
    fn every_column_has_a_name_of_its_own() {
        let schema = json!({"type": "object", "properties": {
            "score": {"type": "integer"}, "error": {"type": "string"}, "tags": {"type": "array"},
        }});
        let own = ["text", "score", "index", "input_index"].map(str::to_owned);
        let shape = Shape::new(&own, &HashMap::new(), Some(&schema), 1, true);
        let names: Vec<_> = shape.columns().map(|(name, _)| name).collect();
        assert_eq!(
            names[..9],
            [
                "text",
                "input_score",
                "input_index_2",
                "input_index",
                "index",
                "custom_id",
                "score",
                "answer_error",
                "tags"
            ]
        );
        assert_eq!(names[9..], COLUMNS.map(|(name, _)| name)[3..]);
        let distinct: HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        assert_eq!(shape.notes().len(), 2);
        let earlier = Shape::new(&["cached_tokens".to_owned()], &HashMap::new(), None, 1, false);
        let names: Vec<_> = earlier.columns().map(|(name, _)| name).collect();
        assert_eq!((names.len(), names[0]), (14, "cached_tokens"));
        assert!(!names.contains(&"reasoning_tokens") && !names.contains(&"input_cached_tokens"), "{names:?}");
        assert_eq!(
            Shape::default().columns().map(|(name, _)| name).collect::<Vec<_>>(),
            COLUMNS.map(|(name, _)| name)
        );
    }
    #[test]
    fn fields_have_the_types_of_their_schema_whether_or_not_they_may_be_null() {
        use ColumnType::{Bool, List, Number, Text, Whole};
        for (schema, kind) in [
            (json!({"type": "boolean"}), Bool),
            (json!({"type": ["null", "integer"]}), Whole),
            (json!({"anyOf": [{"type": "number"}, {"type": "null"}]}), Number),
            (json!({"type": ["integer", "string"]}), Text),
            (json!({"anyOf": [{"type": "number"}, {"type": "string"}]}), Text),
            (json!({"type": "array", "items": {"type": "string"}}), List(ItemType::Text)),
            (json!({"type": "array", "items": {"type": ["boolean", "null"]}}), List(ItemType::Bool)),
            (json!({"type": "array", "items": {"type": "object"}}), Text),
            (json!({"type": "array"}), Text),
            (json!({"enum": ["a"]}), Text),
        ] {
            assert_eq!(kind_of(&schema), kind, "{schema}");
        }
        assert_eq!(cell(Some(&json!(false)), Bool), Cell::Bool(Some(false)));
        assert_eq!(cell(Some(&json!(["a", 1])), List(ItemType::Text)), Cell::Text(Some("[\"a\",1]".into())));
    }
}
