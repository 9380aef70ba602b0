"""Outages, 429s, resets and cut answers through every public verb: nothing is lost, and errors have their class."""

import asyncio
import json
from typing import TypedDict

import pytest

import fanweave as fw
from fanweave import chains
from fanweave.testing import sim

INPUTS = [f"item {i}" for i in range(12)]


class City(TypedDict):
    name: str


def population(city: str) -> int:
    """The number of people in a city."""
    return len(city)


async def ask(text: str) -> str:
    return text


async def streamed(chain):
    async def one(input):
        return await chain.astream(input).output()

    return await asyncio.gather(*map(one, INPUTS))


async def through_rows(chain):
    return [row.unwrap() async for row in chain.arows(INPUTS)]


async def through_table(model):
    return [row.unwrap() for row in await fw.abatch(INPUTS, model=model, prompt="{{ input }}")]


async def through_raw(model):
    raw = fw.raw_model(model.name, **model._settings)
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    answers = await asyncio.gather(*(raw.asend("/chat/completions", body) for _ in INPUTS))
    return [answer.json()["choices"][0] for answer in answers]


async def through_file(model, folder):
    path, output = folder / "rows.jsonl", folder / "answers.jsonl"
    path.write_text("".join(json.dumps({"n": n}) + "\n" for n in range(12)))
    summary = await fw.abatch(path, model=model, prompt="number {{ n }}", output=output)
    assert (summary.ok, summary.failed) == (12, 0)
    return output.read_text().splitlines()


VERBS = {
    "invoke": lambda model, _: asyncio.gather(*(asyncio.to_thread(model.invoke, x) for x in INPUTS)),
    "ainvoke": lambda model, _: asyncio.gather(*map(model.ainvoke, INPUTS)),
    "batch": lambda model, _: asyncio.to_thread(model.batch, INPUTS),
    "rows": lambda model, _: through_rows(model),
    "stream": lambda model, _: streamed(model | fw.text()),
    "chain": lambda model, _: (fw.prompt("{{ input }}") | model | fw.text()).abatch(
        [{"input": x} for x in INPUTS]
    ),
    "tools": lambda model, _: model.with_tools(population, run=5).abatch(INPUTS),
    "structured": lambda model, _: model.structured(City).abatch(INPUTS),
    "call": lambda model, _: asyncio.gather(*map(fw.call(model=model)(ask), INPUTS)),
    "fw.batch": lambda model, _: through_table(model),
    "file": through_file,
    "raw": lambda model, _: through_raw(model),
    "qa": lambda model, _: chains.qa(model, "map_reduce").abatch(
        [{"question": "?", "documents": INPUTS}] * 12
    ),
}

OUTAGES = {
    "reset": {"outages": ["0s..0.3s=reset"]},
    "429": {"first_429": "1s"},
    "502": {"outages": ["0s..0.3s=502"]},
    "503": {"outages": ["0s..0.3s=503"]},
    "refuse": {"outages": ["0s..0.3s=refuse"]},
    "garbage": {"outages": ["0s..0.3s=garbage"]},
    "too many at once": {"max_in_flight": 2},
}
# All verbs with two of them, and some verbs with the others.
CASES = [(verb, outage) for outage in ("reset", "429") for verb in VERBS]
CASES += [(verb, outage) for outage in list(OUTAGES)[2:] for verb in ("ainvoke", "stream", "fw.batch")]


@pytest.mark.parametrize(("verb", "outage"), CASES)
async def test_no_call_is_lost_in_an_outage(verb, outage, tmp_path):
    with sim(**OUTAGES[outage], latency=0.01) as provider:
        model = fw.model("openai/gpt-5-mini", base_url=provider.url, api_key="x")
        answers = await VERBS[verb](model, tmp_path)
        assert len(answers) == 12
        assert all(answers)
        assert provider.requests > 12, "the outage was never met"


@pytest.mark.parametrize(
    "verb", ["invoke", "rows", "stream", "tools", "structured", "call", "fw.batch", "raw"]
)
async def test_a_refused_key_is_the_error_of_every_verb(verb, tmp_path):
    # One thread: others would wait for a server that is gone.
    verbs = {**VERBS, "invoke": lambda model, _: asyncio.to_thread(model.invoke, "x")}
    with sim(api_key="right") as provider:
        model = fw.model("openai/gpt-5-mini", base_url=provider.url, api_key="wrong-key")
        with pytest.raises((fw.AuthenticationError, fw.BatchError)) as caught:
            await verbs[verb](model, tmp_path)
        error = caught.value
        if isinstance(error, fw.BatchError):
            [(_, error), *_] = error.failures
        assert isinstance(error, fw.AuthenticationError)
        assert error.status == 401
        assert "wrong-key" not in str(error) + repr(error.__dict__)


async def test_a_stream_that_was_read_and_is_cut_is_incomplete():
    with sim(truncate_rate=1.0, chunks=40, chunk_delay=0.01) as provider:
        chain = fw.model("openai/gpt-5-mini", base_url=provider.url, api_key="x") | fw.text()
        with pytest.raises(fw.StreamIncompleteError) as caught:
            async for _ in chain.astream("a longer question, so that something arrives"):
                pass
        assert caught.value.partial is not None
