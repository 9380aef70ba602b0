"""Memory stays bounded: results that are read or written are not kept."""

import json
import os

import pytest

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")

PREFIX = """
import gc, json, resource
import fanweave as fw
from fanweave.testing import echo

def resident():
    with open("/proc/self/statm") as sizes:
        return int(sizes.read().split()[1]) * resource.getpagesize() / 2**20

LONG = ("word" * 501 + " ") * 4       # 8 kB: 2,500 answers have 20 MB
"""


def grown(done) -> float:
    return float(done.stdout.split()[-1])


def test_rows_that_are_iterated_are_not_kept(run_script):
    done = run_script(
        PREFIX
        + """
chain = echo() | fw.text()
def run(n):
    for row in chain.rows((LONG for _ in range(n)), concurrency=32):
        assert len(row.unwrap()) >= 8000
run(200)
before = resident()
run(2500)
print(resident() - before)
"""
    )
    assert grown(done) < 10


def test_a_batch_to_a_file_keeps_no_results(run_script, tmp_path):
    rows = tmp_path / "rows.jsonl"
    for name, n in (("warm", 200), ("rows", 1250)):
        with open(tmp_path / f"{name}.jsonl", "w") as file:
            for i in range(n):
                file.write(json.dumps({"i": i, "text": ("word" * 501 + " ") * 4}) + "\n")
    done = run_script(
        PREFIX
        + f"""
def run(name):
    summary = fw.batch({str(tmp_path)!r} + f"/{{name}}.jsonl", model=echo(), prompt="{{{{ i }}}} {{{{ text }}}}",
                       output={str(tmp_path)!r} + f"/{{name}}.out.jsonl", progress=False)
    assert summary.failed == 0, summary
run("warm")
before = resident()
run("rows")
print(resident() - before)
"""
    )
    assert rows.exists()
    assert grown(done) < 5


def test_many_calls_leave_nothing(run_script):
    done = run_script(
        PREFIX
        + """
import asyncio
model = echo()
async def run(n):
    for _ in range(n // 100):
        await asyncio.gather(*(model.ainvoke(LONG) for _ in range(100)))
asyncio.run(run(500))
before = resident()
asyncio.run(run(2500))
gc.collect()
print(resident() - before)
"""
    )
    assert grown(done) < 6
