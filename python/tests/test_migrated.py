"""Programs for openai, LangChain and Mirascope with changed import lines: in `migrated`, one for each way of the originals."""

import pathlib

import pytest
from programs import as_cells, as_script, cells_of

pytest.importorskip("pydantic", reason="BaseTool needs pydantic")

FOLDER = pathlib.Path(__file__).parent / "migrated"

# The first and the last line of each program, its requests, and the maximum of them at once.
EXPECTED = {
    "calls": ("bear ", "True", 8, 4),
    "cells": ("A first encounter with hello", "", 5, 3),
    "chains": ("slogan: ", "slogan: ", 12, 6),
    "gathered": ("What is the capital of country A? -> ", "What is the capital of country C? -> ", 3, 3),
    "generations": ("0 ", "7 ", 16, 8),
    "limited": ("40 of 40", "2 ", 40, 8),
    "report": ("plan: ", "", 5, 3),
    "runnables": ("True ", "True ", 24, 8),
}

# 5 % errors, of which the first may be one, and 5 % resets. seeds.py has outages of 3 s.
SHARES = {"error_rate": 0.05, "reset_rate": 0.05, "seed": 54}
OUTAGES = {"start": ["0s..0.6s=503"], "middle": ["150ms..900ms=503"]}

plain = {}


def run(name, folder):
    """The outcome of a program without faults."""
    if name not in plain:
        plain[name] = as_script((FOLDER / f"{name}.py").read_text(), folder, latency=0.1)
    return plain[name]


def test_all_programs_are_tested():
    assert sorted(path.stem for path in FOLDER.glob("*.py")) == sorted(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_program_prints_its_answers_in_order(name, tmp_path):
    first, last, requests, most_at_once = EXPECTED[name]
    outcome = run(name, tmp_path)
    lines = outcome.text.splitlines()
    assert lines[0].startswith(first)
    assert lines[-1].startswith(last)
    assert outcome.requests == requests
    # Never more than the program asks for; fewer if a connection takes as long as an answer.
    assert most_at_once // 2 < outcome.most_at_once <= most_at_once


@pytest.mark.parametrize("name", EXPECTED)
def test_a_program_runs_in_a_notebook(name, tmp_path):
    pytest.importorskip("nbclient", reason="nbclient is not installed")
    code = (FOLDER / f"{name}.py").read_text()
    assert as_cells(cells_of(code), tmp_path, latency=0.1).text == run(name, tmp_path).text


@pytest.mark.parametrize(
    ("name", "when"),
    [
        *((name, "start") for name in ("calls", "cells", "chains", "limited", "report")),
        *((name, "middle") for name in ("calls", "limited", "report")),
    ],
)
def test_a_program_does_not_notice_faults(name, when, tmp_path):
    code = (FOLDER / f"{name}.py").read_text()
    faulty = as_script(code, tmp_path, latency=0.1, outages=OUTAGES[when], **SHARES)
    assert faulty.text == run(name, tmp_path).text
    assert faulty.requests > run(name, tmp_path).requests
