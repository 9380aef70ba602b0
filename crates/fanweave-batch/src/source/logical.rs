//! Values of Parquet in the form of other inputs: times, which are texts in the form of ISO 8601, also in
//! nanoseconds, which the row reader does not know; and numbers of 32 bits.

use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::record::Field;
use parquet::schema::types::Type;
use serde_json::{Map, Value};

/// The columns of a file with values that are changed.
pub(super) struct Logical(Vec<(String, Kind)>);

enum Kind {
    /// A date and a time, as nanoseconds since the epoch or as a text of the row reader.
    Timestamp {
        is_utc: bool,
    },
    /// A time, as nanoseconds since midnight or as a text of the row reader.
    Time,
    /// A 32-bit number, whose shortest text is not that of the 64-bit number.
    Float,
    List(Box<Kind>),
    Map(Box<Kind>),
    Struct(Vec<(String, Kind)>),
}

impl Logical {
    pub(super) fn of(schema: &Type) -> Self {
        Self(fields(schema))
    }

    /// Changes the values of a row.
    pub(super) fn apply(&self, row: &mut Map<String, Value>) {
        for (name, kind) in &self.0 {
            row.get_mut(name).into_iter().for_each(|value| kind.apply(value));
        }
    }
}

fn fields(group: &Type) -> Vec<(String, Kind)> {
    let fields = group.get_fields().iter();
    fields.filter_map(|field| Some((field.name().to_owned(), Kind::of(field)?))).collect()
}

impl Kind {
    /// The kind of a field. `None` if its values stay as they are.
    fn of(field: &Type) -> Option<Self> {
        let info = field.get_basic_info();
        let kind = if field.is_primitive() {
            match (info.logical_type_ref(), info.converted_type(), field.get_physical_type()) {
                (Some(LogicalType::Timestamp(kind)), ..) => {
                    Self::Timestamp { is_utc: kind.is_adjusted_to_u_t_c }
                }
                (_, ConvertedType::TIMESTAMP_MILLIS | ConvertedType::TIMESTAMP_MICROS, _) => {
                    Self::Timestamp { is_utc: true }
                }
                (_, _, Physical::INT96) => Self::Timestamp { is_utc: false },
                (Some(LogicalType::Time(_)), ..)
                | (_, ConvertedType::TIME_MILLIS | ConvertedType::TIME_MICROS, _) => Self::Time,
                (_, _, Physical::FLOAT) => Self::Float,
                _ => return None,
            }
        } else {
            // A list and a map have one repeated group, which is not part of the value.
            let inner = || field.get_fields().first().filter(|inner| !inner.is_primitive());
            match info.converted_type() {
                ConvertedType::LIST => Self::List(Box::new(match inner().map(|inner| inner.get_fields()) {
                    Some([element]) => Self::of(element)?,
                    _ => return field.get_fields().first().and_then(|element| Self::of(element)),
                })),
                ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE => {
                    Self::Map(Box::new(Self::of(inner()?.get_fields().get(1)?)?))
                }
                _ => Self::Struct(Some(fields(field)).filter(|fields| !fields.is_empty())?),
            }
        };
        let is_repeated = info.has_repetition() && info.repetition() == Repetition::REPEATED;
        Some(if is_repeated { Self::List(Box::new(kind)) } else { kind })
    }

