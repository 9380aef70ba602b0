"""Rows: results as they end, and inputs that are taken as rows come free."""

import asyncio
import itertools

import pytest

import fanweave as fw
from fanweave.testing import sim


async def later(n):
    await asyncio.sleep(0.01 * (4 - n))
    return n


def picky(n):
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n


async def test_rows_are_in_order_unless_they_are_not_asked_for():
    chain = fw.step(later)
    assert [row.index async for row in chain.arows(range(4))] == [0, 1, 2, 3]
    assert [row.unwrap() for row in chain.rows(range(4))] == [0, 1, 2, 3]
    assert sorted(row.unwrap() for row in chain.rows(range(4), ordered=False)) == [0, 1, 2, 3]


async def test_a_row_that_ends_is_there_before_earlier_ones_end():
    received = [asyncio.Event() for _ in range(5)]
    received[4].set()

    async def after_the_next(n):
        await received[n + 1].wait()
        return n

    outputs = []
    async for row in fw.step(after_the_next).arows(range(4), ordered=False):
        outputs.append(row.output)
        received[row.index].set()
    assert outputs == [3, 2, 1, 0]


async def test_a_row_that_fails_has_its_error_and_leaves_the_others_alone():
    rows = [row async for row in fw.step(picky).arows(range(4))]
    assert [row.output for row in rows] == [0, None, 2, None]
    assert [str(row.error) for row in rows] == ["None", "1 is odd", "None", "3 is odd"]
    with pytest.raises(ValueError, match="1 is odd"):
        rows[1].unwrap()
    assert repr(rows[0]) == "Row(0, 0)"


@pytest.mark.parametrize("ordered", [False, True])
async def test_inputs_are_taken_as_rows_come_free(ordered):
    taken = []

    def endless():
        for n in itertools.count():
            taken.append(n)
            yield n

    identity = fw.step(lambda n: n)
    rows = identity.arows(endless(), concurrency=4, ordered=ordered)
    async for row in rows:
        if row.index >= 50:
            break
    await rows.aclose()
    assert len(taken) <= 51 + 4 * 17
    taken.clear()
    with identity.rows(endless(), concurrency=4, ordered=ordered) as blocking:
        for row in blocking:
            if row.index >= 50:
                break
    assert len(taken) <= 51 + 4 * 17


async def test_inputs_may_arrive_later_than_results():
    async def source():
        for n in range(6):
            await asyncio.sleep(0.01)
            yield n

    assert [row.output async for row in fw.step(later).arows(source(), concurrency=2)] == list(range(6))


async def failing_source():
    yield 1
    raise KeyError("source")


def failing_inputs():
    yield 1
    raise KeyError("source")


@pytest.mark.parametrize("inputs", [failing_source, failing_inputs])
async def test_inputs_that_fail_raise_their_own_error_after_the_rows_before_it(inputs):
    rows = fw.step(later).arows(inputs())
    assert (await anext(rows)).output == 1
    with pytest.raises(KeyError, match="source"):
        await anext(rows)
    assert [row async for row in rows] == []


def test_inputs_that_fail_raise_their_own_error_in_blocking_code_too():
    rows = fw.step(later).rows(failing_inputs())
    assert next(rows).output == 1
    with pytest.raises(KeyError, match="source"):
        next(rows)
    assert list(rows) == []


async def test_closing_ends_the_rows_in_flight(slow, at):
    rows = at(slow).arows(itertools.repeat("a"), concurrency=5)
    first = asyncio.create_task(rows.__anext__())
    for _ in range(1000):
        if slow.stats["in_flight"] == 5:
            break
        await asyncio.sleep(0.005)
    assert slow.stats["in_flight"] == 5
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await rows.aclose()
    for _ in range(1000):
        if slow.stats["connections_open"] == 0:
            break
        await asyncio.sleep(0.005)
    assert slow.stats["connections_open"] == 0


async def test_at_most_concurrency_rows_are_in_flight(at):
    with sim(latency=0.02) as provider:
        rows = [row async for row in at(provider).arows(["a"] * 40, concurrency=6)]
        assert len(rows) == 40
        assert 3 <= provider.most_at_once <= 6


async def test_no_inputs_are_no_rows():
    assert [row async for row in fw.step(later).arows([])] == []
    assert list(fw.step(later).rows([])) == []
