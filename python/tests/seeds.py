"""Runs the programs of documents with nothing changed but their import lines: ``python seeds.py FOLDER``.

The documents are texts with Python programs in fences, in ``[code]`` blocks, or after their line numbers. Each program runs
against a simulated provider as a script and as cells of a notebook, and again while the provider fails. Prints a line for
each, and ends with an error if one has failed.
"""

from __future__ import annotations

import ast
import pathlib
import re
import sys
import tempfile
import traceback

from programs import Outcome, as_cells, as_script, cells_of

LATENCY = 0.1
# 5 % errors, of which the first request is one, 5 % resets, and an outage of 3 s, at the start or during the calls.
SHARES = {"error_rate": 0.05, "reset_rate": 0.05, "seed": 54}
OUTAGES = {"start": ["0s..3s=503"], "middle": ["150ms..3150ms=503"]}

_IMPORT = re.compile(r"^(\s*from |\s*import )(langchain|openai|mirascope)(?=[\s.])", re.MULTILINE)


def compiles(code: str) -> bool:
    """True for Python, also with a bare ``await``."""
    try:
        compile(code, "program", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError:
        return False
    return bool(code.strip())


def blocks(text: str) -> list[str]:
    """The programs of a document."""
    numbered = numbered_blocks(text)
    if numbered:
        found = numbered
    else:
        found = [
            block
            for _, block in re.findall(r"^```(python|)[ \t]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        ]
    return [block for block in map(cleaned, found) if compiles(block)]


def numbered_blocks(text: str) -> list[str]:
    """Code after as many lines with the numbers of its lines."""
    lines = text.splitlines()
    found = []
    i = 0
    while i < len(lines):
        count = 0
        while i + count < len(lines) and lines[i + count].strip() == str(count + 1):
            count += 1
        if count:
            found.append("\n".join(lines[i + count : i + 2 * count]) + "\n")
            i += 2 * count
        else:
            i += 1
    return found


def cleaned(block: str) -> str:
    """A program with the indentation and the characters that its document has lost."""
    import textwrap

    lines = [line.rstrip() for line in textwrap.dedent(block).splitlines()]
    code = "\n".join(lines).strip("\n") + "\n"
    if compiles(code):
        return code
    # Lines of blocks have one space, whatever their depth, and underscores are escaped.
    code = re.sub(r"\\([_*])", r"\1", code)
    depth, made = 0, []
    for line in code.splitlines():
        if line.startswith(" "):
            made.append("    " * max(depth, 1) + line.strip())
            depth += line.endswith(":")
        else:
            made.append(line)
            depth = int(line.endswith(":"))
    return "\n".join(made) + "\n"


def programs(folder: pathlib.Path) -> list[tuple[str, str]]:
    """All programs by name, each with the blocks of its document that it continues."""
    found: list[tuple[str, str]] = []
    for path in sorted(folder.iterdir()):
        if not path.is_file():
            continue
        named: dict[str, str] = {}
        before = ""
        for i, block in enumerate(blocks(path.read_text())):
            code = _IMPORT.sub(r"\1fanweave.\2", block)
            name = f"{path.stem[:3]}.{i + 1}"
            found.append((name, prelude(code, before, named) + code + shown(code)))
            for defined in re.findall(r"^async def (\w+)", code, re.MULTILINE):
                named[defined] = code
            before = code
    return found


def prelude(code: str, before: str, named: dict[str, str]) -> str:
    """The blocks of the document that a fragment needs, without the line that runs them."""
    if re.search(r"^(async )?def |^import asyncio", code, re.MULTILINE):
        return ""
    wanted = next((name for name in re.findall(r"(\w+)\(", code) if name in named and name != "main"), None)
    source = named[wanted] if wanted else before if "main()" not in code else named["main"]
    if "AsyncOpenAI(" in code or "main()" in code or "tasks" in code or wanted == "complete":
        source = named.get("complete", source)
    kept = re.sub(r"^asyncio\.run\(.*\)\n", "", source, flags=re.MULTILINE)
    extra = ""
    if re.search(r"\bprompts\b", code):
        extra += 'prompts = [f"Give a short definition of concept {i}" for i in range(12)]\n'
    if re.search(r"\btasks\b", code):
        extra += 'tasks = [complete(f"Define concept {i}") for i in range(4)]\n'
    return kept + extra


def shown(code: str) -> str:
    """Lines that use what a fragment without output defines."""
    if "print(" in code or re.search(r"^asyncio\.run|^await ", code, re.MULTILINE):
        return ""
    last = re.findall(r"^async def (\w+)", code, re.MULTILINE)
    if last:
        return f'print((await {last[-1]}("fantasy")).content)\n'
    if code.startswith("client = "):
        return 'print(await complete("Your prompt"))\n'
    return "print(result if isinstance(globals().get('result'), str) else results)\n"


def check(name: str, code: str, folder: pathlib.Path) -> None:
    script = as_script(code, folder, latency=LATENCY)
    report(name, "script", script)
    cells = as_cells(cells_of(code), folder, latency=LATENCY)
    report(name, "cells", cells)
    assert cells.text == script.text, f"a notebook prints\n{cells.text}\na script\n{script.text}"
    for when, outages in OUTAGES.items():
        faulty = as_script(code, folder, latency=LATENCY, outages=outages, **SHARES)
        report(name, when, faulty)
        assert faulty.text == script.text, f"with faults it prints\n{faulty.text}\nwithout\n{script.text}"
        assert faulty.requests > script.requests, "no request failed"
    if script.requests >= 3:
        assert script.most_at_once >= 3, f"only {script.most_at_once} calls at once"


def report(name: str, kind: str, outcome: Outcome) -> None:
    times = re.findall(r"(\w+) executed in ([\d.]+)", outcome.output)
    shown = ", ".join(f"{what} {seconds} s" for what, seconds in times)
    lines = len(outcome.output.splitlines())
    print(
        f"{name:6} {kind:7} {outcome.requests:4} requests, {outcome.most_at_once:3} at once, {lines:3} lines {shown}"
    )
    if len(times) >= 2:
        by_name = {what: float(seconds) for what, seconds in times}
        if kind in ("script", "cells") and {"Serial", "Concurrent"} <= by_name.keys():
            ratio = by_name["Serial"] / max(by_name["Concurrent"], 0.01)
            assert ratio >= 4, f"concurrent is only {ratio:.1f} times as fast as serial"


def main(folder: str) -> int:
    found = programs(pathlib.Path(folder))
    failed = []
    for name, code in found:
        with tempfile.TemporaryDirectory() as place:
            try:
                check(name, code, pathlib.Path(place))
            except Exception:
                failed.append(name)
                print(f"{name:6} FAILED")
                traceback.print_exc()
    print(f"{len(found) - len(failed)} of {len(found)} programs")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
