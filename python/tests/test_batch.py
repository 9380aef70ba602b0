"""Many inputs through one chain."""

import asyncio
import time

import pytest

import fanweave as fw
from fanweave.testing import echo, sim

ECHO = echo() | fw.text()


async def test_results_are_in_the_order_of_the_inputs():
    async def later(n):
        await asyncio.sleep(0.02 * (5 - n))
        return n

    assert await fw.step(later).abatch(range(5)) == list(range(5))
    assert fw.step(later).batch(range(5)) == list(range(5))


async def test_at_most_concurrency_rows_are_in_flight(at):
    with sim(latency=0.05) as provider:
        await at(provider).abatch(["a"] * 30, concurrency=7)
        assert 3 < provider.most_at_once <= 7
        assert provider.requests == 30


def picky(n):
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n


async def test_a_batch_with_failures_raises_after_all_rows_and_keeps_the_results():
    with pytest.raises(fw.BatchError, match="2 of 4 rows failed; the first error: 1 is odd") as raised:
        await fw.step(picky).abatch([0, 1, 2, 3])
    error = raised.value
    assert error.results[0::2] == [0, 2]
    assert [(i, str(e)) for i, e in error.failures] == [(1, "1 is odd"), (3, "3 is odd")]
    assert isinstance(error.__cause__, ValueError)


def test_failures_can_be_returned_beside_the_outputs():
    results = fw.step(picky).batch([0, 1], errors="return")
    assert results[0] == 0
    assert isinstance(results[1], ValueError)
    with pytest.raises(ValueError, match="errors must be"):
        fw.step(picky).batch([0], errors="keep")


async def test_an_exception_that_is_an_output_is_no_failure():
    value = ValueError("a value")
    results = await fw.step(lambda _: value).abatch([1])
    assert results == [value]


async def test_a_batch_waits_as_long_as_its_slowest_row_not_their_sum(at):
    with sim(latency=0.2) as provider:
        started = time.monotonic()
        await at(provider).abatch(["a"] * 20, concurrency=20)
        assert time.monotonic() - started < 2


async def test_a_concurrency_of_0_is_refused():
    with pytest.raises(fw.ConfigError, match="concurrency must be at least 1"):
        await ECHO.abatch(["a"], concurrency=0)
    with pytest.raises(fw.ConfigError, match="concurrency must be at least 1"):
        ECHO.batch(["a"], concurrency=0)


async def test_an_input_iterator_that_fails_raises_its_own_error():
    def inputs():
        yield "a"
        raise KeyError("input")

    with pytest.raises(KeyError, match="input"):
        await ECHO.abatch(inputs())


async def test_an_empty_batch_is_an_empty_list():
    assert await ECHO.abatch([]) == []
    assert ECHO.batch([]) == []
