"""Writes docs/flags.md, the table of all flags, from the program's own help.

  python3 tests/docs/flags.py path/to/fanweave          write the file
  python3 tests/docs/flags.py path/to/fanweave --check  fail if it is out of date
"""

import pathlib
import re
import subprocess
import sys

COMMANDS = ["batch", "ask", "chat", "run", "init", "embed", "index", "report", "logs", "models", "keys", "config", "sim",
            "worker", "jobs", "broker"]
COMMON = {"--help", "--version", "--color"}
TARGET = pathlib.Path(__file__).resolve().parents[2] / "docs" / "flags.md"
HEAD = """# Flags

All flags of all commands, from `fanweave COMMAND --help`, which also has examples and exit codes. `--color WHEN`, `--help` and
`--version` work with every command. `tests/docs/flags.py` writes this page.
"""


def help_of(program, *command):
    environment = {"PATH": "/usr/bin:/bin", "COLUMNS": "400", "NO_COLOR": "1", "HOME": "/nonexistent"}
    done = subprocess.run([program, *command, "--help"], capture_output=True, text=True, check=True, env=environment)
    return done.stdout


def subcommands(text):
    found = re.search(r"^Commands:\n((?:  .*\n)+)", text, re.M)
    names = re.findall(r"^  (\w[\w-]*)", found.group(1), re.M) if found else []
    return [name for name in names if name != "help"]


def flags(text):
    """Yields each flag as written in the help, and its description as one line."""
    flag, lines = None, []
    text = text.partition("\nExamples:")[0]
    for line in text.splitlines() + ["end"]:
        begins = re.match(r"^ {2,6}(-\S.*)$", line)
        if begins or (line and not line.startswith(" ")):
            if flag:
                yield flag, description(lines)
            flag, lines = (begins.group(1) if begins else None), []
        elif flag:
            lines.append(line.strip())


def description(lines):
    text = "\n".join(lines)
    # A list of values: `- auto:   On a terminal` becomes `auto`: On a terminal;
    text = re.sub(r"^- (\S+?):\s+(.*)$", r"`\1`: \2;", text, flags=re.M)
    text = re.sub(r"^- (\S+)$", r"`\1`;", text, flags=re.M)
    text = " ".join(line for line in text.split("\n") if line)
    text = re.sub(r";(?= \[|$)", "", text)
    text = re.sub(r"\[env: (\w+)=[^\]]*\]", r"[env: \1]", text)
    text = re.sub(r"(?<=[^.]) Possible values: ?", ". Values: ", text)
    return text.replace("|", "\\|")


def section(program, *command):
    text = help_of(program, *command)
    rows = [(flag, meaning) for flag, meaning in flags(text) if not COMMON & set(re.split(r"[ ,]+", flag))]
    rows = [(flag.replace("|", "\\|"), meaning) for flag, meaning in rows]
    if rows:
        yield f"\n## fanweave {' '.join(command)}\n\n| flag | meaning |\n|---|---|\n"
        yield from (f"| `{flag}` | {meaning} |\n" for flag, meaning in rows)
    for name in subcommands(text):
        yield from section(program, *command, name)


def main():
    program = str(pathlib.Path(sys.argv[1]).resolve())
    page = HEAD + "".join(text for command in COMMANDS for text in section(program, command))
    if "--check" not in sys.argv[2:]:
        TARGET.write_text(page)
    elif TARGET.read_text() != page:
        sys.exit(f"docs/flags.md is out of date: run python3 tests/docs/flags.py {sys.argv[1]}")


if __name__ == "__main__":
    main()
