"""Batches over data frames, files and iterables: results, errors, journals, progress."""

import asyncio
import dataclasses
import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import fanweave as fw
from fanweave.testing import echo, script, sim

COLUMNS = ["answer", "error", "finish_reason", "input_tokens", "output_tokens", "cost_usd"]
PROMPT = "Say {{ product }}."


def check_pandas(result):
    assert list(result.columns) == ["product", *COLUMNS]
    assert list(result.index) == [7, 8, 9]
    assert result["answer"].tolist() == ["Say a.", "Say b.", "Say c."]
    assert result["error"].isna().all()
    assert result["finish_reason"].tolist() == ["stop"] * 3
    assert result["output_tokens"].dtype == "int64"
    assert result["cost_usd"].dtype == "float64"


def test_a_frame_of_pandas_comes_back_with_its_index_and_further_columns():
    frame = pd.DataFrame({"product": ["a", "b", "c"]}, index=[7, 8, 9])
    check_pandas(fw.batch(frame, model=echo(), prompt=PROMPT))
    assert list(frame.columns) == ["product"], "the frame of the caller is not changed"


async def test_abatch_gives_the_same():
    frame = pd.DataFrame({"product": ["a", "b", "c"]}, index=[7, 8, 9])
    check_pandas(await fw.abatch(frame, model=echo(), prompt=PROMPT))


@pytest.mark.parametrize("lazy", [False, True])
def test_a_frame_of_polars_comes_back(lazy):
    frame = pl.DataFrame({"product": ["a", "b"], "other": [1, 2]})
    result = fw.batch(frame.lazy() if lazy else frame, model=echo(), prompt=PROMPT)
    assert isinstance(result, pl.DataFrame)
    assert result.columns == ["product", "other", *COLUMNS]
    assert result["answer"].to_list() == ["Say a.", "Say b."]


def test_a_table_of_arrow_comes_back_as_a_table():
    table = pa.table({"product": ["a", "b"]})
    for rows in (table, Exported(table)):
        result = fw.batch(rows, model=echo(), prompt=PROMPT)
        assert isinstance(result, pa.Table)
        assert result.column_names == ["product", *COLUMNS]
        assert result.column("answer").to_pylist() == ["Say a.", "Say b."]


