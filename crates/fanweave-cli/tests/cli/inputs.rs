//! Inputs as people have them: tables of other programs, lists, and templates that do not fit their rows.

use crate::support::{Folder, Ran};

const ANSWERS: [&str; 4] = ["-o", "out.jsonl", "-m", "sim/echo"];

fn batch(folder: &Folder, input: &str, more: &[&str]) -> Ran {
    folder.run(&[&["batch", input], &ANSWERS[..], more].concat())
}

/// The prompts that the simulated model has answered.
fn answers(folder: &Folder) -> Vec<String> {
    folder.rows("out.jsonl").iter().map(|row| prompt_of(&row["answer"])).collect()
}

/// The prompt in an answer, after its checksum.
fn prompt_of(answer: &serde_json::Value) -> String {
    answer.as_str().map_or("failed", |answer| &answer[9..]).to_owned()
}

/// Name, bytes and flags of an input; the answer to its row, and the note about it.
type Case<'a> = (&'a str, &'a [u8], &'a [&'a str], &'a str, &'a str);

#[test]
fn tables_of_other_programs_are_read_and_their_oddities_noted() {
    let utf_16: Vec<u8> =
        "\u{feff}id\tquestion\r\n1\tWarum Regen?\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let cases: [Case<'_>; 6] = [
        ("a.tsv", b"id\tquestion\n1\tone, two\n", &[], "one, two", ""),
        ("a.csv", b"id;question\n1;one, two\n", &[], "one, two", ""),
        ("a.csv", b",question\n0,why?\n", &[], "why?", "note: the first column has no name"),
        ("a.csv", &utf_16, &[], "Warum Regen?", ""),
        ("a.csv", b"id,question\n1,\xe9t\xe9\n", &["--encoding", "latin-1"], "été", ""),
        ("a.txt", b"id^question\n1^why?\n", &["--input-format", "csv", "--delimiter", "^"], "why?", ""),
    ];
    for (name, bytes, flags, answer, note) in cases {
        let folder = Folder::new();
        folder.write(name, bytes);
        let ran = batch(&folder, name, &[&["-p", "{{ question }}"], flags].concat()).expect_code(0);
        assert_eq!(answers(&folder), [answer], "{name}");
        assert!(ran.stderr.contains(note), "{}", ran.stderr);
    }
}

#[test]
fn a_table_of_an_unknown_encoding_stops_before_any_call() {
    let folder = Folder::new();
    folder.write("a.csv", b"id,question\n1,\xe9t\xe9\n2,plain\n");
    let ran = batch(&folder, "a.csv", &["-p", "{{ question }}"]).expect_code(2);
    assert!(ran.stderr.contains("a.csv: line 2 is not valid UTF-8; set its encoding"), "{}", ran.stderr);
    assert!(!folder.file("out.jsonl.journal").exists());
}

