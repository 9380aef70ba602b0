//! Texts of the library crates: interfaces other than the program use them too.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::path::{Path, PathBuf};

/// The Rust files below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            false => {}
        }
    }
}

/// Returns true if a line of code names a flag of this program: ` --fresh`, "`--fresh`" or `"--fresh`.
fn names_a_flag(line: &str) -> bool {
    let code = line.trim_start();
    let flag = |(at, _): (usize, &str)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| " `'\"(".contains(c))
            && line[at + 2..].starts_with(|c: char| c.is_ascii_lowercase())
    };
    !code.starts_with("//") && !line.contains("aws configure") && line.match_indices("--").any(flag)
}

#[test]
fn no_text_of_a_library_crate_names_a_flag() {
    assert!(names_a_flag(r#"    "start over with --fresh""#) && names_a_flag(r#"  or `--fresh`","#));
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut sources = Vec::new();
    for name in ["fanweave", "fanweave-batch", "fanweave-core", "fanweave-models"] {
        files(&crates.join(name).join("src"), &mut sources);
    }
    assert!(sources.len() > 100, "the crates are where they were");
    for path in sources {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in (1..).zip(text.lines()) {
            assert!(!names_a_flag(line), "{}:{number}: {line}", path.display());
        }
    }
}
