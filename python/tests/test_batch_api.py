"""Batches through the provider's batch API."""

import asyncio
import json
import logging

import pandas as pd
import pytest

import fanweave as fw
from fanweave import _core
from fanweave.testing import echo, sim

PROMPT = "Say {{ product }}."


@pytest.fixture
def frame():
    return pd.DataFrame({"product": ["a", "b", "c"]}, index=[7, 8, 9])


def test_a_frame_gets_the_answers_of_calls_and_a_finished_run_submits_nothing_more(
    provider, at, frame, tmp_path
):
    model = at(provider, max_tokens=4)
    direct = fw.batch(frame, model=model, prompt=PROMPT)
    calls = provider.requests
    settings = {"model": model, "prompt": PROMPT, "batch_api": True, "journal": tmp_path / "a.journal"}
    result = fw.batch(frame, **settings)
    assert result["answer"].tolist() == direct["answer"].tolist()
    assert result["error"].isna().all()
    assert list(result.index) == [7, 8, 9]
    assert result["output_tokens"].tolist() == [4, 4, 4]
    # At half the price.
    assert result["cost_usd"].tolist() == pytest.approx((direct["cost_usd"] / 2).tolist())
    assert provider.stats["batches"] == 1
    pd.testing.assert_frame_equal(fw.batch(frame, **settings), result)
    assert provider.stats["batches"] == 1
    assert calls == 3


def test_rows_that_are_submitted_log_no_warning(provider, at, frame, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "fanweave"):
        _core.look_at_level()
        fw.batch(frame, model=at(provider), prompt=PROMPT, batch_api=True, journal=tmp_path / "a.journal")
    _core.look_at_level()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("name", ["openai/echo", "anthropic/echo"])
def test_a_file_of_rows_goes_through_the_batch_api_of_both_dialects(provider, tmp_path, name):
    (tmp_path / "rows.jsonl").write_text('{"product": "tea"}\n{"product": "socks"}\n')
    summary = fw.batch(
        tmp_path / "rows.jsonl",
        model=fw.model(name, base_url=provider.url, api_key="any"),
        prompt=PROMPT,
        output=tmp_path / "answers.jsonl",
        batch_api=True,
    )
    assert (summary.ok, summary.failed) == (2, 0)
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert ["Say tea." in str(answers[0]), "Say socks." in str(answers[1])] == [True, True]
    assert provider.stats["batches"] == 1


async def test_a_stopped_run_leaves_its_batch_which_the_next_run_collects(frame, tmp_path):
    with sim(batch_time=0.3) as provider:
        model = fw.model("openai/echo", base_url=provider.url, api_key="any")
        settings = {"model": model, "prompt": PROMPT, "batch_api": True, "journal": tmp_path / "j"}
        stopped = asyncio.ensure_future(fw.abatch(frame, **settings))
        while provider.stats["batches"] == 0:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        stopped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopped
        await asyncio.sleep(0.3)
        result = await fw.abatch(frame, **settings)
        assert result["error"].isna().all()
        assert [answer.split(" ", 1)[1] for answer in result["answer"]] == ["Say a.", "Say b.", "Say c."]
        assert provider.stats["batches"] == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"journal": None}, "needs a journal, or a file of rows"),
        ({"concurrency": 64}, "concurrency has no effect"),
        ({"response": dict[str, str]}, "asks only once"),
        ({"dedupe": True}, "duplicate requests cannot be merged"),
        ({"budget_usd": 1.0}, "a budget cannot be enforced"),
        ({"model": echo()}, "is simulated in this process"),
        ({"model": "sim/echo"}, "is simulated in this process"),
        ({"model": echo() | fw.text(), "prompt": None}, "needs a model or its name"),
        ({"model": fw.model("gemini/gemini-3-flash", api_key="any")}, "batch API"),
    ],
)
def test_what_a_batch_api_cannot_do_is_refused_before_anything_is_submitted(
    provider, at, frame, tmp_path, settings, message
):
    given = {"model": at(provider), "prompt": PROMPT, "journal": tmp_path / "journal", **settings}
    with pytest.raises(fw.ConfigError, match=message):
        fw.batch(frame, batch_api=True, **given)
    assert provider.requests == 0
