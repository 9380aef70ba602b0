"""Records of the logger `fanweave`."""

import asyncio
import logging
import threading
import time

import pytest

import fanweave as fw
from fanweave import _core
from fanweave.testing import sim


@pytest.fixture
def records():
    """The records of a handler, at the level DEBUG."""
    found = []

    class Handler(logging.Handler):
        def emit(self, record):
            found.append((record, threading.current_thread()))

    logger, handler = logging.getLogger("fanweave"), Handler()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    _core.look_at_level()
    yield found
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    _core.look_at_level()


def levels(records) -> set[str]:
    return {record.levelname for record, _ in records}


VERBS = {
    "invoke": lambda chain: chain.invoke("x"),
    "batch": lambda chain: chain.batch(["x"]),
    "stream": lambda chain: list(chain.stream("x")),
    "rows": lambda chain: [row.unwrap() for row in chain.rows(["x"])],
    "ainvoke": lambda chain: asyncio.run(chain.ainvoke("x")),
    "fw.batch": lambda chain: fw.batch(["x"], model=chain),
}


def first(records, matches):
    """The first record that matches. Another loop of this process may deliver it a moment later."""
    for _ in range(500):
        for record, thread in list(records):
            if matches(record):
                return record, thread
        time.sleep(0.01)
    raise AssertionError(f"no such record in {records}")


@pytest.mark.parametrize("verb", VERBS)
def test_requests_are_debug_records(verb, records, provider, at):
    VERBS[verb](at(provider) | fw.text())
    record, thread = first(records, lambda record: record.msg.endswith("request"))
    assert (record.name, record.levelname) == ("fanweave", "DEBUG")
    assert record.step.endswith("openai/gpt-5-mini")
    # A thread of the interpreter: the one that waits, or that of another loop.
    assert thread.name in ("MainThread", "fanweave-python")


def test_retries_are_info_and_failures_are_warnings(records):
    with sim(error_rate=0.4, seed=3) as provider:
        model = fw.model("openai/gpt-5-mini", base_url=provider.url, api_key="sk-secret-key-1", retries=20)
        model.batch(["secret question"] * 20)
        with pytest.raises(fw.Error):
            fw.raw_model("openai/m", base_url=provider.url, api_key="sk-secret-key-1").send("/nowhere", {})
        with pytest.raises(fw.Error):
            fw.model("openai/m", base_url=provider.url + "/x", api_key="sk-secret-key-1").invoke("hello")
    first(records, lambda record: record.levelname == "WARNING")
    retry, _ = first(records, lambda record: "retrying" in record.getMessage())
    assert {"DEBUG", "INFO", "WARNING"} <= levels(records)
    assert retry.levelname == "INFO"
    assert retry.fanweave["wait_ms"] >= 0
    assert f"attempt {retry.fanweave['attempt']}" in retry.getMessage()
    text = "".join(record.getMessage() + repr(record.__dict__) for record, _ in records)
    assert "sk-secret" not in text
    assert "secret question" not in text


async def test_a_loop_that_waits_delivers_records(records, slow, at):
    task = asyncio.ensure_future(at(slow).ainvoke("x"))
    for _ in range(200):
        if records:
            break
        await asyncio.sleep(0.01)
    task.cancel()
    assert levels(records) == {"DEBUG"}


def test_the_level_of_the_logger_holds(records, provider, at):
    logging.getLogger("fanweave").setLevel(logging.WARNING)
    _core.look_at_level()
    at(provider).invoke("x")
    assert not records


def test_without_a_handler_nothing_is_printed_or_recorded(run_script):
    done = run_script("""
import logging, fanweave as fw
from fanweave.testing import script
try:
    script(fw.BadRequestError("no", kind="bad_request")).invoke("x")
except fw.Error:
    pass
""")
    assert done.stderr == ""


def test_a_new_level_is_seen_within_a_second(run_script):
    done = run_script("""
import logging, time, fanweave as fw
model = fw.model("sim/echo")
model.invoke("x")
logging.basicConfig(level=logging.DEBUG, format="%(name)s %(levelname)s %(message)s")
time.sleep(1)
from fanweave.testing import sim
with sim() as provider:
    model = fw.model("openai/m", base_url=provider.url, api_key="k")
    model.batch(["x"] * 2)
    model.invoke("x")
""")
    assert "fanweave DEBUG step openai/m: request" in done.stderr


def test_a_slow_listener_loses_records_and_is_told(run_script):
    # In a process of its own: another loop would deliver the records.
    done = run_script("""
import asyncio, logging, time, fanweave as fw
from fanweave.testing import sim
found = []
class Handler(logging.Handler):
    def emit(self, record):
        found.append(record.fanweave.get("dropped", 0))
logging.getLogger("fanweave").addHandler(Handler())
logging.getLogger("fanweave").setLevel(logging.DEBUG)
with sim() as provider:
    model = fw.model("openai/gpt-5-mini", base_url=provider.url, api_key="k")
    async def main():
        tasks = [asyncio.ensure_future(model.ainvoke("x")) for _ in range(3000)]
        await asyncio.sleep(0)
        # The loop is held up: no mailbox is emptied.
        time.sleep(3)
        await asyncio.gather(*tasks)
    asyncio.run(main())
print(sum(found), len([dropped for dropped in found if not dropped]))
""")
    dropped, delivered = map(int, done.stdout.split())
    assert dropped > 0
    assert dropped + delivered >= 3000


def test_an_error_of_a_handler_is_not_the_calls(run_script):
    done = run_script("""
import logging, fanweave as fw
from fanweave.testing import sim
class Broken(logging.Handler):
    def emit(self, record):
        raise ValueError("broken handler")
logging.getLogger("fanweave").addHandler(Broken())
logging.getLogger("fanweave").setLevel(logging.DEBUG)
with sim() as provider:
    print(fw.model("openai/m", base_url=provider.url, api_key="k").invoke("hello").text)
""")
    assert done.stdout
    assert "broken handler" in done.stderr
