"""Runs programs written for other packages against a simulated provider, as scripts and as cells of a notebook."""

from __future__ import annotations

import ast
import os
import pathlib
import re
import subprocess
import sys
from typing import NamedTuple

from fanweave.testing import Sim, sim

# A program with a bare `await` is a cell: run as one, with the loop of the cell before.
RUN = """
import ast, asyncio, inspect, sys
source = open(sys.argv[1]).read()
code = compile(source, sys.argv[1], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
names = {"__name__": "__main__"}
if code.co_flags & inspect.CO_COROUTINE:
    async def cell():
        await eval(code, names)
    asyncio.run(cell())
else:
    exec(code, names)
"""

# Lines that differ between two runs.
_TIMES = re.compile(r".*executed in [\d.]+ seconds.*")


class Outcome(NamedTuple):
    """What a program did."""

    output: str
    requests: int
    most_at_once: int

    @property
    def text(self) -> str:
        """The output without times, and without the order of what ran at once."""
        lines = [line for line in self.output.splitlines() if not _TIMES.match(line)]
        return "\n".join(lines)


def environment(provider: Sim) -> dict[str, str]:
    """The environment of a program: the provider, and the package that is tested."""
    import fanweave

    source = pathlib.Path(fanweave.__file__).parents[1]
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "ANTHROPIC_"))
    }
    return {**kept, **provider.env, "PYTHONPATH": str(source)}


def as_script(code: str, folder: pathlib.Path, **settings: object) -> Outcome:
    """Runs a program in an interpreter of its own. It has to end well."""
    path = folder / "program.py"
    path.write_text(code)
    runner = folder / "run.py"
    runner.write_text(RUN)
    with sim(**settings) as provider:
        done = subprocess.run(
            [sys.executable, str(runner), str(path)],
            capture_output=True,
            text=True,
            timeout=120,
            env=environment(provider),
        )
        assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return Outcome(done.stdout, provider.requests, provider.most_at_once)


def as_cells(cells: list[str], folder: pathlib.Path, **settings: object) -> Outcome:
    """Runs cells in a kernel, where a loop is running. They have to end well."""
    import nbclient
    import nbformat

    with sim(**settings) as provider:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        client = nbclient.NotebookClient(
            notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        )
        client.execute(env=environment(provider))
        texts = [
            output["text"]
            for cell in notebook.cells
            for output in cell.outputs
            if output["output_type"] == "stream" and output["name"] == "stdout"
        ]
        return Outcome("".join(texts), provider.requests, provider.most_at_once)


def has_loop(code: str) -> bool:
    """True for programs that start an event loop, which a notebook refuses without nest_asyncio."""
    return any(
        isinstance(node, ast.Attribute) and node.attr == "run" and ast.unparse(node) == "asyncio.run"
        for node in ast.walk(ast.parse(code))
    )


def cells_of(code: str) -> list[str]:
    """A program as cells, with nest_asyncio if it starts a loop."""
    before = ["import nest_asyncio\nnest_asyncio.apply()"] if has_loop(code) else []
    return [*before, code]
