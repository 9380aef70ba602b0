"""The types that users see: inferred as they should be, and the same as at run time."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def check(*arguments: str) -> None:
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stdout + done.stderr


ENVIRONMENT = {"PATH": "", "MYPYPATH": str(ROOT / "python"), "PYTHONPATH": str(ROOT / "python")}


def test_types_are_inferred_and_wrong_programs_are_refused():
    check("mypy", "python/tests/typing/cases.py")


@pytest.mark.timeout(120)
def test_pyright_agrees_with_mypy():
    # Pyright, with its own Node.js.
    pytest.importorskip("basedpyright")
    check("basedpyright", "-p", "python/tests/typing/pyright.json", "--level", "error")


@pytest.mark.timeout(120)
def test_the_stubs_say_what_the_modules_have():
    allowed = "python/tests/typing/allowed.txt"
    check("mypy.stubtest", "fanweave", "--allowlist", allowed, "--mypy-config-file", "pyproject.toml")
