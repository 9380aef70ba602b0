"""Faults of a provider, through every verb: temporary ones are retried, the others are errors of their kind."""

import asyncio
from typing import TypedDict

import pytest

import fanweave as fw
from fanweave.testing import sim

FAULTS = {"error_rate": 0.3, "reset_rate": 0.3, "truncate_rate": 0.3}


async def through_rows(chain, inputs):
    return [row.unwrap() async for row in chain.arows(inputs)]


async def through_streams(chain, inputs):
    async def one(input):
        return await chain.astream(input).output()

    return await asyncio.gather(*map(one, inputs))


async def through_abatch(chain, inputs):
    return outputs_of(await fw.abatch(inputs, model=chain))


def outputs_of(rows):
    return [row.unwrap() for row in rows]


VERBS = {
    "invoke": lambda chain, inputs: asyncio.gather(*(asyncio.to_thread(chain.invoke, x) for x in inputs)),
    "ainvoke": lambda chain, inputs: asyncio.gather(*map(chain.ainvoke, inputs)),
    "batch": lambda chain, inputs: asyncio.to_thread(chain.batch, inputs),
    "abatch": lambda chain, inputs: chain.abatch(inputs),
    "rows": lambda chain, inputs: asyncio.to_thread(lambda: [row.unwrap() for row in chain.rows(inputs)]),
    "arows": through_rows,
    "astream": through_streams,
    "fw.batch": lambda chain, inputs: asyncio.to_thread(lambda: outputs_of(fw.batch(inputs, model=chain))),
    "fw.abatch": through_abatch,
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_temporary_faults_are_retried(verb, fault):
    if fault != "error_rate" and verb == "astream":
        pytest.skip("a stream that was read cannot be retried")
    with sim(**{fault: FAULTS[fault]}, seed=7) as provider:
        model = fw.model("openai/gpt-5-mini", base_url=provider.url, api_key="x", retries=20)
        texts = await VERBS[verb](model | fw.text(), [f"item {i}" for i in range(12)])
        assert len(texts) == 12
        assert all(texts)
        assert provider.requests > 12, "the fault was never met"


@pytest.mark.parametrize("verb", VERBS)
async def test_a_provider_that_hangs_ends_with_a_timeout(verb):
    with sim(hang_rate=1) as provider:
        model = fw.model("openai/gpt-5-mini", base_url=provider.url, api_key="x").with_timeout(0.2)
        with pytest.raises((fw.TimeoutError, fw.BatchError)) as raised:
            await VERBS[verb](model, ["a"])
        error = raised.value
        if isinstance(error, fw.BatchError):
            error = error.results[0]
        assert error.kind == "timeout"
        for _ in range(1000):
            if provider.stats["connections_open"] == 0:
                break
            await asyncio.sleep(0.005)
        assert provider.stats["connections_open"] == 0


class City(TypedDict):
    name: str
    people: int


def population(city: str) -> int:
    """The number of people in a city."""
    return len(city)


def ask(text: str) -> str:
    return text


async def ask_async(text: str) -> str:
    return text


FORMS = {
    "tools": lambda model, inputs: model.with_tools(population, run=3).abatch(inputs),
    "structured": lambda model, inputs: model.structured(City).abatch(inputs),
    "call": lambda model, inputs: asyncio.to_thread(fw.call(model=model)(ask).batch, inputs),
    "async call": lambda model, inputs: fw.call(model=model, response=City)(ask_async).batch(inputs),
    "async calls": lambda model, inputs: asyncio.gather(*map(fw.call(model=model)(ask_async), inputs)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_temporary_faults_are_retried_within_calls_tools_and_structured_answers(form, fault):
    with sim(**{fault: FAULTS[fault]}, seed=7) as provider:
        model = fw.model("openai/gpt-5-mini", base_url=provider.url, api_key="x", retries=20)
        answers = await FORMS[form](model, [f"item {i}" for i in range(12)])
        assert len(answers) == 12
        assert all(answers)
        assert provider.requests > 12, "the fault was never met"


async def test_rows_of_a_table_wait_for_the_limit_of_the_provider():
    with sim(rpm=600) as provider:
        model = fw.model("openai/gpt-5-mini", base_url=provider.url, api_key="x")
        rows = await fw.abatch([f"item {i}" for i in range(30)], model=model)
        assert all(row.error is None for row in rows)


def test_an_outage_has_its_last_failure_as_its_cause(at):
    with sim(outages=["0s..60s=503"]) as provider:
        with pytest.raises(fw.Error) as caught:
            at(provider, retries=0).invoke("hello", timeout=20)
        assert isinstance(caught.value, fw.UnavailableError)
        assert isinstance(caught.value.__cause__, fw.OverloadedError)
        assert provider.stats["outage_status"] > 1


def test_an_outage_that_ends_is_waited_for(at):
    with sim(outages=["0s..1s=503"]) as provider:
        assert at(provider).invoke("hello").text
        assert provider.stats["outage_status"] > 0
