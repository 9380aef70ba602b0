"""Event loops: their bridges go with them."""

import asyncio
import gc
import os
import select
import socket
import time
import weakref

import pytest

import fanweave as fw
from fanweave import _loops
from fanweave.testing import echo


def test_a_bridge_goes_with_its_loop():
    async def main():
        await fw.model("sim/echo").ainvoke("a")
        return weakref.ref(asyncio.get_running_loop()), weakref.ref(_loops.bridge())

    loop, bridge = asyncio.run(main())
    gc.collect()
    assert loop() is None
    assert bridge() is None


async def test_answers_that_arrive_while_the_loop_is_busy_wake_it_once():
    model = fw.model("sim/echo")
    await model.ainvoke("x")
    bridge = _loops.bridge()
    calls = asyncio.gather(*(model.ainvoke(str(i)) for i in range(20)))
    await asyncio.sleep(0)
    with socket.socket(fileno=os.dup(bridge.fileno())) as bell:
        # Blocks the loop until the first answer, and a little longer.
        select.select([bell], [], [])
        time.sleep(0.05)
        rings = bell.recv(100, socket.MSG_PEEK)
    assert len(await calls) == 20
    assert len(rings) == 1


def test_a_run_whose_loop_has_closed_ends_with_cancelled_error():
    async def second(x):
        return x

    # The first step runs on a thread, and ends after the loop.
    chain = fw.step(lambda x: time.sleep(0.3) or x) | second

    async def begin():
        stream = chain.astream("x")
        stream._started()
        return stream

    async def read(stream):
        return await asyncio.wait_for(anext(stream), 10)

    stream = asyncio.run(begin())
    with pytest.raises(fw.CancelledError, match="the event loop of the run has been closed"):
        asyncio.run(read(stream))


def test_a_stream_can_be_read_in_another_loop():
    async def begin():
        stream = (echo() | fw.text()).astream("one two")
        return stream, await anext(stream)

    async def rest(stream):
        return [piece async for piece in stream]

    stream, first = asyncio.run(begin())
    assert [first, *asyncio.run(rest(stream))] == ["one ", "two"]


def test_uvloop_is_a_loop_like_any_other(provider, at):
    uvloop = pytest.importorskip("uvloop")

    async def main():
        answers = await asyncio.gather(*(at(provider).ainvoke(f"{i}") for i in range(20)))
        shouted = await (echo() | fw.text() | str.upper).ainvoke("a")
        return len(answers), shouted

    loop = uvloop.new_event_loop()
    try:
        assert loop.run_until_complete(main()) == (20, "A")
    finally:
        loop.close()


def test_nest_asyncio_does_no_harm(run_script):
    pytest.importorskip("nest_asyncio")
    script = """
import asyncio, nest_asyncio
import fanweave as fw
from fanweave.testing import echo
nest_asyncio.apply()
chain = echo() | fw.text() | str.upper
async def main():
    return asyncio.run(chain.ainvoke("a")), chain.invoke("b"), await chain.ainvoke("c")
print(asyncio.run(main()))
"""
    assert run_script(script).stdout.strip() == "('A', 'B', 'C')"
