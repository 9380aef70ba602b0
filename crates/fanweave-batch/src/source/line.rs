//! Reading of one row: its id, its key and its input.

use std::io;

use fanweave_core::{ErrorKind as RowErrorKind, Vars};
use serde_json::{Map, Value};

use super::density;
use super::encoding::NOT_UTF8;
use super::lines::{MAX_LINE, TextLine, may_have_empty_field};
use super::{InputFormat, Rows, Source, numbers, openai, vendor_rows};
use crate::input::{Input, field};
use crate::key::Key;
use crate::rows::{InputRow, RowKey};

impl Source {
    pub(super) fn read_line(&mut self) -> io::Result<Option<InputRow>> {
        let Some(format) = self.format else { return Ok(None) };
        let mut index = self.index;
        let (id_column, has_keys) = (self.options.id_column.as_deref(), self.has_keys);
        let unreadable = || has_keys.then(|| Key::of(&[b"unreadable"]));
        let read = |line: TextLine<'_>| {
            let (id, content, input) = read_line(format, id_column, line.bytes, has_keys);
            // A line that cannot be read is identified by its bytes.
            let of_bytes = || has_keys.then(|| Key::of(&[line.bytes.unwrap_or_default()]));
            (line.number, id, content.or_else(of_bytes), input)
        };
        let (line, id, content, input) = match &mut self.rows {
            Rows::Ended | Rows::Own { .. } | Rows::Files(_) => return Ok(None),
            Rows::Lines(lines) => loop {
                let Some(line) = lines.next()? else {
                    self.index = index;
                    return Ok(None);
                };
                if self.skips_filled && line.bytes.is_some_and(|line| !may_have_empty_field(line)) {
                    index += 1;
                    continue;
                }
                break read(line);
            },
            Rows::Values(values) => match values.next()? {
                None => return Ok(None),
                Some(Ok(value)) => read(value),
                Some(Err(why)) => {
                    let line = values.line();
                    self.rows = Rows::Ended;
                    (line, None, unreadable(), Err(why))
                }
            },
            #[cfg(feature = "parquet")]
            Rows::Parquet(rows) => {
                let Some(row) = rows.next() else { return Ok(None) };
                let id = row.as_ref().ok().and_then(|map| id_of(map, id_column));
                let content =
                    row.as_ref().map_or_else(|_| unreadable(), |map| has_keys.then(|| Key::of_object(map)));
                if row.is_err() {
                    self.rows = Rows::Ended;
                }
                (index + 1, id, content, row.map(|map| Input::Vars(map.into())))
            }
            #[cfg(feature = "xlsx")]
            Rows::Xlsx(rows) => {
                let Some((line, map)) = rows.next()? else { return Ok(None) };
                let content = has_keys.then(|| Key::of_object(&map));
                (line, id_of(&map, id_column), content, Ok(Input::Vars(map.into())))
            }
            Rows::Table(table) => match table.next() {
                Ok(None) => return Ok(None),
                Ok(Some(record)) => {
                    let (line, vars) = (record.line, record.vars);
                    let fields = has_keys.then(|| Key::of(&record.fields.iter().collect::<Vec<_>>()));
                    let content = fields.map(|fields| fields.and(&Key::of(&table_names(table.header()))));
                    (
                        line,
                        vars.as_ref().ok().and_then(|v| id_of(v.as_map(), id_column)),
                        content,
                        vars.map(Input::Vars),
                    )
                }
                Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                    let line = table.line() + 1;
                    self.rows = Rows::Ended;
                    let input = Err(format!("{e}; nothing after it can be read"));
                    (line, None, unreadable(), input)
                }
                Err(e) => return Err(e),
            },
        };
        self.index = index + 1;
        let input = match (format, &id) {
            (InputFormat::OpenAi, Some(id)) => {
                input.and_then(|input| self.ids.check(id, line).map(|()| input))
            }
            _ => input,
        };
        let input = input.map_err(|e| {
            let unit = match format {
                InputFormat::Parquet | InputFormat::Xlsx => "row",
                _ => "line",
            };
            let message = format!("{} {unit} {line}: {e}", self.name);
            fanweave_core::Error::new(RowErrorKind::Input, message)
        });
        Ok(Some(InputRow { index, line, id, input, file: None, key: content.map(RowKey) }))
    }
}

fn table_names(header: &csv::StringRecord) -> Vec<&[u8]> {
    header.iter().map(str::as_bytes).collect()
}