class Exported:
    """Anything that exports a stream of Arrow."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


def test_cells_of_other_types_are_texts_in_prompts_and_missing_ones_are_null():
    frame = pd.DataFrame(
        {
            "a": [datetime.date(2024, 1, 2), None],
            "b": [1.5, float("nan")],
            "c": pd.to_datetime(["2024-01-02", None]),
            "d": [["x"], ["y"]],
        }
    )
    result = fw.batch(
        frame, model=echo(), prompt="{{ a }} {{ b }} {{ c }} {{ d[0] }}{% if b is none %} none{% endif %}"
    )
    assert result["answer"].tolist()[0] == "2024-01-02 1.5 2024-01-02 00:00:00 x"
    assert result["answer"].tolist()[1].endswith(" none")


def test_rows_of_an_iterable_give_rows():
    rows = fw.batch(["a", fw.Message.user("b"), [("user", "c")]], model=echo())
    assert [(row.index, row.output) for row in rows] == [(0, "a"), (1, "b"), (2, "c")]
    rows = fw.batch(({"product": x} for x in "ab"), model=echo(), prompt=PROMPT)
    assert [row.unwrap() for row in rows] == ["Say a.", "Say b."]
    assert fw.batch([], model=echo()) == []


def test_a_chain_takes_the_rows_as_its_inputs():
    chain = fw.prompt(PROMPT) | echo() | fw.text() | str.upper
    frame = pd.DataFrame({"product": ["a", "b"]})
    assert fw.batch(frame, model=chain)["answer"].tolist() == ["SAY A.", "SAY B."]
    assert [row.output for row in fw.batch([{"product": "x"}], model=chain)] == ["SAY X."]


@dataclasses.dataclass
class Shop:
    name: str
    year: int


def test_a_response_type_gives_a_column_for_each_field():
    answers = [json.dumps({"name": f"n{i}", "year": i}) for i in range(2)]
    frame = pd.DataFrame({"product": ["a", "b"], "name": ["x", "y"]})
    result = fw.batch(frame, model=script(*answers), prompt=PROMPT, response=Shop, concurrency=1)
    assert list(result.columns) == ["product", "name", "answer_name", "year", *COLUMNS[1:]]
    assert result["answer_name"].tolist() == ["n0", "n1"]
    assert result["year"].tolist() == [0, 1]
    rows = fw.batch(["a"], model=script(answers[0]), response=Shop)
    assert rows[0].output == Shop("n0", 0)


def test_a_row_that_fails_keeps_its_error_and_the_others_their_answers():
    model = script("one", fw.BadRequestError("no"), "three")
    frame = pd.DataFrame({"product": ["a", "b", "c"]})
    result = fw.batch(frame, model=model, prompt=PROMPT, concurrency=1)
    assert result["answer"].tolist()[::2] == ["one", "three"]
    assert result["answer"].isna().tolist() == [False, True, False]
    assert "no" in result["error"][1]
    model = script("one", fw.BadRequestError("no"), "three")
    with pytest.raises(fw.BatchError) as raised:
        fw.batch(frame, model=model, prompt=PROMPT, concurrency=1, errors="raise")
    assert [index for index, _ in raised.value.failures] == [1]
    assert raised.value.results[2] == "three"


def test_an_account_that_is_rejected_raises_its_error(at):
    with sim(api_key="right") as provider:
        model = fw.model("openai/gpt-5-mini", base_url=provider.url, api_key="wrong")
        with pytest.raises(fw.AuthenticationError):
            fw.batch(["a"] * 20, model=model)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt": "{{ produkt }}"}, "reads `produkt`"),
        ({"prompt": PROMPT, "into": "product"}, "choose another name"),
        ({}, "give a `prompt`"),
        ({"prompt": PROMPT, "errors": "ignore"}, "errors must be"),
        ({"prompt": PROMPT, "output": "x.jsonl"}, "output is for a file"),
        ({"prompt": PROMPT, "budget_usd": 1.0}, "price"),
        ({"prompt": PROMPT, "temprature": 1}, "did you mean `temperature`"),
        ({"prompt": PROMPT, "concurrency": 0}, "at least 1"),
    ],
)
def test_invalid_settings_are_refused_before_any_call(settings, message):
    model = echo(record=True)
    with pytest.raises(fw.ConfigError, match=message):
        fw.batch(pd.DataFrame({"product": ["a"]}), model=model, **settings)
    assert model.prompts == []


def test_a_limit_leaves_the_other_rows_empty(tmp_path):
    frame = pd.DataFrame({"product": list("abc")})
    result = fw.batch(frame, model=echo(), prompt=PROMPT, limit=2)
    assert result["answer"].isna().tolist() == [False, False, True]
    assert result["error"].isna().all()


def test_a_journal_keeps_answers_and_belongs_to_one_prompt(tmp_path):
    journal = tmp_path / "names.journal"
    frame = pd.DataFrame({"product": list("abc")})
    first = fw.batch(frame, model=echo(), prompt=PROMPT, journal=journal)
    silent = echo(record=True)
    second = fw.batch(frame, model=silent, prompt=PROMPT, journal=journal)
    pd.testing.assert_frame_equal(first, second)
    assert silent.prompts == []
    more = pd.DataFrame({"product": list("dcba")})
    third = fw.batch(more, model=silent, prompt=PROMPT, journal=journal)
    assert third["answer"].tolist() == ["Say d.", "Say c.", "Say b.", "Say a."]
    assert len(silent.prompts) == 1
    with pytest.raises(fw.ConfigError, match="prompt"):
        fw.batch(frame, model=echo(), prompt="Name {{ product }}.", journal=journal)


def test_a_file_of_rows_becomes_a_file_of_results(tmp_path):
    rows, output = tmp_path / "rows.jsonl", tmp_path / "answers.jsonl"
    rows.write_text("".join(json.dumps({"product": x}) + "\n" for x in "abc"))
    summary = fw.batch(rows, model=echo(), prompt=PROMPT, output=output)
    assert (summary.rows, summary.ok, summary.failed, summary.left) == (3, 3, 0, 0)
    assert summary.output == str(output)
    assert len(output.read_text().splitlines()) == 3
    again = fw.batch(str(rows), model=echo(), prompt=PROMPT, output=str(output))
    assert again.resumed == 3
    with pytest.raises(fw.ConfigError, match="needs an output"):
        fw.batch(rows, model=echo(), prompt=PROMPT)
    with pytest.raises(FileNotFoundError, match="no such file"):
        fw.batch(tmp_path / "none.jsonl", model=echo(), prompt=PROMPT, output=output)


RUN = """
import sys
import pandas as pd
import fanweave as fw

