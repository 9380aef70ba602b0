"""Tools in Python: schemas of functions and classes, the tool loop, errors and cancellation."""

import asyncio
import contextvars
import dataclasses
import enum
import json
import threading
from typing import Annotated, Any, Literal

import pydantic
import pytest

import fanweave as fw
from fanweave.testing import script, tool_call

WHO = contextvars.ContextVar("who", default="unset")


@fw.tool
def weather(city: str, days: int = 1) -> str:
    """The weather in a city.

    Args:
        city: Name of the city,
            in English.
        days (int): Days ahead.

    Returns:
        A sentence.
    """
    return f"{city}: rain for {days} days"


def test_the_schema_of_a_tool_comes_from_its_signature_and_docstring():
    assert weather.name == "weather"
    assert weather.description == "The weather in a city."
    assert weather.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Name of the city, in English."},
            "days": {"type": "integer", "description": "Days ahead.", "default": 1},
        },
        "required": ["city"],
        "additionalProperties": False,
    }
    assert weather("Oslo") == "Oslo: rain for 1 days"


def test_docstrings_in_the_styles_of_numpy_and_sphinx_describe_parameters():
    def numpy(a, b):
        """Adds.

        Parameters
        ----------
        a : int
            The first.
        b : int
            The second.

        Returns
        -------
        int
        """

    def sphinx(a, b):
        """Adds.

        :param a: The first.
        :param int b: The
            second.
        :returns: A sum.
        """

    for function in (numpy, sphinx):
        tool = fw.tool(function)
        assert tool.description == "Adds."
        described = {name: schema["description"] for name, schema in tool.parameters["properties"].items()}
        assert described == {"a": "The first.", "b": "The second."}


class Unit(enum.Enum):
    C = "celsius"
    F = "fahrenheit"


def test_annotations_become_schemas():
    def f(
        a: Literal["x", "y"],
        b: int | None,
        c: list[float],
        d: dict[str, bool],
        e: Annotated[str, "an e"],
        g: Unit,
        h: Any,
        i: "tuple[int, str]",
    ):
        """F."""

    assert fw.tool(f).parameters["properties"] == {
        "a": {"type": "string", "enum": ["x", "y"]},
        "b": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "c": {"type": "array", "items": {"type": "number"}},
        "d": {"type": "object", "additionalProperties": {"type": "boolean"}},
        "e": {"type": "string", "description": "an e"},
        "g": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "h": {},
        "i": {
            "type": "array",
            "prefixItems": [{"type": "integer"}, {"type": "string"}],
            "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "minItems": 2,
            "maxItems": 2,
        },
    }


def test_a_class_without_a_docstring_has_no_description_of_its_base_class():
    class Documented(pydantic.BaseModel):
        """Where things are."""

    class Place(Documented):
        city: str

    @dataclasses.dataclass
    class Point:
        x: int

    assert fw.tool(Documented).description == "Where things are."
    for bare in (Place, Point):
        assert fw.tool(bare).description == ""
        assert "description" not in fw.tool(bare).parameters


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_tool_loop_runs_tools_and_sends_their_results(is_async):
    seen = []

    def sync_add(a: int, b: int):
        seen.append((a, b, WHO.get(), threading.current_thread().name))
        return {"sum": a + b}

    async def async_add(a: int, b: int):
        await asyncio.sleep(0.01)
        seen.append((a, b, WHO.get(), threading.current_thread().name))
        return {"sum": a + b}

    WHO.set("me")
    add = fw.tool(name="add")(async_add if is_async else sync_add)
    model = script([tool_call("add", a=1, b=2), tool_call("add", a=3, b=4.0)], "7 and 3")
    agent = model.with_tools(add, run=5)
    answer = await agent.ainvoke("add them")
    assert answer.text == "7 and 3"
    assert sorted(each[:3] for each in seen) == [(1, 2, "me"), (3, 4, "me")]
    threads = {each[3] for each in seen}
    assert all(name.startswith("MainThread" if is_async else "fanweave-step") for name in threads)
    shown = json.dumps(model.prompts[1].messages[-1].to_dict())
    assert '{\\"sum\\": 3}' in shown
    assert '{\\"sum\\": 7}' in shown


