"""Cancelling the task of a call closes its socket."""

import asyncio
import gc

import pytest
from conftest import eventually

import fanweave as fw


async def until(is_true, seconds=5.0):
    for _ in range(int(seconds / 0.005)):
        if is_true():
            return True
        await asyncio.sleep(0.005)
    return False


def is_closed(provider):
    stats = provider.stats
    return stats["in_flight"] == 0 and stats["connections_open"] == 0


async def test_wait_for_closes_the_socket(slow, at):
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(at(slow).ainvoke("hi"), 0.2)
    assert slow.requests == 1
    assert await until(lambda: is_closed(slow))


async def test_a_cancelled_task_ends_with_cancelled_error(slow, at):
    task = asyncio.create_task(at(slow).ainvoke("hi"))
    assert await until(lambda: slow.stats["in_flight"] == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await until(lambda: is_closed(slow))


async def test_a_cancelled_batch_closes_all_sockets(slow, at):
    task = asyncio.create_task(at(slow).abatch(["a"] * 8))
    assert await until(lambda: slow.stats["in_flight"] == 8)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await until(lambda: is_closed(slow))


def test_a_loop_that_ends_closes_the_sockets_of_its_calls(slow, at):
    async def main():
        left = asyncio.create_task(at(slow).ainvoke("hi"))
        assert await until(lambda: slow.stats["in_flight"] == 1)
        return left

    asyncio.run(main())
    assert eventually(lambda: is_closed(slow))


def test_a_loop_that_is_dropped_with_a_call_in_flight_closes_its_socket(slow, at):
    def abandon():
        loop = asyncio.new_event_loop()

        async def begin():
            future = asyncio.ensure_future(at(slow).ainvoke("hi"))
            assert await until(lambda: slow.stats["in_flight"] == 1)
            future._log_destroy_pending = False
            return future

        loop.run_until_complete(begin())
        loop.close()

    abandon()
    gc.collect()
    assert eventually(lambda: is_closed(slow))


def waiting_step():
    """A step that waits, and an event that is set when it has ended."""
    ended = asyncio.Event()

    async def waits(_):
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    return fw.step(waits), ended


async def test_a_cancelled_run_cancels_its_async_step():
    step, ended = waiting_step()
    task = asyncio.create_task(step.ainvoke("x"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(ended.wait(), 5)


async def test_a_cancelled_run_cancels_a_coroutine_that_a_plain_function_returned():
    started, ended = asyncio.Event(), asyncio.Event()

    async def waits():
        started.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    task = asyncio.create_task(fw.step(lambda _: waits()).ainvoke("x"))
    await started.wait()
    gc.collect()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(ended.wait(), 5)


async def test_a_timeout_of_the_run_cancels_its_async_step():
    step, ended = waiting_step()
    with pytest.raises(fw.TimeoutError):
        await step.ainvoke("x", timeout=0.05)
    await asyncio.wait_for(ended.wait(), 5)


async def test_a_step_that_is_cancelled_from_within_raises_cancelled_error():
    async def gives_up(_):
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await fw.step(gives_up).ainvoke("x")
