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


MODULES = ["_chain", "_embedder", "_model", "_raw", "_store", "_tool", "chains", "testing"]


def run_examples(tests):
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in tests:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_docstrings_run(name):
    module = importlib.import_module(f"fanweave.{name}")
    names = {"fw": fw, "chains": importlib.import_module("fanweave.chains")}
    tests = [test for test in doctest.DocTestFinder().find(module, globs=names) if test.examples]
    # Those of public names are tested below.
    run_examples(test for test in tests if test.name.rpartition(".")[2] not in fw.__all__)


NAMES = ["Error", *(name for name in fw.__all__ if not name.endswith("Error"))]


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example_that_runs(name):
    doc = inspect.getdoc(getattr(fw, name)) or ""
    test = doctest.DocTestParser().get_doctest(doc, {"fw": fw}, name, None, 0)
    assert test.examples, "its docstring has no example"
    run_examples([test])
