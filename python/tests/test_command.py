"""The command `fanweave`, which is in the wheel."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

import fanweave as fw

SOURCE = str(pathlib.Path(fw.__file__).parents[1])


def start(*arguments: str, **settings) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "fanweave", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": SOURCE},
        **settings,
    )


def run(*arguments: str, **settings) -> tuple[int, str, str]:
    with start(*arguments, **settings) as process:
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err


def test_the_version_is_that_of_the_package():
    assert run("--version") == (0, f"fanweave {fw.__version__}\n", "")


def test_output_and_exit_codes_are_those_of_the_command(tmp_path):
    code, out, err = run("ask", "hello", "--model", "sim/echo")
    assert (code, out.endswith("hello\n")) == (0, True), err
    code, out, err = run("ask", "hello", "--model", "sim/ecco")
    assert (code, out) == (2, "")
    assert "sim/echo" in err
    assert run("batsh")[0] == 2


def test_a_file_is_answered_and_resumed(tmp_path):
    rows, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows.write_text("".join(json.dumps({"n": n}) + "\n" for n in range(5)))
    arguments = ["batch", str(rows), "--prompt", "number {{ n }}", "--model", "sim/echo", "-o", str(output)]
    code, _, err = run(*arguments)
    assert code == 0, err
    assert len(output.read_text().splitlines()) == 5
    before = output.read_bytes()
    assert run(*arguments)[0] == 0
    assert output.read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_batch_whose_rows_are_resumed(number, tmp_path, slow):
    rows, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows.write_text('{"n": 1}\n')
    env = {**os.environ, **slow.env, "PYTHONPATH": SOURCE}
    arguments = ["batch", str(rows), "--prompt", "{{ n }}", "--model", "openai/m", "-o", str(output)]
    process = subprocess.Popen(
        [sys.executable, "-m", "fanweave", *arguments], env=env, stderr=subprocess.PIPE
    )
    for _ in range(1000):
        if slow.stats["in_flight"]:
            break
        time.sleep(0.01)
    process.send_signal(number)
    time.sleep(0.3)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