#[test]
fn a_list_of_objects_is_one_row_per_item() {
    let folder = Folder::new();
    for list in
        [r#"[{"q": "a"}, {"q": "b"}]"#, "[\n  {\n    \"q\": \"a\"\n  },\n  {\n    \"q\": \"b\"\n  }\n]\n"]
    {
        folder.write("in.json", list);
        batch(&folder, "in.json", &["-p", "{{ q }}", "--fresh"]).expect_code(0);
        assert_eq!(answers(&folder), ["a", "b"], "{list}");
    }
    // Killed and resumed runs know such rows by their content, whatever the layout.
    folder.write("in.json", "[{\"q\": \"b\"},\n{\"q\": \"a\"}]");
    let ran = batch(&folder, "in.json", &["-p", "{{ q }}", "--resume-changed"]).expect_code(0);
    assert!(ran.stderr.contains("nothing to do"), "{}", ran.stderr);
    folder.write("wrapped.json", r#"{"data": [{"q": "a"}, {"q": "b"}]}"#);
    let ran = batch(&folder, "wrapped.json", &["--fresh"]).expect_code(2);
    assert!(ran.stderr.contains("`jq -c '.data[]'`"), "{}", ran.stderr);
}

#[test]
fn a_template_that_does_not_fit_the_rows_stops_before_the_journal_is_made() {
    let cases: [(&[&str], &str); 8] = [
        (
            &["-p", "Translate {question}"],
            "`{question}` is not a variable: write `{{ question }}` to insert the field",
        ),
        (&["-p", "Translate {Product Name}"], r#"write `{{ row["Product Name"] }}`"#),
        (
            &["-p", "Answer briefly."],
            "every row would send the same prompt; insert one, such as `{{ question }}`",
        ),
        (&["-p", "{{ qestion }}"], "no row can be used: the template needs `qestion`"),
        (&["-p", "{{ row['Produkt'] }}"], "no row can be used"),
        (&["-p", "{{ Product Name }}"], r#"write {{ row["Product Name"] }} for this column"#),
        (&["-s", "Be brief about {{ question }}."], "pass a template, such as '{{ question }}'"),
        (&[], "pass a template, such as '{{ question }}'"),
    ];
    for (flags, says) in cases {
        let folder = Folder::new();
        folder.write("in.csv", "id,question,Product Name\n1,Why?,lamp\n2,How?,desk\n");
        let ran = batch(&folder, "in.csv", flags).expect_code(2);
        assert!(ran.stderr.contains(says), "{flags:?}: {}", ran.stderr);
        assert!(!folder.file("out.jsonl.journal").exists() && !folder.file("out.jsonl").exists());
        // The advice works: the corrected command needs no --fresh.
        batch(&folder, "in.csv", &["-p", r#"{{ row["Product Name"] }} {{ question }}"#]).expect_code(0);
        assert_eq!(answers(&folder), ["lamp Why?", "desk How?"]);
    }
    let folder = Folder::new();
    folder.write("in.csv", "id,question\n1,Why?\n2,How?\n");
    batch(&folder, "in.csv", &["-p", "Answer briefly.", "--keep-going"]).expect_code(0);
    assert_eq!(answers(&folder), ["Answer briefly."; 2]);
    folder.write("in.txt", "one\ntwo\n");
    let ran = batch(&folder, "in.txt", &["-p", "Translate {input}", "--fresh"]).expect_code(2);
    assert!(ran.stderr.contains("write `{{ input }}`"), "{}", ran.stderr);
    // Some rows have the field: the others fail alone.
    folder.write("in.jsonl", "{\"b\": 1}\n{\"q\": \"a\"}\n");
    batch(&folder, "in.jsonl", &["-p", "{{ q }}", "--fresh"]).expect_code(3);
    assert_eq!(answers(&folder), ["failed", "a"]);
}

#[test]
fn empty_fields_are_counted_before_any_call_and_can_be_skipped() {
    let folder = Folder::new();
    folder.write("in.csv", "id,question,note\n1,Why?,\n2,,x\n3,   ,x\n4,How?,x\n");
    let asks = ["-p", "{{ question }}"];
    let ran = batch(&folder, "in.csv", &asks).expect_code(0);
    let note = "note: 2 of 4 rows have an empty field, the first: `question` in line 3\n";
    assert!(ran.stderr.starts_with(note), "{}", ran.stderr);
    assert_eq!(answers(&folder).len(), 4);
    let ran = batch(&folder, "in.csv", &[&asks[..], &["--skip-empty", "--fresh"]].concat()).expect_code(0);
    let note = "note: 2 of 4 rows are skipped, because they have an empty field or lack one, the first: `question` in line 3\n";
    assert!(ran.stderr.starts_with(note) && ran.stderr.matches("note:").count() == 1, "{}", ran.stderr);
    assert_eq!(answers(&folder), ["Why?", "How?"]);
    assert_eq!(folder.rows("out.jsonl")[1]["index"], 3);
    // The first two rows, of which one is empty.
    batch(&folder, "in.csv", &[&asks[..], &["--skip-empty", "--fresh", "--limit", "2"]].concat())
        .expect_code(0);
    assert_eq!(answers(&folder), ["Why?"]);
    folder.write("in.jsonl", "{\"q\": null}\n{\"q\": \"a\"}\n");
    batch(&folder, "in.jsonl", &["-p", "{{ q }}", "--skip-empty", "--fresh"]).expect_code(0);
    assert_eq!(answers(&folder), ["a"]);
    // Rows without the field, unless the template does without it. Other notes stay.
    folder.write("in.jsonl", "{\"id\": 7}\n{\"id\": 8, \"q\": \"a\"}\n");
    let ran = batch(&folder, "in.jsonl", &["-p", "{id} {{ q }}", "--skip-empty", "--fresh"]).expect_code(0);
    assert_eq!(answers(&folder), ["{id} a"]);
    assert!(ran.stderr.contains("1 of 2 rows is skipped, because it has"), "{}", ran.stderr);
    assert!(ran.stderr.contains("note: `{id}` in the template is sent as it is"), "{}", ran.stderr);
    let template = "{{ q | default('none') }}";
    batch(&folder, "in.jsonl", &["-p", template, "--skip-empty", "--fresh"]).expect_code(0);
    assert_eq!(answers(&folder), ["none", "a"]);
    // A wrong name is an error about the name.
    let ran = batch(&folder, "in.jsonl", &["-p", "{{ quest }}", "--skip-empty", "--fresh"]).expect_code(2);
    assert!(ran.stderr.contains("quest") && ran.stderr.contains("no row can be used"), "{}", ran.stderr);
}

#[test]
fn a_column_identifies_the_rows_of_the_output() {
    let folder = Folder::new();
    folder.write("in.csv", "sku,question\nA-7,Why?\n");
    batch(&folder, "in.csv", &["-p", "{{ question }}", "--id-column", "sku"]).expect_code(0);
    assert_eq!(folder.rows("out.jsonl")[0]["custom_id"], "A-7");
    let ran =
        batch(&folder, "in.csv", &["-p", "{{ question }}", "--id-column", "skU", "--fresh"]).expect_code(2);
    assert!(ran.stderr.contains("no column is named `skU`; did you mean `sku`?"), "{}", ran.stderr);
}

#[test]
fn several_inputs_are_one_run_that_resumes() {
    let folder = Folder::new();
    std::fs::create_dir(folder.file("more")).unwrap();
    folder.write("a.csv", "id,city\n1,Oslo\n2,Rome\n");
    folder.write("more/b.jsonl", "{\"id\": 1, \"city\": \"Bonn\"}\n");
    folder.write("more/c.csv", "id,city\n1,Oslo\n");
    let run = |more: &[&str]| {
        let args =
            ["batch", "a.csv", "more", "-o", "out.jsonl", "-m", "sim/echo", "-p", "Where is {{ city }}?"];
        folder.run(&[&args, more].concat())
    };
    run(&["--limit", "2"]).expect_code(0);
    assert_eq!(folder.rows("out.jsonl").len(), 2);
    let ran = run(&["--json", "--columns", "file,city"]).expect_code(0);
    let summary: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&summary["rows"], &summary["resumed"]), (&4.into(), &2.into()), "{summary}");
    let rows = folder.rows("out.jsonl");
    // Rows with the same id, and even with the same content, are distinct.
    for (at, (city, file)) in
        [("Oslo", "a.csv"), ("Rome", "a.csv"), ("Bonn", "more/b.jsonl"), ("Oslo", "more/c.csv")]
            .iter()
            .enumerate()
    {
        assert_eq!(rows[at]["index"], at);
        assert_eq!(rows[at]["input"], serde_json::json!({"file": file, "city": city}));
        assert_eq!(rows[at]["answer"], crate::support::echo_of(&format!("Where is {city}?")));
    }
    folder.write("more/c.csv", "id,city\n1,Kyiv\n");
    let ran = run(&[]).expect_code(2);
    assert!(ran.stderr.contains("the input file has changed"), "{}", ran.stderr);
    run(&["--resume-changed"]).expect_code(0);
    assert_eq!(folder.rows("out.jsonl")[3]["answer"], crate::support::echo_of("Where is Kyiv?"));
    let ran = folder
        .run(&["batch", "a.csv", "-", "-o", "x.jsonl", "-m", "sim/echo", "-p", "{{ city }}"])
        .expect_code(2);
    assert!(ran.stderr.contains("- (stdin) cannot be combined with other inputs"), "{}", ran.stderr);
}

#[cfg(feature = "xlsx")]
#[test]
fn a_workbook_becomes_a_workbook_with_the_answers_beside_its_columns() {
    let folder = Folder::new();
    folder.write("in.csv", "city,pop\nOslo,7\nRome,\n");
    let args = |from: &'static str, to: &'static str| {
        ["batch", from, "-o", to, "-m", "sim/echo", "-p", "Where is {{ city }}?"]
    };
    folder.run(&args("in.csv", "one.xlsx")).expect_code(0);
    folder.run(&args("one.xlsx", "two.xlsx")).expect_code(0);
    folder.run(&args("two.xlsx", "three.csv")).expect_code(0);
    let text = folder.read("three.csv");
    assert!(text.starts_with("city,pop,input_index,"), "{text}");
    assert!(text.lines().nth(1).is_some_and(|line| line.starts_with("Oslo,7,0,")), "{text}");
    let ran = folder.run(&[&args("two.xlsx", "x.csv")[..], &["--sheet", "orders"]].concat()).expect_code(2);
    assert!(ran.stderr.contains("no sheet `orders`; its sheets: `answers`"), "{}", ran.stderr);
    let ran = folder.run(&args("in.csv", "out.ods")).expect_code(2);
    assert!(ran.stderr.contains("out.ods: .ods is not an output format; write .jsonl"), "{}", ran.stderr);
    let ran = folder.run(&args("in.csv", "out.csv.gz")).expect_code(2);
    assert!(ran.stderr.contains("out.csv.gz: .gz is not an output format"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("or name the format") || ran.stderr.contains("--output-format"),
        "{}",
        ran.stderr
    );
    let ran =
        folder.run(&[&args("two.xlsx", "x.csv")[..], &["--encoding", "latin-1"]].concat()).expect_code(2);
    assert!(ran.stderr.contains("two.xlsx: workbooks and Parquet files have no encoding"), "{}", ran.stderr);
}

#[test]
fn rows_that_cannot_be_read_stop_a_run_without_a_model_with_the_reason() {
    let folder = Folder::new();
    let url = "/v1/images/generations";
    folder.write("in.jsonl", format!(r#"{{"custom_id":"a","url":"{url}","body":{{"prompt":"a bear"}}}}"#));
    let ran = folder.run(&["batch", "in.jsonl", "-o", "out.jsonl"]).expect_code(2);
    assert!(ran.stderr.contains("no row can be read") && ran.stderr.contains(url), "{}", ran.stderr);
}

#[test]
fn fields_of_rows_that_are_not_sent_are_counted_once() {
    let folder = Folder::new();
    let row = r#"{"messages":[{"role":"user","content":"hi"}],"label":1,"seed":7}"#;
    folder.write("in.jsonl", format!("{row}\n{row}\n"));
    let ran = folder.run(&["batch", "in.jsonl", "-o", "out.jsonl", "-m", "sim/echo"]).expect_code(0);
    let note = "note: fields that are data, and not sent: `label` (2 rows)";
    assert_eq!(ran.stderr.matches(note).count(), 1, "{}", ran.stderr);
}
