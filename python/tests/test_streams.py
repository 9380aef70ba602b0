"""Streams: pieces as they arrive, and sockets that close without a reader."""

import asyncio
import gc
import time

import pytest
from conftest import eventually

import fanweave as fw
from fanweave.testing import echo, sim

CHAIN = fw.prompt("{{ x }}") | echo() | fw.text()


@pytest.fixture
def endless():
    """A provider whose answers arrive in many pieces, one each 20 ms."""
    with sim(chunks=2000, chunk_delay=0.02) as provider:
        yield provider
        assert eventually(lambda: provider.stats["in_flight"] == 0), "a stream is still open"


async def test_pieces_of_a_text_are_strings():
    assert [piece async for piece in CHAIN.astream({"x": "one two three"})] == ["one ", "two ", "three"]
    assert list(CHAIN.stream({"x": "one two three"})) == ["one ", "two ", "three"]


async def test_pieces_of_a_model_are_deltas(provider, at):
    deltas = [delta async for delta in at(provider).astream("hello")]
    stream = at(provider).astream("hello")
    output = await stream.output()
    assert all(isinstance(delta, fw.Delta) for delta in deltas)
    assert "".join(map(str, deltas)) == output.text
    assert [d.finish_reason for d in deltas if d.finish_reason] == ["stop"]
    assert sum(d.usage.output_tokens for d in deltas if d.usage) == output.usage.output_tokens


async def test_pieces_of_json_are_the_values_so_far():
    values = [value async for value in (echo() | fw.json()).astream('{"a": [1, 2], "b": "x y"}')]
    assert values[-1] == {"a": [1, 2], "b": "x y"}
    assert all(isinstance(value, dict) for value in values)


async def test_deltas_of_parallel_name_their_branch():
    chain = fw.parallel(a=CHAIN, b=CHAIN)
    texts = {"a": "", "b": ""}
    async for delta in chain.astream({"x": "one two"}):
        texts[delta.branch] += delta.text
    assert texts == {"a": "one two", "b": "one two"}


async def test_a_chain_that_ends_in_a_function_yields_its_output_once():
    value = object()
    chain = CHAIN | (lambda _: value)
    assert [piece async for piece in chain.astream({"x": "a"})] == [value]
    assert list(chain.stream({"x": "a"})) == [value]


async def test_the_first_piece_arrives_long_before_the_last(endless, at):
    started = time.monotonic()
    async with at(endless).astream("hi") as stream:
        await anext(stream)
    assert time.monotonic() - started < 5
    with at(endless).stream("hi") as blocking:
        next(blocking)
    assert time.monotonic() - started < 5


async def until_closed(provider):
    return await asyncio.to_thread(eventually, lambda: provider.stats["connections_open"] == 0)


async def test_leaving_the_loop_and_dropping_the_stream_closes_the_socket(endless, at):
    async for _ in at(endless).astream("hi"):
        break
    gc.collect()
    assert await until_closed(endless)


async def test_closing_a_stream_closes_the_socket_and_ends_it(endless, at):
    stream = at(endless).astream("hi")
    await anext(stream)
    await stream.aclose()
    assert await until_closed(endless)
    assert [piece async for piece in stream] == []
    with pytest.raises(fw.CancelledError, match="the stream was closed"):
        await stream.output()


async def test_a_stream_can_be_closed_by_another_task_while_one_waits(slow, at):
    stream = at(slow).astream("hi")
    reader = asyncio.create_task(stream.__anext__())
    await asyncio.sleep(0.2)
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(reader, 5)
    assert await until_closed(slow)


async def test_a_cancelled_wait_loses_no_piece():
    async def slow_echo(x):
        await asyncio.sleep(0.2)
        return x

    stream = (fw.step(slow_echo) | echo() | fw.text()).astream("one two")
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(stream.__anext__(), 0.05)
    assert [piece async for piece in stream] == ["one ", "two"]


async def test_a_stream_that_is_cut_raises_with_what_had_arrived():
    with sim(truncate_rate=1) as provider:
        model = fw.model("openai/gpt-5-mini", base_url=provider.url, api_key="x", retries=0)
        pieces = []
        with pytest.raises(fw.StreamIncompleteError) as raised:
            async for piece in (model | fw.text()).astream("a long story"):
                pieces.append(piece)
        assert raised.value.partial.text == "".join(pieces) != ""


async def test_an_error_is_raised_once_and_then_the_stream_has_ended():
    stream = (fw.prompt("{{ missing }}") | echo()).astream({})
    with pytest.raises(fw.InputError):
        await anext(stream)
    assert [piece async for piece in stream] == []
    with pytest.raises(fw.InputError):
        await stream.output()


async def test_a_slow_reader_slows_the_source_down():
    long = "word " * 3000
    stream = CHAIN.astream({"x": long.strip()})
    await anext(stream)
    await asyncio.sleep(0.1)
    count = 1
    async for _ in stream:
        count += 1
    assert count == 3000


async def test_a_stream_that_never_waits_lets_other_tasks_run():
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(count())
    async for _ in CHAIN.astream({"x": "word " * 2000}):
        pass
    task.cancel()
    assert turns >= 20


async def test_a_stream_that_is_never_read_sends_nothing(provider, at):
    at(provider).astream("hi")
    await asyncio.sleep(0.05)
    assert provider.requests == 0


async def test_events_tell_the_course_of_a_run(provider, at):
    chain = (at(provider) | fw.text()).named("ask")
    stream = chain.aevents("hi", tags=["nightly"], metadata={"k": 1})
    events = [event async for event in stream]
    kinds = [event.kind for event in events]
    assert kinds[0] == "step_started"
    assert {"request_started", "first_byte", "answered", "step_finished"} <= set(kinds)
    assert events[-1].path == ["ask"]
    assert all(event.tags == ["nightly"] and event.metadata == {"k": 1} for event in events)
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert isinstance(await stream.output(), str)
    assert len(list(chain.events("hi"))) == len(events)


async def test_a_failure_is_an_event_and_raised_at_the_end():
    def fails(_):
        raise KeyError("x")

    kinds = []
    with pytest.raises(KeyError):
        async for event in fw.step(fails).aevents("hi"):
            kinds.append(event.kind)
    assert kinds[-1] == "step_failed"
