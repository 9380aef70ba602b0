"""Blocking verbs work everywhere, also within a running loop and within steps."""

import asyncio
import contextvars
import threading
import time
import warnings

import pytest

import fanweave as fw
from fanweave.testing import echo


async def test_a_blocking_call_works_in_a_running_loop(provider, at):
    assert at(provider).invoke("a").text
    assert at(provider).batch(["a", "b"], concurrency=2)


async def test_a_blocking_call_in_a_running_loop_warns_in_debug_mode():
    chain = echo() | fw.text()
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    try:
        with pytest.warns(ResourceWarning, match="holds up the running event loop"):
            chain.invoke("a")
    finally:
        loop.set_debug(False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chain.invoke("a")


def test_a_blocking_call_lets_other_threads_run(at):
    from fanweave.testing import sim

    with sim(latency=0.3) as provider:
        turns = []

        def count():
            while not done.is_set():
                turns.append(1)
                time.sleep(0.01)

        done = threading.Event()
        thread = threading.Thread(target=count)
        thread.start()
        at(provider).invoke("a")
        done.set()
        thread.join()
        assert len(turns) >= 10


async def wait_and_shout(text):
    await asyncio.sleep(0)
    return text.upper()


def test_async_steps_of_blocking_calls_run_on_one_loop_of_their_own():
    seen = set()

    async def where(text):
        seen.add((threading.current_thread().name, id(asyncio.get_running_loop())))
        return text

    chain = fw.step(where)
    assert [chain.invoke(t) for t in "abc"] == list("abc")
    assert chain.batch(list("abc")) == list("abc")
    assert {name for name, _ in seen} == {"fanweave-python"}
    assert len(seen) == 1


def test_a_blocking_call_within_an_async_step_does_not_deadlock():
    inner = fw.step(wait_and_shout)

    async def outer(text):
        return inner.invoke(text)

    async def outermost(text):
        return fw.step(outer).invoke(text)

    assert fw.step(outer).invoke("a") == "A"
    assert fw.step(outermost).invoke("a") == "A"


async def test_a_blocking_call_within_a_step_of_an_awaited_call_does_not_deadlock():
    inner = fw.step(wait_and_shout)
    assert await fw.step(lambda text: inner.invoke(text)).ainvoke("a") == "A"
    assert await fw.step(lambda text: inner.invoke(text), inline=True).ainvoke("a") == "A"


def test_nested_blocking_steps_do_not_starve_each_other_of_threads():
    inner = fw.step(lambda x: x + 1)
    middle = fw.step(lambda x: inner.invoke(x))
    assert fw.step(lambda x: middle.invoke(x)).batch(range(200), concurrency=100) == list(range(1, 201))


VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


@pytest.mark.parametrize("inline", [False, True])
def test_steps_see_the_context_variables_of_the_caller(inline):
    async def read_async(_):
        return VARIABLE.get()

    chain = fw.parallel(plain=fw.step(lambda _: VARIABLE.get(), inline=inline), coroutine=fw.step(read_async))
    VARIABLE.set("mine")
    expected = {"plain": "mine", "coroutine": "mine"}
    assert chain.invoke(None) == expected
    assert asyncio.run(chain.ainvoke(None)) == expected


async def test_a_step_does_not_change_the_variables_of_its_caller():
    VARIABLE.set("mine")

    async def change(_):
        VARIABLE.set("other")
        return VARIABLE.get()

    assert await fw.step(change).ainvoke(None) == "other"
    assert await fw.step(lambda _: VARIABLE.set("other"), inline=True).ainvoke(None) is not None
    assert VARIABLE.get() == "mine"