url, journal, output, n = sys.argv[1:]
frame = pd.DataFrame({"product": [f"product {i % 97} {i}" for i in range(int(n))]})
model = fw.model("openai/gpt-5-mini", base_url=url, api_key="any")
print("started", flush=True)
result = fw.batch(frame, model=model, prompt="Echo {{ product }}", journal=journal, concurrency=16, progress=False)
result.to_pickle(output)
"""


def test_a_frame_whose_process_is_killed_half_way_is_the_same_after_the_next_run(tmp_path):
    path = tmp_path / "run.py"
    path.write_text(RUN)
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(fw.__file__).parents[1])}
    n = 600

    def run(provider, name):
        arguments = [sys.executable, str(path), provider.url, str(tmp_path / f"{name}.journal")]
        return subprocess.Popen([*arguments, str(tmp_path / f"{name}.pickle"), str(n)], env=environment)

    with sim(latency=0.01, error_rate=0.02, seed=3) as provider:
        assert run(provider, "undisturbed").wait(50) == 0
    with sim(latency=0.01, error_rate=0.02, seed=3) as provider:
        process = run(provider, "killed")
        while provider.requests < n // 2:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = provider.requests
        assert not (tmp_path / "killed.pickle").exists()
        assert run(provider, "killed").wait(50) == 0
        # No row that was journalled has a second request: only those in flight at the kill, and retries.
        assert provider.requests < n * 1.1 + 16
        assert provider.requests > before
    undisturbed, resumed = (pd.read_pickle(tmp_path / f"{name}.pickle") for name in ("undisturbed", "killed"))
    columns = ["product", "answer", "error", "finish_reason", "output_tokens"]
    pd.testing.assert_frame_equal(undisturbed[columns], resumed[columns])


async def test_cancelling_a_batch_ends_its_calls(slow, at):
    task = asyncio.ensure_future(fw.abatch(["a"] * 5, model=at(slow)))
    while slow.stats["in_flight"] < 5:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_progress_is_told_at_most_four_times_a_second_and_at_the_end():
    seen = []
    with sim(latency=0.2) as provider:
        model = fw.model("openai/gpt-5-mini", base_url=provider.url, api_key="any")
        began = time.monotonic()
        fw.batch(["a"] * 24, model=model, concurrency=4, progress=seen.append)
        took = time.monotonic() - began
    assert 2 <= len(seen) <= took * 4 + 2
    assert seen[-1].done == seen[-1].ok == seen[-1].total == 24
    assert [each.done for each in seen] == sorted(each.done for each in seen)
    assert str(seen[-1]).startswith("24 of 24 rows")
    assert "progress" in seen[-1]._repr_html_()


def test_progress_is_a_line_on_standard_error(capsys):
    with sim(latency=0.4) as provider:
        model = fw.model("openai/gpt-5-mini", base_url=provider.url, api_key="any")
        fw.batch(["a"] * 3, model=model, progress=True)
    shown = capsys.readouterr().err
    assert "\r0 of 3 rows" in shown
    assert shown.rstrip().rpartition("\r")[2].startswith("3 of 3 rows")
    assert shown.endswith("\n")
    fw.batch(["a"] * 3, model=echo(), progress=False)
    assert capsys.readouterr().err == ""
