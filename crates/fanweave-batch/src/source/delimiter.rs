//! The character between the columns of a table.

/// The candidates, the likeliest first.
const CANDIDATES: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Number of records that are compared.
const RECORDS: usize = 50;

/// The delimiter of a line `sep=;`, with which spreadsheets begin some files.
pub(super) fn of_line(line: &[u8]) -> Option<u8> {
    match line {
        [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', delimiter] if delimiter.is_ascii() => Some(*delimiter),
        // A tab was trimmed from the end of the line.
        [b's' | b'S', b'e' | b'E', b'p' | b'P', b'='] => Some(b'\t'),
        _ => None,
    }
}

/// Infers the delimiter from the beginning of a table: the first candidate with which most records have as
/// many fields as the header, and at least two. Otherwise a comma.
pub(super) fn infer(begin: &[u8]) -> u8 {
    let fits = |delimiter: &u8| {
        let mut widths = widths(begin, *delimiter);
        let Some(header) = widths.next().filter(|width| *width > 1) else { return false };
        let (mut records, mut even) = (0, 0);
        for width in widths {
            records += 1;
            even += usize::from(width == header);
        }
        even * 2 >= records
    };
    CANDIDATES.into_iter().find(fits).unwrap_or(b',')
}

/// Number of fields of each of the first records, without the last one, which may be cut.
fn widths(begin: &[u8], delimiter: u8) -> impl Iterator<Item = usize> {
    let end = begin.iter().rposition(|byte| *byte == b'\n').map_or(begin.len(), |at| at + 1);
    let reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(&begin[..end]);
    reader.into_byte_records().map_while(Result::ok).map(|record| record.len()).take(RECORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delimiter_is_the_one_that_divides_the_records_like_the_header() {
        for (text, delimiter) in [
            ("a,b\n1,2\n", b','),
            ("id;question\n1;What is rain, really?\n2;b\n", b';'),
            ("id\tquestion\n1\tone, two, three\n", b'\t'),
            ("id|question\r\n1|a;b\r\n", b'|'),
            // A record of another length, and a cut one.
            ("id;question\n1;a\n2\n3;b\n4;c\n5", b';'),
            // A delimiter in quotes, and none at all.
            ("\"a;b\",c\n1,2\n", b','),
            ("question\nWhat; is | rain?\n", b','),
            ("question | and answer\nWhat is rain?\nWhat is snow?\n", b','),
            ("a;b", b';'),
            ("", b','),
        ] {
            assert_eq!(char::from(infer(text.as_bytes())), char::from(delimiter), "{text:?}");
        }
    }

    #[test]
    fn a_first_line_may_name_the_delimiter() {
        for (line, delimiter) in [
            ("sep=;", Some(b';')),
            ("SEP=|", Some(b'|')),
            ("sep=", Some(b'\t')),
            ("sep=;;", None),
            ("step=;", None),
        ] {
            assert_eq!(of_line(line.as_bytes()), delimiter, "{line}");
        }
    }
}
