use std::io::Cursor;

use super::opening::begin;
use super::table::TableForm;
use super::*;
use crate::Advice;
use crate::key::Key;

/// Description of each row of a text: its line, its id, and its input or error.
fn rows(text: impl AsRef<[u8]>, format: Option<InputFormat>) -> Vec<String> {
    let text = text.as_ref().to_vec();
    let source = Source::from_reader("q", Cursor::new(text), format).expect("a source");
    source.map(|row| show(&row.expect("it can be read"))).collect()
}

fn show(item: &InputRow) -> String {
    let InputRow { index, line, id, input, .. } = item;
    let input = match input {
        Ok(Input::Text(text)) => format!("text {text}"),
        Ok(Input::Vars(vars)) => serde_json::to_string(vars).unwrap(),
        Ok(Input::Prompt(prompt)) => format!("prompt {}", prompt.last_user_text()),
        Err(error) => format!("failed: {error}"),
    };
    format!("{index} @{line} {}: {input}", id.as_deref().unwrap_or("-"))
}

fn rejected(text: impl AsRef<[u8]>, format: Option<InputFormat>) -> String {
    let text = text.as_ref().to_vec();
    Source::from_reader("q", Cursor::new(text), format).expect_err("it is refused").to_string()
}

fn chat(id: &str, text: &str) -> String {
    let body = serde_json::json!({"model": "m", "messages": [{"role": "user", "content": text}]});
    serde_json::json!({"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body})
        .to_string()
}

#[test]
fn a_byte_order_mark_cr_lf_and_blank_lines_are_accepted() {
    assert_eq!(rows("\u{feff}\r\none\r\n\r\n two ", None), ["0 @2 -: text one", "1 @4 -: text two"]);
    assert_eq!(
        rows("\u{feff}a,b\r\n1,2\r\n\r\n3,4", Some(InputFormat::Csv)),
        [r#"0 @2 -: {"a":"1","b":"2"}"#, r#"1 @4 -: {"a":"3","b":"4"}"#]
    );
}

#[test]
fn an_empty_text_in_quotes_is_a_row_and_a_blank_line_is_not() {
    for end in ["\n", "\r\n"] {
        let lines = ["a", "\"\"", "", "x", "", "", "\"\""].join(end);
        assert_eq!(
            rows(&lines, Some(InputFormat::Csv)),
            [r#"0 @2 -: {"a":""}"#, r#"1 @4 -: {"a":"x"}"#, r#"2 @7 -: {"a":""}"#]
        );
    }
}

#[test]
fn rows_of_json_are_objects_or_strings() {
    assert_eq!(
        rows("{\"id\":7,\"topic\":\"bears\"}\n\"a prompt\"\n", None),
        [r#"0 @1 7: {"id":7,"topic":"bears"}"#, "1 @2 -: text a prompt",]
    );
}

#[test]
fn rows_of_an_openai_batch_are_prompts() {
    assert_eq!(
        rows(chat("a", "hi") + "\n" + &chat("b", "ho"), None),
        ["0 @1 a: prompt hi", "1 @2 b: prompt ho"]
    );
}

#[test]
fn a_row_that_cannot_be_read_fails_alone_and_names_its_line() {
    let mut text = b"{\"a\":1}\n{\"a\":\n[1]\n".to_vec();
    text.extend_from_slice(b"{\"a\":\"\xff\"}\n{\"a\":2}");
    let options = InputOptions::new().encoding(Encoding::UTF_8);
    let source = Source::from_reader_with("q", Cursor::new(text), options).unwrap();
    assert_eq!(
        source.map(|row| show(&row.unwrap())).collect::<Vec<_>>(),
        [
            r#"0 @1 -: {"a":1}"#,
            "1 @2 -: failed: q line 2: expected a JSON object: column 5: EOF while parsing a value",
            "2 @3 -: failed: q line 3: expected a JSON object or string",
            "3 @4 -: failed: q line 4: the line is not valid UTF-8",
            r#"4 @5 -: {"a":2}"#,
        ]
    );
}

#[test]
fn a_record_of_another_length_fails_with_both_lengths() {
    assert_eq!(
        rows("a,b\n1\n\"x\ny\",2\n1,2,3\n", Some(InputFormat::Csv)),
        [
            "0 @2 -: failed: q line 2: expected 2 fields as in the header, found 1 field",
            r#"1 @3 -: {"a":"x\ny","b":"2"}"#,
            "2 @5 -: failed: q line 5: expected 2 fields as in the header, found 3 fields",
        ]
    );
}

#[test]
fn a_duplicate_custom_id_fails_and_names_both_lines() {
    let text = [chat("a", "1"), chat("b", "2"), chat("a", "3")].join("\n");
    assert_eq!(
        rows(text, None)[2],
        "2 @3 a: failed: q line 3: duplicate custom_id `a` (first used in line 1); each row needs a unique one"
    );
}

#[test]
fn an_input_without_rows_or_with_a_bad_header_is_rejected() {
    assert_eq!(rejected("", None), "q: the input is empty");
    assert_eq!(rejected("\n \r\n", None), "q: the input is empty");
    assert_eq!(rejected(",\n1,2\n", Some(InputFormat::Csv)), "q: the header names no column");
    assert!(rejected(b"PK\x03\x04\x14..", None).contains("zip archive or a workbook"));
    for (name, kind) in [("a.xlsx", "a workbook"), ("a.parquet", "a Parquet file")] {
        let error = file(name, "a,b\n1,2\n", InputOptions::new()).unwrap_err();
        assert!(error.message().contains(&format!("not {kind}, as its name or format says")), "{error}");
        assert_eq!(error.advice(), [Advice::SetFormat]);
        let csv = InputOptions::new().format(InputFormat::Csv);
        assert_eq!(file(name, "a,b\n1,2\n", csv).unwrap().0, [r#"0 @2 -: {"a":"1","b":"2"}"#]);
    }
}

#[test]
fn an_input_that_is_not_utf_8_is_rejected_with_advice() {
    let wide =
        |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    let marked = "\u{feff}{\"prompt\":\"one\"}\r\n{\"prompt\":\"two\"}\n";
    for (bytes, name) in
        [(u16::to_le_bytes as fn(u16) -> [u8; 2], "utf-16le"), (u16::to_be_bytes, "utf-16be")]
    {
        for format in [None, Some(InputFormat::Text), Some(InputFormat::Csv)] {
            let unmarked =
                Source::from_reader("q", Cursor::new(wide(&marked[3..], bytes)), format).unwrap_err();
            assert!(unmarked.message().contains("zero bytes"), "{unmarked}");
            assert_eq!(unmarked.advice(), [Advice::SetEncodingTo { name }]);
        }
        let named = InputOptions::new().encoding(name.parse().unwrap());
        let named = Source::from_reader_with("q", Cursor::new(wide(&marked[3..], bytes)), named).unwrap();
        assert_eq!(named.map(|row| show(&row.unwrap())).collect::<Vec<_>>(), rows(marked, None));
        assert_eq!(
            rows(wide(marked, bytes), None),
            [r#"0 @1 -: {"prompt":"one"}"#, r#"1 @2 -: {"prompt":"two"}"#]
        );
    }
    let wider: Vec<u8> = "\u{feff}one\n".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
    assert!(rejected(wider, None).contains("`iconv -f UTF-32 -t UTF-8`"));
    // Zero bytes are also found if the first line is valid, and after blank lines.
    assert!(rejected(b"\n\none\ntw\0o\n", None).contains("line 4 contains a zero byte"));
    // The same applies to a file, and if its format is given.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("questions.jsonl");
    std::fs::write(&path, wide(&marked[3..], u16::to_le_bytes)).unwrap();
    for format in [None, Some(InputFormat::OpenAi)] {
        let error = Source::open(&path, format).expect_err("it is refused");
        assert_eq!(error.advice(), [Advice::SetEncodingTo { name: "utf-16le" }]);
    }
}

/// Description of each row of a file, and the notes on the file.
fn file(name: &str, bytes: impl AsRef<[u8]>, options: InputOptions) -> Result<(Vec<String>, Vec<String>)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let source = Source::open_with(&path, options)?;
    let (notes, folder) = (source.notes().to_owned(), folder.path().display().to_string() + "/");
    Ok((source.map(|row| show(&row.expect("it can be read")).replace(&folder, "")).collect(), notes))
}

#[test]
fn the_delimiter_of_a_table_is_inferred_named_or_given() {
    let csv = |name: &str, text: &str| file(name, text, InputOptions::new()).unwrap().0;
    let row = r#"1: {"id":"1","question":"rain, snow"}"#;
    assert_eq!(csv("a.csv", "\u{feff}id;question\n1;rain, snow\n"), [format!("0 @2 {row}")]);
    assert_eq!(csv("a.csv", "sep=|\r\nid|question\r\n1|rain, snow\r\n"), [format!("0 @3 {row}")]);
    assert_eq!(csv("a.csv", "id\tquestion\n1\train, snow\n"), [format!("0 @2 {row}")]);
    assert_eq!(csv("a.tsv", "id\tquestion\n1\train, snow\n"), [format!("0 @2 {row}")]);
    // A single column of TSV, whose text has commas.
    assert_eq!(
        csv("a.tsv", "question, or so\nrain, snow\n"),
        [r#"0 @2 -: {"question, or so":"rain, snow"}"#]
    );
    let given =
        |delimiter| file("a.csv", "id:question\n1:rain, snow\n", InputOptions::new().delimiter(delimiter));
    assert_eq!(given(':').unwrap().0, [format!("0 @2 {row}")]);
    assert!(given('é').unwrap_err().to_string().contains("must be an ASCII character, got `é`"));
    let idle = file("a.jsonl", "{}", InputOptions::new().delimiter(';')).unwrap_err().to_string();
    assert!(idle.ends_with("only rows of CSV and TSV have a delimiter"), "{idle}");
}

#[test]
fn columns_without_a_name_of_their_own_are_ignored_or_numbered_with_a_note() {
    let csv = |text: &str| file("a.csv", text, InputOptions::new()).unwrap();
    let (rows, notes) = csv(",question\n0,rain\n");
    assert_eq!(rows, [r#"0 @2 -: {"question":"rain"}"#]);
    assert_eq!(notes, ["the first column has no name, like the index of a data frame, and is ignored"]);
    let (rows, notes) = csv("a,a,a_2,,\n1,2,3,,\n4,5,6,,,\n");
    assert_eq!(
        rows,
        [r#"0 @2 -: {"a":"1","a_3":"2","a_2":"3"}"#, r#"1 @3 -: {"a":"4","a_3":"5","a_2":"6"}"#]
    );
    assert_eq!(
        notes,
        [
            "the header names the column `a` twice; column 2 is `a_3`",
            "2 columns have no name and are ignored"
        ]
    );
}

#[test]
fn a_table_of_another_encoding_needs_it_before_any_call() {
    let bytes = b"id,question\n1,Qu'est-ce que l'\xe9t\xe9 ?\n2,plain\n";
    let read = |options| file("a.csv", bytes, options);
    let error = read(InputOptions::new()).unwrap_err();
    assert!(error.message().ends_with("line 2 is not valid UTF-8"), "{error}");
    assert_eq!(error.advice(), [Advice::SetEncoding]);
    let rows = read(InputOptions::new().encoding("latin-1".parse().unwrap())).unwrap().0;
    assert_eq!(rows[0], r#"0 @2 1: {"id":"1","question":"Qu'est-ce que l'été ?"}"#);
    let rows = read(InputOptions::new().encoding(Encoding::UTF_8)).unwrap().0;
    assert_eq!(rows[0], "0 @2 -: failed: a.csv line 2: column `question` is not valid UTF-8");
    // A letter far behind the beginning is found before the run.
    let file = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
    std::fs::write(file.path(), ["q\n".repeat(100_000).as_bytes(), b"K\xf6ln\n"].concat()).unwrap();
    let source = Source::open(file.path(), None).unwrap();
    let error = InputScan::of(&source, 0, u64::MAX).err().unwrap();
    assert!(error.message().ends_with("line 100001: column `q` is not valid UTF-8"), "{error}");
    assert_eq!(InputScan::of(&source, 0, 100).unwrap().unwrap().rows, 100_000);
    assert_eq!(rows[1], r#"1 @3 2: {"id":"2","question":"plain"}"#);
}

#[test]
fn lines_of_another_encoding_stop_the_run_before_any_call() {
    for (name, line) in [("a.jsonl", &b"{\"q\":\"K\xf6ln\"}\n"[..]), ("a.txt", b"K\xf6ln\n")] {
        let error = file(name, line, InputOptions::new()).unwrap_err();
        assert!(error.message().ends_with("line 1 is not valid UTF-8"), "{error}");
        assert_eq!(error.advice(), [Advice::SetEncoding]);
        // A letter far behind the beginning is found before the run.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, ["\"q\"\n".repeat(40_000).as_bytes(), line, b"\"r\"\n"].concat()).unwrap();
        let source = Source::open(&path, None).unwrap();
        let error = InputScan::of(&source, 0, u64::MAX).err().unwrap();
        assert!(error.message().ends_with("line 40001: the line is not valid UTF-8"), "{error}");
        assert_eq!(error.advice(), [Advice::SetEncoding]);
        assert_eq!(InputScan::of(&source, 0, 40_000).unwrap().unwrap().rows, 40_002);
        let utf8 = InputOptions::new().encoding(Encoding::UTF_8);
        let source = Source::open_with(&path, utf8).unwrap();
        assert_eq!(InputScan::of(&source, 0, u64::MAX).unwrap().unwrap().rows, 40_002);
    }
}

#[test]
fn lines_may_end_with_carriage_returns() {
    let (rows, _) = file("a.csv", "id;q\r1;rain\r2;\"snow;\rice\"\r", InputOptions::new()).unwrap();
    assert_eq!(rows, [r#"0 @2 1: {"id":"1","q":"rain"}"#, "1 @3 2: {\"id\":\"2\",\"q\":\"snow;\\nice\"}"]);
    let (rows, _) = file("a.jsonl", "{\"a\":1}\r{\"a\":2}", InputOptions::new()).unwrap();
    assert_eq!(rows, [r#"0 @1 -: {"a":1}"#, r#"1 @2 -: {"a":2}"#]);
    // They are counted as they are read.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "one\rtwo\rthree").unwrap();
    let source = Source::open(folder.path().join("a.txt"), None).unwrap();
    assert_eq!(InputScan::of(&source, 0, u64::MAX).unwrap().unwrap().rows, 3);
    assert_eq!(source.count(), 3);
    let (rows, _) = file("a.csv", "id,q\r\r\n1,rain\r\r\n", InputOptions::new()).unwrap();
    assert_eq!(rows, [r#"0 @2 1: {"id":"1","q":"rain"}"#]);
    // One at the end of the only line, or before a line feed, is not a line end.
    assert_eq!(file("a.txt", "one\r", InputOptions::new()).unwrap().0, ["0 @1 -: text one"]);
    assert_eq!(file("a.txt", "o\rne\ntwo", InputOptions::new()).unwrap().0.len(), 2);
}

#[test]
fn lists_of_rows_are_rows_whatever_their_layout() {
    let rows_of = |name: &str, text: &str| file(name, text, InputOptions::new()).unwrap().0;
    let text = |row: &str| row.split_once(' ').unwrap().1.split_once(' ').unwrap().1.to_owned();
    let layouts = [
        "[{\"a\": 1}, {\"a\": 2}]",
        "[\n{\"a\": 1},\n{\"a\": 2}\n]\n",
        "[{\"a\": 1},\n {\"a\": 2}]",
        "[\n  {\n    \"a\": 1\n  },\n  {\n    \"a\": 2\n  }\n]",
        "{\n  \"a\": 1\n}\n{\n  \"a\": 2\n}\n",
    ];
    for layout in layouts {
        for name in ["a.json", "a.jsonl", "a"] {
            let rows: Vec<_> = rows_of(name, layout).iter().map(|row| text(row)).collect();
            assert_eq!(rows, [r#"-: {"a":1}"#, r#"-: {"a":2}"#], "{name}: {layout}");
        }
    }
    assert_eq!(rows_of("a.json", &format!("[{}]", chat("a", "hi"))), ["0 @1 a: prompt hi"]);
    assert_eq!(rows_of("a.json", "[\n\"one\",\n\"two\"]"), ["0 @2 -: text one", "1 @3 -: text two"]);
    assert_eq!(
        rows_of("a.json", "[{\"a\": 1},\n {\"a\": }"),
        [
            r#"0 @1 -: {"a":1}"#,
            "1 @2 -: failed: a.json line 2: expected a JSON object: column 7: expected value",
            "2 @2 -: failed: a.json line 2: the list is not closed: its `]` is missing",
        ]
    );
    // Lines with a pair each are not a list of rows.
    let pairs = rows_of("a.jsonl", "[{\"a\":1},{\"b\":1}]\n[{\"a\":2},{\"b\":2}]\n");
    assert_eq!(pairs[1], "1 @2 -: failed: a.jsonl line 2: expected a JSON object or string");
}

#[test]
fn rows_of_compressed_files_are_counted_sampled_and_read() {
    let text: String = (0..500).map(|n| format!("{{\"n\": {n}}}\n")).collect();
    let bytes =
        ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl.zst");
    std::fs::write(&path, bytes).unwrap();
    let open = || Source::open(&path, None).unwrap();
    assert_eq!(open().format(), Some(InputFormat::Jsonl));
    assert_eq!(open().count(), 500);
    assert_eq!(InputScan::of(&open(), 0, 0).unwrap().unwrap().rows, 500);
    assert_eq!(open().sample(7, 1).unwrap().count(), 7);
}

#[test]
fn a_compressed_file_that_is_cut_is_refused_before_the_run_with_its_last_line() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let rows: String = (0..40_000_u32).map(|n| format!("{n},{}\n", n.wrapping_mul(2_654_435_761))).collect();
    let text = format!("n,m\n{rows}");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    let zstd =
        ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    for (name, bytes) in [("cut.csv.gz", gzip.finish().unwrap()), ("cut.csv.zst", zstd)] {
        let path = folder.path().join(name);
        std::fs::write(&path, &bytes[..bytes.len() - bytes.len() / 8]).unwrap();
        let error = InputScan::of(&Source::open(&path, None).unwrap(), 0, 0).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
        let line = error.message().split_once("cannot continue reading after line ").expect("its line").1;
        let line: u32 = line.split(':').next().unwrap().parse().unwrap();
        assert!((100..40_001).contains(&line), "{error}");
    }
}

#[test]
fn a_column_can_identify_rows() {
    let id = |name: &str, text: &str, column: &str| file(name, text, InputOptions::new().id_column(column));
    assert_eq!(id("a.csv", "id,key\n1,x\n", "key").unwrap().0, [r#"0 @2 x: {"id":"1","key":"x"}"#]);
    assert_eq!(id("a.jsonl", "{\"key\": 7}", "key").unwrap().0, [r#"0 @1 7: {"key":7}"#]);
    let error = id("a.csv", "id,key\n1,x\n", "kye").unwrap_err().to_string();
    assert!(error.ends_with("no column is named `kye`; did you mean `key`?"), "{error}");
    let error = id("a.jsonl", &chat("a", "hi"), "key").unwrap_err().to_string();
    assert!(error.contains("identified by their custom_id"), "{error}");
}

#[test]
fn a_folder_and_a_missing_file_are_rejected_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("questions.jsonl"), "{}").unwrap();
    let open =
        |name: &str| Source::open(folder.path().join(name), None).expect_err("it is refused").to_string();
    assert!(open("").ends_with("is a folder; specify a file in it"));
    let missing = open("question.jsonl");
    assert!(missing.contains("question.jsonl: no such file; did you mean "), "{missing}");
    assert!(missing.ends_with("questions.jsonl?"), "{missing}");
}

#[test]
fn equal_rows_have_equal_content_and_a_header_is_part_of_it() {
    let content = |text: &'static str, format| -> Vec<Key> {
        let source = Source::from_reader("q", text.as_bytes(), Some(format)).unwrap();
        source.map(|row| row.unwrap().content()).collect()
    };
    let text = content("a\nb\na \r\n", InputFormat::Text);
    assert!(text[0] == text[2] && text[0] != text[1]);
    assert_ne!(content("x\n1\n", InputFormat::Csv), content("y\n1\n", InputFormat::Csv));
}

#[test]
fn an_open_quote_does_not_take_the_file_into_memory() {
    let text = format!("a\n\"{}", "x".repeat(5000));
    let mut table = Table::new(
        Box::new(Cursor::new(text)),
        TableForm { delimiter: b',', lines_before: 0, max_len: 1 << 10 },
    )
    .expect("a header");
    let error = table.next().err().expect("the record is longer than the maximum");
    assert!(error.to_string().ends_with("is a quote left open?"), "{error}");
}

#[test]
fn an_unclosed_quote_does_not_make_a_prompt_of_the_rest_of_the_file() {
    for end in ["", "\n", "\n\n", "\r\n"] {
        assert_eq!(
            rows(format!("name\nann\n\n\"bob\ncarl\ndave{end}"), Some(InputFormat::Csv)),
            [
                r#"0 @2 -: {"name":"ann"}"#,
                "1 @4 -: failed: q line 4: the quote that starts here is never closed; the rest of the file cannot be read",
            ]
        );
        let closed = format!("name\n\"bob\ncarl\n\"{end}");
        assert_eq!(rows(closed, Some(InputFormat::Csv)), [r#"0 @2 -: {"name":"bob\ncarl\n"}"#]);
    }
    // The position of the last record relative to the read buffer must not matter.
    for length in (8150..8250).chain(16_350..16_400) {
        let text = "x".repeat(length);
        for (last, fails) in [("y", false), ("\"y\"", false), ("\"y", true)] {
            for end in ["", "\n"] {
                let rows = rows(format!("a\n{text}\n{last}{end}"), Some(InputFormat::Csv));
                assert_eq!(
                    (rows.len(), rows[1].contains("never closed")),
                    (2, fails),
                    "{length} {last:?} {end:?}"
                );
            }
        }
    }
}

#[test]
fn an_input_that_begins_with_endless_whitespace_does_not_fill_the_memory() {
    for blank in [b' ', b'\n'] {
        let mut blanks = BufReader::new(io::repeat(blank).take(1 << 20));
        let error = begin(&mut blanks, 1 << 10).map(|_| ()).expect_err("it is refused");
        assert!(error.to_string().contains("only whitespace"), "{error}");
        assert!(blanks.into_inner().limit() > 1 << 19, "most of it was never read");
    }
}

#[test]
fn a_malformed_first_line_of_a_batch_fails_alone() {
    let broken = chat("a", "hi").replace("}}", "");
    assert_eq!(
        rows(broken + "\n" + &chat("b", "ho"), None)[1],
        "1 @2 b: prompt ho",
        "the others are still rows of a batch"
    );
}

#[test]
fn the_causes_of_invalid_json_are_named() {
    let why = |line: &str| rows(line, Some(InputFormat::Jsonl)).remove(0);
    for (line, cause) in [
        (r#"{"prompt":"cut \ud83d"}"#, "half a character"),
        (r#"{"prompt":"cut \ud83dx"}"#, "half a character"),
        (r#"{"prompt":"a","score":NaN}"#, "NaN and Infinity are not JSON"),
        (r#"{"prompt":"a","score":-Infinity}"#, "not JSON"),
        (r#"{"prompt":"a"},"#, "a comma follows the value"),
        ("{'prompt':'a'}", "JSON needs double quotes"),
    ] {
        assert!(why(line).contains(cause), "{line}: {}", why(line));
    }
    assert_eq!(
        why("{\"a\": }"),
        "0 @1 -: failed: q line 1: expected a JSON object: column 7: expected value"
    );
}

#[test]
fn rows_have_keys_unless_they_are_only_checked() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("a.txt", "one\n"),
        ("a.jsonl", "{\"q\": 1}\n"),
        ("a.csv", "q\n1\n"),
        ("a.json", "[{\"q\": 1}]"),
        (
            "b.jsonl",
            "{\"custom_id\": \"a\", \"url\": \"/v1/chat/completions\", \"body\": {\"messages\": []}}\n",
        ),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let mut rows = Source::open(&path, None).unwrap();
        let mut checked = rows.reopened().unwrap().unwrap();
        assert!(rows.next().unwrap().unwrap().key.is_some(), "{name}");
        assert!(checked.next().unwrap().unwrap().key.is_none(), "{name}");
    }
}

/// The rows of several files, with the place of each.
fn all(files: &[(&str, &str)], options: InputOptions) -> Result<(Vec<String>, Source)> {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = files.iter().map(|(name, _)| folder.path().join(name)).collect();
    for (path, (_, text)) in paths.iter().zip(files) {
        std::fs::write(path, text).unwrap();
    }
    let hidden = folder.path().display().to_string() + "/";
    let rows = Source::open_all(&paths, options.clone())?;
    let rows = rows.map(|row| {
        let row = row.expect("it can be read");
        format!("{} ({})", show(&row), row.location()).replace(&hidden, "")
    });
    Ok((rows.collect(), Source::open_all(&paths, options)?))
}

#[test]
fn rows_of_several_files_are_numbered_through_and_name_their_file() {
    let (rows, source) = all(
        &[
            ("a.csv", "city\nOslo\n"),
            ("b.jsonl", "{\"city\": \"Rome\"}\noops\n"),
            ("c.tsv", "n\tcity\n1\tBonn\n"),
        ],
        InputOptions::new(),
    )
    .unwrap();
    assert_eq!(
        rows,
        [
            r#"0 @2 -: {"city":"Oslo"} (line 2 of a.csv)"#,
            r#"1 @1 -: {"city":"Rome"} (line 1 of b.jsonl)"#,
            "2 @2 -: failed: b.jsonl line 2: expected a JSON object: column 1: expected value (line 2 of b.jsonl)",
            r#"3 @2 -: {"n":"1","city":"Bonn"} (line 2 of c.tsv)"#,
        ]
    );
    assert_eq!((source.format(), source.columns(), source.path()), (Some(InputFormat::Jsonl), None, None));
    let (_, tables) =
        all(&[("a.csv", "a,b\n1,2\n"), ("b.tsv", "c\ta\n3\t4\n")], InputOptions::new()).unwrap();
    assert_eq!(tables.columns().unwrap(), ["a", "b", "c"]);
    assert_eq!(tables.format(), Some(InputFormat::Csv));
}

#[test]
fn ids_of_a_batch_are_unique_across_its_files() {
    let (rows, _) = all(
        &[("a.jsonl", &chat("a", "hi")), ("b.jsonl", &(chat("b", "ho") + "\n" + &chat("a", "hu")))],
        InputOptions::new(),
    )
    .unwrap();
    assert_eq!(rows[1], "1 @1 b: prompt ho (line 1 of b.jsonl)");
    assert!(rows[2].contains("duplicate custom_id `a` (first used in line 1 of "), "{}", rows[2]);
    assert!(rows[2].contains("a.jsonl)"), "{}", rows[2]);
}

#[test]
fn files_that_do_not_go_together_are_rejected() {
    let refused = |files: &[(&str, &str)], options| {
        all(files, options).map(|(rows, _)| rows).expect_err("they are refused").to_string()
    };
    let batch = chat("a", "hi");
    let mixed = refused(&[("a.jsonl", batch.as_str()), ("b.csv", "x\n1\n")], InputOptions::new());
    assert!(mixed.ends_with("b.csv is not: run them separately"), "{mixed}");
    let twice = refused(&[("a.csv", "x\n1\n"), ("a.csv", "x\n1\n")], InputOptions::new());
    assert!(twice.ends_with("a.csv: this input is named twice"), "{twice}");
    let no_id = refused(&[("a.csv", "id\n1\n"), ("b.csv", "key\n1\n")], InputOptions::new().id_column("id"));
    assert!(no_id.ends_with("b.csv: no column is named `id`"), "{no_id}");
}

#[test]
fn a_folder_stands_for_its_inputs_without_outputs_of_earlier_runs() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("b.csv", "n\n2\n"),
        ("a.csv", "n\n1\n"),
        ("out.csv", "n\n9\n"),
        ("out.csv.journal", "{}"),
        ("notes.doc", "x"),
        (".hidden.csv", "n\n8\n"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let source = Source::open_all([folder.path()], InputOptions::new()).unwrap();
    assert!(source.notes()[0].ends_with("3 other files of the folder are ignored"), "{:?}", source.notes());
    assert_eq!(
        source.map(|row| show(&row.unwrap())).collect::<Vec<_>>().join(" "),
        r#"0 @2 -: {"n":"1"} 1 @2 -: {"n":"2"}"#
    );
    let empty = tempfile::tempdir().unwrap();
    let error = Source::open_all([empty.path()], InputOptions::new()).unwrap_err().to_string();
    assert!(error.contains("the folder has no input file: none ends with .csv"), "{error}");
}

#[test]
fn several_files_are_counted_hashed_and_sampled_as_one() {
    let files = [("a.csv", "n\n1\n2\n"), ("b.jsonl", "{\"n\": 3}\n")];
    let folder = tempfile::tempdir().unwrap();
    let paths = files.map(|(name, text)| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    });
    let open = || Source::open_all(&paths, InputOptions::new()).unwrap();
    let scan = |strict| InputScan::of(&open(), strict, 0).unwrap().unwrap();
    assert_eq!((scan(0).rows, scan(3).rows), (3, 3));
    let hash = scan(0).hash;
    std::fs::write(&paths[1], "{\"n\": 4}\n").unwrap();
    assert!(scan(0).hash != hash, "a change of the second file is noticed");
    assert_eq!(open().sample(2, 1).unwrap().count(), 2);
    assert_eq!(open().reopened().unwrap().unwrap().count(), 3);
}

#[cfg(feature = "xlsx")]
#[test]
fn a_workbook_is_decoded_once() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a.xlsx", "b.xlsx"].map(|name| folder.path().join(name));
    for path in &paths {
        let mut book = rust_xlsxwriter::Workbook::new();
        let cells = ["name", path.file_stem().unwrap().to_str().unwrap()];
        book.add_worksheet().write_column(0, 0, cells).unwrap();
        book.save(path).unwrap();
    }
    let names = |source: Source| source.map(|row| show(&row.unwrap())).collect::<Vec<_>>();
    let one = Source::open(&paths[0], None).unwrap();
    let both = Source::open_all(&paths, InputOptions::new()).unwrap();
    // Decoding again would now fail.
    paths.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    let first = r#"0 @2 -: {"name":"a"}"#.to_owned();
    let all = [first, r#"1 @2 -: {"name":"b"}"#.to_owned()];
    assert_eq!(names(one.reopened().unwrap().unwrap()), all[..1]);
    assert_eq!(names(one), all[..1]);
    assert_eq!(names(both.reopened().unwrap().unwrap()), all);
    assert_eq!(both.each_file().unwrap().map(|file| names(file.unwrap()).len()).sum::<usize>(), 2);
    assert_eq!(names(both), all);
}
