"""Steps in Python, prompts, parsers, and what flows between them."""

import asyncio
import dataclasses
import threading
import time

import pytest
from conftest import eventually

import fanweave as fw
from fanweave.testing import echo

ECHO = echo()


async def test_a_chain_is_prompt_model_parser_and_functions():
    async def exclaim(text):
        await asyncio.sleep(0)
        return text + "!"

    chain = fw.prompt("Say {{ word }}") | ECHO | fw.text() | str.upper | exclaim
    assert await chain.ainvoke({"word": "hi"}) == "SAY HI!"
    assert chain.invoke({"word": "hi"}) == "SAY HI!"


async def test_a_function_may_be_the_first_step():
    chain = (lambda word: {"word": word}) | fw.prompt("Say {{ word }}") | ECHO | fw.text()
    assert await chain.ainvoke("hi") == "Say hi"


async def test_mappings_run_at_the_same_time_and_become_dicts():
    chain = fw.prompt("{{ x }}") | ECHO | {"text": fw.text(), "message": lambda m: m, "length": len_of}
    result = await chain.ainvoke({"x": "abc"})
    assert list(result) == ["text", "message", "length"]
    assert result["text"] == "abc"
    assert isinstance(result["message"], fw.Message)
    assert result["length"] == 3


def len_of(message):
    return len(message.text)


async def test_branches_of_parallel_overlap():
    async def wait(x):
        await asyncio.sleep(0.2)
        return x

    started = time.monotonic()
    branches = {f"b{i}": wait for i in range(10)}
    assert await fw.parallel(**branches).ainvoke(1) == {f"b{i}": 1 for i in range(10)}
    assert time.monotonic() - started < 1.5


async def test_the_outputs_of_parallel_are_variables_of_a_prompt():
    both = {"a": ECHO, "b": ECHO | fw.text()}
    chain = fw.prompt("x") | both | fw.prompt("{{ a.role }} {{ b }}") | ECHO | fw.text()
    assert await chain.ainvoke({}) == "assistant x"


@dataclasses.dataclass
class Point:
    x: int


@pytest.mark.parametrize("value", [Point(1), {1: 2}, 2**80, float("inf"), {3, 4}, b"bytes", object()])
async def test_objects_travel_as_themselves_between_steps(value):
    seen = []
    chain = fw.step(lambda _: value) | (lambda v: (seen.append(v), v)[1])
    assert await chain.ainvoke(None) is value
    assert seen[0] is value
    nested = fw.step(lambda _: {"k": [value]}) | (lambda v: v["k"][0])
    assert await nested.ainvoke(None) is value


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**63),
        2**64 - 1,
        1.5,
        "",
        "é\U0001f600",
        [],
        {},
        [1, [2, {"a": None}]],
        {"b": 1, "a": 2},
    ],
)
async def test_json_values_are_equal_after_a_step(value):
    result = await (fw.step(lambda v: v) | (lambda v: v)).ainvoke(value)
    assert result == value
    assert type(result) is type(value)
    if isinstance(value, dict):
        assert list(result) == list(value)


async def test_an_object_that_reaches_a_step_in_rust_is_refused_with_both_names():
    def make(_):
        return Point(1)

    with pytest.raises(
        fw.InputError, match="`text` expects a message, but step `make` returned a foreign value"
    ):
        await (fw.step(make) | fw.text()).ainvoke(None)


async def test_values_that_are_nested_too_deeply_are_refused():
    value: list = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(fw.InputError, match="more than 200 levels"):
        await fw.step(lambda v: v).ainvoke(value)


async def test_a_missing_variable_is_an_input_error():
    with pytest.raises(fw.InputError, match="topic"):
        await (fw.prompt("About {{ topic }}") | ECHO).ainvoke({"topics": 1})


async def test_an_invalid_template_is_refused_when_it_is_written():
    with pytest.raises(fw.ConfigError):
        fw.prompt("{{ a")


async def test_variables_can_be_given_with_the_template():
    chain = fw.prompt("{{ a }} {{ b }}", a="x") | ECHO | fw.text()
    assert await chain.ainvoke({"b": "y"}) == "x y"
    assert await (fw.fstring("{a} {b}", a="x") | ECHO | fw.text()).ainvoke({"b": "y"}) == "x y"


