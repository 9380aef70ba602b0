"""Forks, the exit of the interpreter, signals, imports: each in a process of its own."""

import os
import signal
import subprocess
import sys
import time

import pytest

import fanweave as fw
from fanweave.testing import sim

HEAD = """
import asyncio, os, signal, sys, threading, time
import fanweave as fw
from fanweave.testing import echo
providers = []
def at(latency=0):
    from fanweave.testing import sim
    provider = sim(latency=latency)
    providers.append(provider)
    return fw.model("openai/gpt-5-mini", base_url=provider.url, api_key="x")
"""


def test_a_forked_child_calls_with_handles_of_its_parent(run_script):
    with sim() as provider:
        script = f"""
model = fw.model("openai/gpt-5-mini", base_url="{provider.url}", api_key="x")
chain = model | fw.text() | str.upper
async def both():
    return await asyncio.gather(chain.ainvoke("a"), chain.ainvoke("b"))
assert model.invoke("a").text
assert len(asyncio.run(both())) == 2
for _ in range(3):
    child = os.fork()
    if not child:
        assert model.invoke("a").text
        assert len(asyncio.run(both())) == 2
        assert chain.batch(["a", "b"])
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
assert model.invoke("a").text
print("done")
"""
        assert run_script(HEAD + script).stdout == "done\n"
        assert provider.requests == 1 + 2 + 3 * 5 + 1


def test_a_child_that_a_library_forked_without_the_hooks_of_python_can_call(run_script):
    done = run_script("""
import ctypes, os, fanweave as fw
model = fw.model("sim/echo")
assert "parent" in model.invoke("parent").text
# As a library in C does, which may use Python in its child.
child = ctypes.PyDLL(None).fork()
assert "hello" in model.invoke("hello").text
if child == 0:
    print("child", flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
""")
    assert done.stdout == "child\n"


def test_children_forked_while_threads_call_can_call_and_so_can_the_parent(run_script):
    """The locks of the engine may be held by threads that a child does not have."""
    script = """
chain = at(0.001) | fw.text() | str.upper
is_over = False
calls = [0, 0, 0]
def work(i):
    while not is_over:
        assert chain.invoke("thread")
        calls[i] += 1
def work_on_a_loop():
    async def main():
        while not is_over:
            calls[2] += len(await asyncio.gather(*(chain.ainvoke("loop") for _ in range(16))))
    asyncio.run(main())
threads = [threading.Thread(target=work, args=(i,)) for i in range(2)] + [threading.Thread(target=work_on_a_loop)]
for thread in threads:
    thread.start()
while not all(calls):
    time.sleep(0.01)
for _ in range(20):
    child = os.fork()
    if not child:
        signal.alarm(20)
        is_well = chain.invoke("child") and all(chain.batch(["a"] * 4)) and asyncio.run(chain.ainvoke("x"))
        os._exit(0 if is_well else 3)
    assert os.waitpid(child, 0)[1] == 0
before = list(calls)
while not all(now > then for now, then in zip(calls, before)):
    time.sleep(0.01)
is_over = True
for thread in threads:
    thread.join()
print("done")
"""
    assert run_script("import warnings; warnings.simplefilter('ignore')" + HEAD + script).stdout == "done\n"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_works_with_every_start_method(run_script, method):
    with sim() as provider:
        script = f"""
from multiprocessing import get_context
model = fw.model("openai/gpt-5-mini", base_url="{provider.url}", api_key="x")
def call(i):
    return bool(model.invoke(str(i)).text)
if __name__ == "__main__":
    model.invoke("warm")
    with get_context("{method}").Pool(2) as pool:
        print(pool.map(call, range(6)))
"""
        assert run_script(HEAD + script).stdout.strip() == str([True] * 6)


def test_a_run_of_the_parent_is_refused_in_a_forked_child(run_script):
    script = """
async def main():
    stream = (echo() | fw.text()).astream("a b c")
    assert await anext(stream)
    child = os.fork()
    if not child:
        try:
            stream._reader.take()
        except fw.Error as error:
            os._exit(0 if "forked" in str(error) else 3)
        os._exit(4)
    assert os.waitpid(child, 0)[1] == 0
    return [piece async for piece in stream]
print(asyncio.run(main()))
"""
    assert run_script(HEAD + script).stdout.strip() == "['b ', 'c']"


@pytest.mark.parametrize(
    "work",
    [
        "model.invoke('a')",
        "asyncio.run(model.ainvoke('a'))",
        "threading.Thread(target=lambda: slow.invoke('a'), daemon=True).start(); time.sleep(0.1)",
        "loop = asyncio.new_event_loop(); t = loop.create_task(slow.ainvoke('a')); "
        "loop.run_until_complete(asyncio.sleep(0.1)); t._log_destroy_pending = False",
        "async def leave():\n    for i in range(220): asyncio.ensure_future(slow.ainvoke('a'))\n"
        "    await asyncio.sleep(0.2)\nasyncio.run(leave())",
        "threading.Thread(target=fw.step(lambda x: time.sleep(0.2)).invoke, args=(1,), daemon=True).start()",
    ],
)
def test_an_interpreter_exits_cleanly_with_work_in_flight(run_script, work):
    script = f"""
model = at()
slow = at(latency=60)
{work}
print("end", flush=True)
"""
    started = time.monotonic()
    done = run_script(HEAD + script)
    assert done.stdout == "end\n"
    assert "panicked" not in done.stderr
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("work", ["slow.invoke('a')", "slow.batch(['a'] * 4)", "waiting.invoke('a')"])
def test_ctrl_c_ends_a_blocking_call(work):
    # A parent that ignores the signal, such as a shell for its background jobs, hands that down.
    script = f"""{HEAD}
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
async def forever(_):
    await asyncio.sleep(60)
slow = at(latency=60)
waiting = fw.step(forever)
threading.Thread(target=lambda: (time.sleep(0.5), print("ready", flush=True)), daemon=True).start()
try:
    {work}
except KeyboardInterrupt:
    end = time.monotonic() + 5
    while providers[0].stats["in_flight"] and time.monotonic() < end:
        time.sleep(0.01)
    print("interrupted", providers[0].stats["in_flight"], flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment()
    )
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        assert process.stdout.readline() == "interrupted 0\n"
        assert time.monotonic() - started < 3
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def environment():
    source = os.path.dirname(os.path.dirname(fw.__file__))
    return {**os.environ, "PYTHONPATH": source}


def test_importing_fanweave_loads_no_other_package_and_no_slow_module(run_script):
    script = """
import sys
before = set(sys.modules)
import fanweave
loaded = {name.split(".")[0] for name in set(sys.modules) - before}
print(sorted(loaded - sys.stdlib_module_names))
slow = {"asyncio", "collections", "concurrent", "functools", "inspect", "json", "logging", "threading", "typing"}
print(sorted(loaded & slow))
"""
    assert run_script(script).stdout.splitlines() == ["['fanweave']", "[]"]