/// Reads a line: its id, the key of its content, if that is wanted and not the key of its bytes, and its
/// input.
fn read_line(
    format: InputFormat,
    id_column: Option<&str>,
    bytes: Option<&[u8]>,
    has_key: bool,
) -> (Option<String>, Option<Key>, Result<Input, String>) {
    let Some(bytes) = bytes else {
        return (None, None, Err(format!("the line is longer than {} MiB", MAX_LINE >> 20)));
    };
    let Ok(line) = str::from_utf8(bytes) else {
        return (None, None, Err(format!("the line {NOT_UTF8}")));
    };
    if format != InputFormat::Text && density::has_too_many_values(bytes) {
        let max = density::MAX_VALUES;
        return (None, None, Err(format!("the row has more than {max} values: numbers, texts and fields")));
    }
    match format {
        InputFormat::OpenAi => {
            let openai::Line { id, request } = openai::read(line, has_key);
            match request {
                Ok((prompt, key)) => (id, key, Ok(Input::Prompt(Box::new(prompt)))),
                Err(why) => (id, None, Err(why)),
            }
        }
        InputFormat::Text => (None, None, Ok(Input::Text(line.to_owned()))),
        InputFormat::Jsonl
        | InputFormat::Csv
        | InputFormat::Tsv
        | InputFormat::Parquet
        | InputFormat::Xlsx => match numbers::read(line) {
            Ok((Value::Object(map), is_exact)) => {
                let key = has_key.then(|| Key::of_object(&map));
                let (id, has_request) = (id_of(&map, id_column), !is_exact && has_request(&map));
                let vars = Vars::from(map);
                (id, key, Ok(Input::Vars(if has_request { vars.with_json(line) } else { vars })))
            }
            Ok((Value::String(text), _)) => (None, None, Ok(Input::Text(text))),
            Ok((Value::Array(pair), _)) => match request_of_pair(pair) {
                Ok(map) => {
                    let key = has_key.then(|| Key::of_object(&map));
                    (id_of(&map, id_column), key, Ok(Input::Vars(map.into())))
                }
                Err(why) => (None, None, Err(why)),
            },
            Ok(_) => (None, None, Err("expected a JSON object or string".to_owned())),
            Err(e) => (None, None, Err(format!("expected a JSON object: {}", json_error(&e, line)))),
        },
    }
}

/// Returns true if a row may be a request, whose numbers are sent.
fn has_request(row: &Map<String, Value>) -> bool {
    ["messages", "params", "request", "modelInput"].into_iter().any(|name| field(row, name).is_some())
}

/// The row of a pair `[request, metadata]`, as scripts for many requests have one in each line.
fn request_of_pair(pair: Vec<Value>) -> Result<Map<String, Value>, String> {
    let is_request =
        |value: &Value| ["messages", "prompt", "input"].iter().any(|name| value.get(name).is_some());
    let is_result = |value: &Value| match value {
        Value::Array(errors) => errors.iter().all(Value::is_string),
        value => ["choices", "data", "output", "error"].iter().any(|name| value.get(name).is_some()),
    };
    match <[Value; 2]>::try_from(pair) {
        Ok([Value::Object(mut request), metadata @ (Value::Object(_) | Value::Null)])
            if is_request(&Value::Object(request.clone())) && !is_result(&metadata) =>
        {
            let mut names =
                std::iter::once("metadata".to_owned()).chain((2..).map(|n| format!("metadata_{n}")));
            let free =
                names.find(|name| !request.contains_key(name)).expect("there are more numbers than fields");
            request.insert(free, metadata);
            Ok(request)
        }
        Ok([request, _]) if is_request(&request) => Err(RESULT.to_owned()),
        Err(more) if more.len() > 2 && is_request(&more[0]) => Err(RESULT.to_owned()),
        _ => Err("expected a JSON object or string".to_owned()),
    }
}

const RESULT: &str =
    "the line has a request and its result: take the requests out of the file, with `jq -c '.[0]'`";

fn id_of(map: &Map<String, Value>, column: Option<&str>) -> Option<String> {
    let id = match column {
        Some(column) => field(map, column),
        None => field(map, "custom_id").or_else(|| field(map, "id")).or_else(|| vendor_rows::id_field(map)),
    };
    match id? {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

/// Formats the error of a JSON text with its column first, and its line if the text has several. Names the
/// cause of frequent mistakes.
pub(super) fn json_error(error: &serde_json::Error, json: &str) -> String {
    let position = format!(" at line {} column {}", error.line(), error.column());
    let text = error.to_string();
    let text = text.strip_suffix(&position).unwrap_or(&text);
    let line = json.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let at = |column: usize| line.get(column.saturating_sub(1)..).unwrap_or_default();
    let (from, inside) = (at(error.column()), at(error.column().saturating_sub(10)));
    let cause = if text.contains("surrogate") || text.contains("hex escape") {
        "; an escape such as \\ud83d is half a character: was the text cut in the middle of an emoji?"
    } else if ["NaN", "Infinity", "-Infinity", "nan"].iter().any(|word| from.starts_with(word)) {
        "; NaN and Infinity are not JSON: write null"
    } else if text == "trailing characters" && from.starts_with(',') {
        "; a comma follows the value: write one value per line without commas, or a list in brackets"
    } else if text == "trailing characters" && from.starts_with(['{', '[']) {
        "; another value follows: write one value per line"
    } else if text.starts_with("key must be a string") && inside.contains('\'') {
        "; JSON needs double quotes: was a Python dict printed?"
    } else {
        ""
    };
    match error.line() {
        0 | 1 => format!("column {}: {text}{cause}", error.column()),
        line => format!("line {line} of the value, column {}: {text}{cause}", error.column()),
    }
}
