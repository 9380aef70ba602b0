"""Faults of a provider, through every verb: temporary ones are retried, the others are errors of their kind."""

import asyncio

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


VERBS = {
    "invoke": lambda chain, inputs: asyncio.gather(*(asyncio.to_thread(chain.invoke, x) for x in inputs)),
    "ainvoke": lambda chain, inputs: asyncio.gather(*map(chain.ainvoke, inputs)),
    "batch": lambda chain, inputs: asyncio.to_thread(chain.batch, inputs),
    "abatch": lambda chain, inputs: chain.abatch(inputs),
    "rows": lambda chain, inputs: asyncio.to_thread(lambda: [row.unwrap() for row in chain.rows(inputs)]),
    "arows": through_rows,
    "astream": through_streams,
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