def test_tools_run_in_blocking_calls_also_async_ones():
    async def now() -> str:
        await asyncio.sleep(0.01)
        return "12:00"

    model = script(tool_call("now"), "noon")
    assert model.with_tools(now, run=3).invoke("time?").text == "noon"


async def test_without_run_the_answer_has_the_calls():
    model = script(tool_call("weather", city="Oslo"))
    answer = await model.with_tools(weather).ainvoke("?")
    assert [call.name for call in answer.tool_calls] == ["weather"]
    use = answer.read_tool(weather)
    assert use.arguments == {"city": "Oslo"}
    assert use.call() == "Oslo: rain for 1 days"
    assert answer.read_tool(fw.tool(len_of)) is None


def len_of(text: str) -> int:
    """The length."""
    return len(text)


async def test_invalid_arguments_go_back_to_the_model_also_with_raise():
    model = script(tool_call("weather", city=3, days="x"), tool_call("weather", city="Oslo"), "ok")
    answer = await model.with_tools(weather, run=5, on_error="raise").ainvoke("?")
    assert answer.text == "ok"
    shown = json.dumps(model.prompts[1].messages[-1].to_dict())
    assert "city: must be a text, got 3" in shown


async def test_a_tool_that_fails_is_told_or_raised_as_that_very_exception():
    error = KeyError("no such city")

    def fails(city: str) -> str:
        raise error

    model = script(tool_call("fails", city="x"), "sorry")
    assert (await model.with_tools(fails, run=5).ainvoke("?")).text == "sorry"
    assert "no such city" in json.dumps(model.prompts[1].messages[-1].to_dict())

    model = script(tool_call("fails", city="x"), "sorry")
    with pytest.raises(KeyError) as raised:
        await model.with_tools(fails, run=5, on_error="raise").ainvoke("?")
    assert raised.value is error


async def test_rounds_are_limited():
    model = script(*[tool_call("weather", city="Oslo")] * 3)
    with pytest.raises(fw.RecursionLimitError):
        await model.with_tools(weather, run=2).ainvoke("?")


async def test_cancelling_a_run_cancels_the_task_of_its_tool():
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def wait() -> str:
        started.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return "never"

    task = asyncio.ensure_future(script(tool_call("wait")).with_tools(wait, run=2).ainvoke("?"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_tool_has_a_timeout():
    async def slow() -> str:
        await asyncio.sleep(30)
        return "never"

    model = script(tool_call("slow"), "gave up")
    assert (await model.with_tools(slow, run=2, timeout=0.05).ainvoke("?")).text == "gave up"
    assert "timed out" in json.dumps(model.prompts[1].messages[-1].to_dict())


@dataclasses.dataclass
class Book:
    """Saves a book.

    Attributes:
        title: Its title.
    """

    title: str

    def call(self) -> str:
        return f"saved {self.title}"


async def test_a_class_is_a_tool_whose_instances_are_called():
    model = script(tool_call("Book", title="Emma"), "done")
    assert (await model.with_tools(Book, run=2).ainvoke("?")).text == "done"
    assert "saved Emma" in json.dumps(model.prompts[1].messages[-1].to_dict())
    answer = await script(tool_call("Book", title="Emma")).with_tools(Book).ainvoke("?")
    assert answer.read_tool(Book) == Book("Emma")


def test_functions_that_cannot_be_tools_are_refused():
    with pytest.raises(fw.ConfigError, match="by name"):
        fw.tool(lambda *names: None)

    def takes_bytes(x: bytes):
        """X."""

    with pytest.raises(fw.ConfigError, match="bytes"):
        fw.tool(takes_bytes)
    with pytest.raises(fw.ConfigError, match="two tools have the name"):
        script().with_tools(weather, weather)
    with pytest.raises(fw.ConfigError, match="on_error"):
        script().with_tools(weather, run=1, on_error="ignore")


async def test_tools_in_a_batch_are_those_of_each_row():
    def double(n: int) -> int:
        return n * 2

    model = script(*[tool_call("double", n=i) for i in range(1)], "a")
    rows = await model.with_tools(double, run=2).abatch(["x"])
    assert [row.text for row in rows] == ["a"]
