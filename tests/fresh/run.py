#!/usr/bin/env python3
"""Compiles and runs every Rust example of the doc comments, README.md and docs/ in a crate whose only dependency is
fanweave, as a reader of the documentation would.

usage: tests/fresh/run.py [FILTER ..]   default: all examples; a filter is a part of a path, such as core/src/run.rs

An example of a doc comment follows the rules of rustdoc: `# ` hides a line, `no_run` compiles only. An example of a
Markdown file is the body of an async function that returns `fanweave::Result<()>`, and compiles only; lines in an HTML
comment `<!-- hidden .. -->` above it come first.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CRATES = ["fanweave", "fanweave-core", "fanweave-models", "fanweave-batch", "fanweave-workers"]
MANIFEST = """[package]
name = "fresh"
version = "0.0.0"
edition = "2024"
publish = false

[dependencies]
fanweave = {{ path = "{path}", features = ["parquet", "telemetry", "workers"] }}

[lib]
doctest = false

# A workspace of its own: fanweave is a dependency like any other.
[workspace]

[profile.dev]
debug = false
"""
RUST = {"", "rust", "no_run", "should_panic"}


class Example:
    """A fenced block of Rust code."""

    def __init__(self, path, line, info, code, hidden=()):
        self.path, self.line, self.info = path, line, info
        self.code, self.hidden = code, hidden

    def module(self):
        """The name of the example, as a module: its place."""
        place = str(self.path).removeprefix("crates/").replace("/src", "").removesuffix(".rs")
        return re.sub(r"\W", "_", f"{place}_{self.line}").lower()

    def source(self):
        """The example as a Rust module with at most one test."""
        if self.path.suffix == ".md":
            code = "\n".join([*self.hidden, *self.code])
            return f"#![allow(warnings)]\nasync fn example() -> fanweave::Result<()> {{\n{code}\nOk(())\n}}\n"
        lines = [re.sub(r"^(\s*)#(?: (.*))?$", r"\1\2", line) for line in self.code]
        code = "\n".join(re.sub(r"^(\s*)##", r"\1#", line) for line in lines)
        attributes = "" if self.info == "no_run" else "#[test]\n"
        if self.info == "should_panic":
            attributes += "#[should_panic]\n"
        if re.search(r"\bfn main\(", code):
            test = f"{attributes}fn example() -> impl std::process::Termination {{ main() }}\n"
            return f"#![allow(warnings)]\n{code}\n{test}"
        returns = "-> Result<(), impl std::fmt::Debug> " if code.rstrip().endswith("(())") else ""
        return f"#![allow(warnings)]\n{attributes}fn example() {returns}{{\n{code}\n}}\n"


def doc_lines(path):
    """The lines of the file as Markdown: those of doc comments, or all. None: a line of code."""
    for line in path.read_text().split("\n"):
        if path.suffix == ".md":
            yield line
        else:
            comment = re.match(r"\s*//[/!] ?(.*)$", line)
            yield comment and comment[1]


def examples(path):
    """The Rust examples of a file."""
    fence, hidden, comment = None, [], None
    for number, line in enumerate(doc_lines(path), 1):
        if line is None:
            assert fence is None, f"{path}:{number}: the code block does not end"
        elif fence is not None and line.strip() == "```":
            info = fence.info
            is_rust = info == "rust" if path.suffix == ".md" else info in RUST
            if is_rust:
                yield fence
            fence, hidden = None, []
        elif fence is not None:
            fence.code.append(line)
        elif comment is not None:
            if line == "-->":
                hidden, comment = comment, None
            else:
                comment.append(line)
        elif line == "<!-- hidden":
            comment = []
        elif line.lstrip().startswith("```"):
            fence = Example(path.relative_to(ROOT), number, line.strip("` "), [], hidden)
        elif line:
            hidden = []


def main():
    filters = sys.argv[1:]
    files = [file for crate in CRATES for file in sorted((ROOT / "crates" / crate / "src").rglob("*.rs"))]
    files += [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = [e for file in files for e in examples(file)]
    found = [e for e in found if not filters or any(f in str(e.path) for f in filters)]
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    crate = target / "fresh"
    shutil.rmtree(crate / "src", ignore_errors=True)
    (crate / "src").mkdir(parents=True)
    (crate / "Cargo.toml").write_text(MANIFEST.format(path=ROOT / "crates/fanweave"))
    # The versions that the workspace is tested with.
    shutil.copy(ROOT / "Cargo.lock", crate / "Cargo.lock")
    for example in found:
        text = f"// {example.path}:{example.line}\n{example.source()}"
        (crate / "src" / f"{example.module()}.rs").write_text(text)
    modules = "".join(f"mod {example.module()};\n" for example in found)
    (crate / "src/lib.rs").write_text(f"#![cfg(test)]\n{modules}")
    print(f"{len(found)} examples", flush=True)
    # Those with a simulated model wait for it most of the time.
    command = os.environ.get("CARGO", "cargo").split() + ["test", "--quiet", "--manifest-path", crate / "Cargo.toml"]
    command += ["--target-dir", target, "--", "--test-threads", "32"]
    return subprocess.run(command, cwd=crate).returncode


sys.exit(main())