async def test_parsers_read_answers():
    assert await (ECHO | fw.json()).ainvoke('Sure: {"a": [1, 2]}') == {"a": [1, 2]}
    assert await (ECHO | fw.as_list()).ainvoke("red, green, blue") == ["red", "green", "blue"]
    assert await (ECHO | fw.choice("yes", "no")).ainvoke("Yes.") == "yes"
    with pytest.raises(fw.ParseError):
        await (ECHO | fw.json()).ainvoke("no JSON")


async def test_plain_functions_run_on_threads_and_inline_ones_on_that_of_the_loop():
    name = fw.step(lambda _: threading.current_thread().name)
    assert (await name.ainvoke(None)).startswith("fanweave-step")
    here = fw.step(lambda _: threading.get_ident(), inline=True)
    assert await here.ainvoke(None) == threading.get_ident()


async def test_a_lambda_that_returns_a_coroutine_is_awaited():
    async def double(x):
        await asyncio.sleep(0)
        return x * 2

    assert await fw.step(lambda x: double(x)).ainvoke(2) == 4
    assert fw.step(lambda x: double(x)).invoke(2) == 4


class Callable:
    async def __call__(self, x):
        await asyncio.sleep(0)
        return x + 1


async def test_an_object_with_an_async_call_is_a_step():
    assert await (fw.step(Callable()) | Callable()).ainvoke(1) == 3


def test_what_is_no_step_is_refused():
    with pytest.raises(TypeError):
        fw.text() | 3
    with pytest.raises(TypeError, match="branch `a` must be a chain or a function"):
        fw.parallel(a=3)


async def test_a_fallback_answers_for_a_chain_that_fails():
    def fails(_):
        raise ValueError("no")

    assert await fw.step(fails).fallback(ECHO | fw.text()).ainvoke("x") == "x"


def test_a_chain_draws_itself():
    chain = fw.prompt("{{ x }}") | ECHO | fw.text()
    assert "flowchart" in chain.mermaid()
    assert chain._repr_mimebundle_(include=None) == {
        "text/plain": repr(chain),
        "text/vnd.mermaid": chain.mermaid(),
    }
    assert repr(fw.model("sim/echo")) == "Model(sim/echo)"


async def test_functions_are_released_with_their_chain():
    import gc
    import weakref

    def function(x):
        return x

    chain = fw.step(function)
    assert await chain.ainvoke(1) == 1
    released = weakref.ref(function)
    del function, chain
    # The thread of a step may hold its function for a moment longer.
    assert eventually(lambda: gc.collect() >= 0 and released() is None)


@pytest.mark.parametrize("kind", ["step", "parallel", "tool", "structured", "call", "many"])
async def test_a_function_that_refers_to_its_own_chain_is_released(kind):
    import gc
    import weakref

    from fanweave.testing import script, tool_call

    class Owner:
        def step(self, x):
            return x

        def tool(self) -> str:
            return "x"

        async def ask(self):
            return "x"

    owner = Owner()
    if kind == "step":
        owner.chain = fw.step(owner.step) | fw.passthrough()
        assert await owner.chain.ainvoke(1) == 1
    elif kind == "parallel":
        owner.chain = fw.parallel(a=owner.step, b=fw.passthrough()).retry(2).named("both")
        assert await owner.chain.ainvoke(1) == {"a": 1, "b": 1}
    elif kind == "tool":
        owner.chain = script(tool_call("tool"), "done").with_tools(owner.tool, run=2)
        assert (await owner.chain.ainvoke("?")).text == "done"
    elif kind == "structured":
        checked = type("Checked", (), {"__call__": lambda self, x: x, "owner": owner})()
        owner.chain = script("[1]").structured(list[int]) | checked
        assert await owner.chain.ainvoke("?") == [1]
        del checked
    elif kind == "call":
        owner.chain = fw.call(model=echo())(owner.ask).chain()
        assert (await owner.chain.ainvoke({})).text == "x"
    else:
        owner.chain = (fw.prompt("a") | echo()).lines().each(owner.step).collect()
        assert await owner.chain.ainvoke({}) == ["a"]
    released = weakref.ref(owner)
    del owner
    # The thread of a step may hold its function for a moment longer.
    assert eventually(lambda: gc.collect() >= 0 and released() is None)


async def test_a_run_keeps_the_functions_of_a_chain_that_is_dropped():
    import gc

    async def slow(x):
        await asyncio.sleep(0.05)
        return x

    chain = fw.step(slow) | slow
    task = asyncio.ensure_future(chain.ainvoke(1))
    await asyncio.sleep(0)
    stream = chain.astream(2)
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    del chain
    gc.collect()
    assert await task == 1
    assert await first == 2
