"""The examples of the pages about Python and of the README run, and those in python/examples."""

import ast
import doctest
import importlib
import inspect
import pathlib
import re

import pytest

import fanweave as fw

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("path", ["docs/python.md", "docs/migrating.md", "README.md"])
async def test_the_examples_of_a_page_run(path, capsys, provider, monkeypatch):
    for name, value in provider.env.items():
        monkeypatch.setenv(name, value)
    examples = re.findall(r"^```python\n(.*?)^```", (ROOT / path).read_text(), re.M | re.S)
    assert examples
    names: dict = {}
    for example in examples:
        code = compile(example, path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)
        if inspect.isawaitable(result):
            await result
    assert capsys.readouterr().out


@pytest.mark.parametrize("path", sorted((ROOT / "python/examples").glob("*.py")), ids=lambda path: path.name)
def test_an_example_runs(path, run_script):
    assert run_script(path.read_text()).stdout


MODULES = [
    "_call",
    "_chain",
    "_chain_file",
    "_client",
    "_embedder",
    "_model",
    "_raw",
    "_store",
    "_tool",
    "chains",
    "testing",
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_docstrings_run(name):
    module = importlib.import_module(f"fanweave.{name}")
    names = {**vars(module), "fw": fw, "chains": importlib.import_module("fanweave.chains")}
    tests = [test for test in doctest.DocTestFinder().find(module, globs=names) if test.examples]
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in tests:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
