//! Snapshots of `--help`.

use crate::support::{Folder, Ran};

fn help(args: &[&str]) -> String {
    Folder::new().run(args).expect_code(0).stdout
}

#[test]
fn help_is_readable() {
    insta::assert_snapshot!("help", help(&["--help"]));
    insta::assert_snapshot!("help_batch", help(&["batch", "--help"]));
    for command in ["ask", "chat", "embed", "init"] {
        insta::assert_snapshot!(format!("help_{command}"), help(&[command, "--help"]));
    }
    insta::assert_snapshot!("help_run", help(&["run", "--help"]));
    insta::assert_snapshot!("help_index", help(&["index", "--help"]));
    insta::assert_snapshot!("help_report", help(&["report", "--help"]));
    for command in ["logs", "models", "keys", "config", "completions", "man"] {
        insta::assert_snapshot!(format!("help_{command}"), help(&[command, "--help"]));
    }
    insta::assert_snapshot!("help_sim", help(&["sim", "--help"]));
}

#[test]
fn prompt_and_rows_come_before_the_model_in_help() {
    let model = match cfg!(feature = "workers") {
        true => &["Model", "Workers"][..],
        false => &["Model"],
    };
    let around = |before: &[&'static str]| [before, model, &["Cost", "Progress"]].concat();
    let batch = around(&["Arguments", "Options", "Prompt", "Rows"]);
    let run = around(&["Arguments", "Options", "Rows"]);
    for (command, wanted) in [("batch", batch), ("run", run)] {
        let text = help(&[command, "--help"]);
        let headings = text.lines().filter_map(|line| line.strip_suffix(':'));
        let headings: Vec<_> = headings.filter(|line| !line.contains(' ') && *line != "Examples").collect();
        assert_eq!(headings, wanted, "{command}");
    }
}

#[test]
fn without_arguments_the_usage_is_printed() {
    let ran = Folder::new().run(&[""; 0]).expect_code(2);
    assert!(ran.stderr.contains("Usage: fanweave"), "{}", ran.stderr);
}

#[test]
fn errors_about_arguments_respect_the_color_flag() {
    let folder = Folder::new();
    let stderr_of = |more: &[&str]| folder.run(&[&["ask", "--nope"], more].concat()).expect_code(2).stderr;
    assert!(!stderr_of(&[]).contains('\u{1b}') && !stderr_of(&["--color=never"]).contains('\u{1b}'));
    assert!(stderr_of(&["--color", "always"]).contains('\u{1b}'));
    assert!(stderr_of(&["--color=always"]).contains('\u{1b}'));
    let mut forced = folder.command(&["ask", "--nope", "--color", "never"]);
    let forced = Ran::of(forced.env("FORCE_COLOR", "1").output().expect("the program starts"));
    assert!(!forced.stderr.contains('\u{1b}'), "{}", forced.stderr);
}