    fn apply(&self, value: &mut Value) {
        match (self, value) {
            (Self::Timestamp { is_utc }, value) => {
                if let Some(nanos) = value.as_i64() {
                    // "2024-05-01 12:16:40.123456 +00:00", with three more digits.
                    let micros = Field::TimestampMicros(nanos.div_euclid(1000)).to_json_value();
                    *value = with_nanos(micros, nanos.rem_euclid(1000));
                }
                if let Value::String(text) = value {
                    *text = iso(text, *is_utc);
                }
            }
            (Self::Time, value) => {
                if let Some(nanos) = value.as_i64() {
                    let micros = Field::TimeMicros(nanos.div_euclid(1000)).to_json_value();
                    *value = with_nanos(micros, nanos.rem_euclid(1000));
                }
                if let Value::String(text) = value {
                    *text = without_zeros(text).to_owned();
                }
            }
            (Self::Float, value) => {
                // The value is that of a 32-bit number.
                let narrow = value.as_f64().and_then(|wide| (wide as f32).to_string().parse::<f64>().ok());
                narrow.into_iter().for_each(|number| *value = number.into());
            }
            (Self::List(kind), Value::Array(list)) => list.iter_mut().for_each(|value| kind.apply(value)),
            (Self::Map(kind), Value::Object(map)) => map.values_mut().for_each(|value| kind.apply(value)),
            (Self::Struct(fields), Value::Object(map)) => {
                for (name, kind) in fields {
                    map.get_mut(name).into_iter().for_each(|value| kind.apply(value));
                }
            }
            _ => {}
        }
    }
}

/// A text of the row reader, such as `2024-05-01 12:16:40.120000 +00:00`, in the form of ISO 8601.
fn iso(text: &str, is_utc: bool) -> String {
    let local = without_zeros(text.strip_suffix(" +00:00").unwrap_or(text));
    let zone = if is_utc { "Z" } else { "" };
    match local.split_once(' ') {
        Some((date, time)) => format!("{date}T{time}{zone}"),
        None => text.to_owned(),
    }
}

/// The text without zeros at the end of its decimal places.
fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// A time with six digits of its seconds, with nine if the last three are not zero.
fn with_nanos(micros: Value, nanos: i64) -> Value {
    let Value::String(mut text) = micros else { return micros };
    if nanos > 0
        && let Some(point) = text.find('.')
    {
        text.insert_str((point + 7).min(text.len()), &format!("{nanos:03}"));
    }
    Value::String(text)
}

#[cfg(test)]
mod tests {
    use parquet::schema::parser::parse_message_type;
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_texts_in_the_form_of_iso_8601() {
        let schema = "message m {
            optional int64 at (TIMESTAMP(NANOS,true));
            optional int64 from (TIME(NANOS,false));
            optional int64 n;
            optional float f;
            optional group all (LIST) { repeated group list { optional int64 element (TIMESTAMP(NANOS,false)); } }
            optional group s { optional float f; optional int64 at (TIMESTAMP(MICROS,true)); }
            optional group m (MAP) { repeated group key_value { required binary key (UTF8); optional float value; } }
        }";
        let logical = Logical::of(&parse_message_type(schema).unwrap());
        let mut row = json!({
            "at": 1_714_566_600_000_000_001_i64, "from": 3_600_000_000_000_i64, "n": 7, "f": f64::from(0.1_f32),
            "all": [1_714_566_600_000_000_000_i64, null],
            "s": { "f": f64::from(1.3_f32), "at": "2024-05-01 12:30:00.120000 +00:00" },
            "m": { "k": f64::from(0.1_f32) },
        });
        let Value::Object(row) = &mut row else { unreachable!() };
        logical.apply(row);
        let expected = json!({
            "at": "2024-05-01T12:30:00.000000001Z", "from": "01:00:00", "n": 7, "f": 0.1,
            "all": ["2024-05-01T12:30:00", null], "s": { "f": 1.3, "at": "2024-05-01T12:30:00.12Z" },
            "m": { "k": 0.1 },
        });
        assert_eq!(Value::Object(row.clone()), expected);
    }

    #[test]
    fn times_before_the_epoch_and_values_of_other_types_do_not_panic() {
        let schema = "message m { optional int64 at (TIMESTAMP(NANOS,true)); }";
        let logical = Logical::of(&parse_message_type(schema).unwrap());
        for (value, expected) in [
            (json!(-1), json!("1969-12-31T23:59:59.999999999Z")),
            (json!(i64::MIN), json!("1677-09-21T00:12:43.145224192Z")),
            (json!(null), json!(null)),
            (json!("text"), json!("text")),
        ] {
            let mut row = Map::from_iter([("at".to_owned(), value)]);
            logical.apply(&mut row);
            assert_eq!(row["at"], expected);
        }
    }
}
