use serde::Deserialize;

use super::*;

/// `errors.toml`. The comment at its start explains the fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    row: Vec<TextRow>,
    refusals: Refusals<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextRow {
    #[serde(default)]
    vendor: Vec<String>,
    #[serde(default)]
    status: Vec<String>,
    #[serde(default)]
    name: Vec<String>,
    #[serde(rename = "place")]
    origin: Option<Field>,
    #[serde(default)]
    message: Vec<String>,
    kind: ErrorKind,
    retryable: Option<bool>,
    #[serde(default)]
    scope: Scope,
    daily: Option<Daily>,
    source: String,
}

impl TextRow {
    /// The row as Rust code, on one line.
    fn code(&self) -> String {
        assert!(!self.source.is_empty(), "every row names its source: {:?} {:?}", self.name, self.message);
        let mut fields = Vec::new();
        let mut field = |name: &str, value: String| fields.push(format!("{name}: {value}"));
        let mut list = |name: &str, values: Vec<String>| {
            if !values.is_empty() {
                field(name, format!("&[{}]", values.join(", ")));
            }
        };
        list("vendor", self.vendor.iter().map(|vendor| format!("{vendor:?}")).collect());
        list("status", self.status.iter().map(|status| statuses(status)).collect());
        list("name", self.name.iter().map(|name| pattern(name)).collect());
        list("message", self.message.iter().map(|message| pattern(message)).collect());
        if let Some(origin) = self.origin {
            field("origin", format!("Some(Field::{origin:?})"));
        }
        field("kind", format!("ErrorKind::{:?}", self.kind));
        if let Some(retryable) = self.retryable {
            field("retryable", format!("Some({retryable})"));
        }
        if self.scope != Scope::default() {
            field("scope", format!("Scope::{:?}", self.scope));
        }
        if let Some(daily) = self.daily {
            field("daily", format!("Some(Daily::{daily:?})"));
        }
        format!("    Row {{ {}, ..Row::ANY }},\n", fields.join(", "))
    }
}

fn refusals(refusals: &Refusals<Vec<String>>) -> String {
    let Refusals { parameter, format, stream_only, not_streamed } = refusals;
    let lists = [
        ("parameter", parameter),
        ("format", format),
        ("stream_only", stream_only),
        ("not_streamed", not_streamed),
    ];
    let one = |(name, texts): (&str, &Vec<String>)| {
        let texts: Vec<_> = texts.iter().map(|text| format!("{:?}", text.to_lowercase())).collect();
        format!("    {name}: &[{}],\n", texts.join(", "))
    };
    lists.into_iter().map(one).collect()
}

fn statuses(text: &str) -> String {
    if text == "inside" {
        return "Statuses::NONE".to_owned();
    }
    let (first, last) = match text.strip_suffix("xx") {
        Some(hundreds) => (format!("{hundreds}00"), format!("{hundreds}99")),
        None => {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            (first.to_owned(), last.to_owned())
        }
    };
    let number = |status: &str| {
        status.parse::<u16>().unwrap_or_else(|_| panic!("`{text}` is not 429, 4xx or 400-499"))
    };
    format!("Statuses({}, {})", number(&first), number(&last))
}

fn pattern(text: &str) -> String {
    let lower = text.to_lowercase();
    let parts: Vec<_> = lower.split('*').map(|part| format!("{part:?}")).collect();
    format!("Pattern(&[{}])", parts.join(", "))
}

#[test]
fn the_table_is_that_of_errors_toml() {
    let text: Text = toml::from_str(include_str!("../../errors.toml")).unwrap_or_else(|e| panic!("{e}"));
    let rows: String = text.row.iter().map(TextRow::code).collect();
    let refusals = refusals(&text.refusals);
    let code = format!(
        "//! Generated from `errors.toml` by the test `the_table_is_that_of_errors_toml`. Do not edit.\n\n\
         use super::{{Daily, ErrorKind, Field, Pattern, Refusals, Row, Scope, Statuses}};\n\n\
         pub(super) static ROWS: &[Row] = &[\n{rows}];\n\n\
         pub(crate) static REFUSALS: Refusals = Refusals {{\n{refusals}}};\n"
    );
    if code != include_str!("generated.rs") {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/providers/failure/table/generated.rs");
        std::fs::write(path, code).unwrap();
        panic!("{path} was out of date and has been written again: look at the difference and commit it");
    }
}

#[test]
fn a_name_with_several_parts_contains_them_in_order() {
    assert!(Pattern(&["a", "c"]).names("xabc"));
    assert!(!Pattern(&["c", "a"]).names("xabc"));
    assert!(!Pattern(&["a"]).names("ab"), "a single part is the whole name");
}
