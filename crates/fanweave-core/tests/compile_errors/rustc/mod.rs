//! Compiles programs that must not compile, and compares the messages of the compiler with those recorded.
//!
//! They are checked against the library that this test is linked with, so that nothing is built for them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

/// Width of the margin for line numbers.
const MARGIN: usize = 3;

/// A library that the programs use.
pub(crate) struct Library {
    pub(crate) name: &'static str,
    /// The path of one of its functions, which the test must call.
    pub(crate) function: &'static str,
}

/// Compiles every `.rs` file of `folder`, a path in the package, and compares the messages with the `.stderr`
/// file next to it. With `FANWEAVE_UPDATE=1`, writes that file.
pub(crate) fn messages_are_those_recorded(library: &Library, package: &Path, folder: &str) {
    let rlib = rlib(library);
    let update = env::var_os("FANWEAVE_UPDATE").is_some();
    let mut cases: Vec<PathBuf> = fs::read_dir(package.join(folder))
        .unwrap()
        .map(|entry| Path::new(folder).join(entry.unwrap().file_name()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "no programs in {folder}");
    let wrong: Vec<String> = thread::scope(|scope| {
        let running: Vec<_> = cases
            .iter()
            .map(|case| (case, scope.spawn(|| message(library.name, &rlib, package, case))))
            .collect();
        running
            .into_iter()
            .filter_map(|(case, running)| wrong(package, case, running.join().unwrap(), update))
            .collect()
    });
    assert!(wrong.is_empty(), "{}\nFANWEAVE_UPDATE=1 records the messages", wrong.join("\n"));
}

/// The fault of a program: it compiles, or its message has changed.
fn wrong(package: &Path, case: &Path, message: Option<String>, update: bool) -> Option<String> {
    let Some(message) = message else {
        return Some(format!("{} compiles", case.display()));
    };
    let file = package.join(case).with_extension("stderr");
    if update {
        fs::write(&file, message).unwrap();
        return None;
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    (message != expected).then(|| format!("{}: expected\n\n{expected}\nbut was\n\n{message}", case.display()))
}

/// The message of the compiler about a program, without lines of other files. `None`: it compiles.
fn message(name: &str, rlib: &Path, package: &Path, case: &Path) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let workspace = workspace(package);
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--edition", "2024", "--crate-type", "bin", "--crate-name", "program", "--emit", "metadata"])
        .args(["--color", "never", "--diagnostic-width", "140", "--out-dir"])
        .arg(folder.path())
        .arg("-L")
        .arg(format!("dependency={}", rlib.parent().unwrap().display()))
        .arg("--extern")
        .arg(format!("{name}={}", rlib.display()))
        .arg(package.strip_prefix(workspace).unwrap().join(case))
        // As for the library: the compiler finds its code by paths from here.
        .current_dir(workspace)
        .output()
        .unwrap();
    (!output.status.success()).then(|| normal(&String::from_utf8(output.stderr).unwrap(), package, case))
}

/// The message with paths in the package, without line numbers of code that is not the program's, and without
/// what depends on them: the width of the margin.
fn normal(message: &str, package: &Path, case: &Path) -> String {
    let case = case.to_str().unwrap();
    let in_workspace = package.strip_prefix(workspace(package)).unwrap().join(case);
    let message = message.replace(in_workspace.to_str().unwrap(), case);
    let mut lines = Vec::new();
    let mut margin = 0;
    // True if the next lines of code are of another file.
    let mut is_other = false;
    for (at, line) in message.lines().enumerate() {
        let is_general =
            ["error: aborting due to", "Some errors have detailed", "For more information about"]
                .iter()
                .any(|start| line.starts_with(start));
        if is_general
            || line.contains("= note: the full name for the type")
            || line.contains("= note: consider using `--verbose`")
        {
            continue;
        }
        if line.starts_with("error") {
            let offset = message.lines().skip(at).find_map(|line| line.find("--> "));
            margin = offset.unwrap_or(MARGIN);
        }
        let number = line.trim_start().split(' ').next().filter(|word| word.parse::<u32>().is_ok());
        let start = &line[..margin.min(line.len())];
        let line = match (number, start.trim().is_empty() || number.is_some()) {
            (Some(_), _) if is_other => format!("{:MARGIN$}{}", "", &line[margin..]),
            (Some(number), _) => format!("{number:>MARGIN$}{}", &line[margin..]),
            (None, true) if line.len() > margin => format!("{:MARGIN$}{}", "", &line[margin..]),
            (None, _) => line.to_owned(),
        };
        let start = line.trim_start();
        let line = if start.starts_with("--> ") || start.starts_with("::: ") {
            let (arrow, path) = start.split_at(4);
            is_other = !path.starts_with(case);
            let path = if is_other { without_line(path) } else { path.to_owned() };
            format!("{:MARGIN$}{arrow}{path}", "")
        } else if start.starts_with("and ") && start.ends_with(" others") {
            format!("{}and $N others", &line[..line.len() - start.len()])
        } else {
            line
        };
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n").trim_end().to_owned() + "\n"
}

/// The path of another file, without its line: `$RUST/core/src/option.rs`.
fn without_line(path: &str) -> String {
    let file = path.split(".rs:").next().unwrap_or(path).to_owned() + ".rs";
    if let Some((_, file)) = file.split_once("/library/") {
        return format!("$RUST/{file}");
    }
    match file.split_once("/registry/src/") {
        Some((_, file)) => format!("$CARGO/{}", file.split_once('/').map_or(file, |(_, file)| file)),
        None => file,
    }
}

/// The folder of the workspace of a package in `crates`.
fn workspace(package: &Path) -> &Path {
    package.parent().and_then(Path::parent).unwrap()
}

/// The file of the library that this test is linked with. There is one for each selection of features that
/// was built: that with the symbols of this program.
fn rlib(library: &Library) -> PathBuf {
    let program = env::current_exe().unwrap();
    let start = format!("lib{}-", library.name);
    let files: Vec<PathBuf> = fs::read_dir(program.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with(&start) && name.ends_with(".rlib")
        })
        .collect();
    if let [file] = &files[..] {
        return file.clone();
    }
    // `fanweave::chain` is `8fanweave5chain` in every way to mangle names.
    let names = library.function.split("::").map(|name| format!("{}{name}", name.len()));
    let symbol = symbol(&fs::read(program).unwrap(), names.collect::<String>().as_bytes());
    let mut linked = files.into_iter().filter(|file| find(&fs::read(file).unwrap(), &symbol).is_some());
    let file = linked.next().expect("a library with the symbol");
    assert!(
        linked.next().is_none(),
        "several libraries with the symbol {}",
        String::from_utf8_lossy(&symbol)
    );
    file
}

/// The symbol that contains `part`.
fn symbol(program: &[u8], part: &[u8]) -> Vec<u8> {
    let at = find(program, part).expect("the test calls the function");
    let is_symbol = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.$".contains(byte);
    let before = program[..at].iter().rev().take_while(|byte| is_symbol(byte)).count();
    let after = program[at..].iter().take_while(|byte| is_symbol(byte)).count();
    program[at - before..at + after].to_vec()
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|byte| *byte == part[0]) {
        if text[from + at..].starts_with(part) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}
