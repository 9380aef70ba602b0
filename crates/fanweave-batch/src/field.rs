//! Fields of rows by their names.

use serde_json::{Map, Value};

/// A field of a row. In a row of few fields, comparing the names is faster than hashing one.
pub(crate) fn field<'a>(row: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    const FEW: usize = 8;
    if row.len() > FEW {
        return row.get(name);
    }
    row.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
}
