"""Tools: functions and classes that a model may call."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys

from . import _core
from ._chain import Chain, step
from ._errors import ConfigError, ParseError
from ._schema import MAX_NAME, Invalid, ParametersReader, Reader, class_doc, summary
from ._steps import is_async

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


class Tool:
    """A function, or a class with a method ``call``, that a model may call.

    It can still be called like the function or class itself. ``name``, ``description`` and ``parameters``, a JSON
    schema, are what the model sees.

    >>> @fw.tool
    ... def weather(city: str) -> str:
    ...     '''The weather in a city.'''
    ...     return f"It rains in {city}."
    >>> weather.name, weather.description, weather.parameters["required"]
    ('weather', 'The weather in a city.', ['city'])
    """

    def __init__(self, target: Callable[..., Any], name: str | None = None) -> None:
        self._target = target
        self.__name__ = getattr(target, "__name__", type(target).__name__)
        self.__doc__ = target.__doc__
        self.__module__ = getattr(target, "__module__", __name__)
        self.__wrapped__ = target
        self.name = name or re.sub(r"[^A-Za-z0-9_-]", "_", self.__name__)[:MAX_NAME]
        self._reader: Any
        if isinstance(target, type):
            self.description = class_doc(target) or ""
            self._reader = Reader(target)
            self.is_async = is_async(getattr(target, "call", _no_call))
        else:
            self.description = summary(inspect.getdoc(target) or "")
            self._reader = ParametersReader(target)
            self.is_async = is_async(target)
        self.parameters = self._reader.schema

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._target(*args, **kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        # A tool in the body of a class is a method.
        bind = getattr(self._target, "__get__", None)
        return self if instance is None or bind is None else Tool(bind(instance, owner), self.name)

    def __reduce__(self) -> Any:
        # A tool that has replaced its function goes by name, as functions do.
        name = getattr(self._target, "__qualname__", "")
        found: Any = sys.modules.get(self.__module__)
        for part in name.split("."):
            found = getattr(found, part, None)
        return name if found is self else (Tool, (self._target, self.name))

    def __repr__(self) -> str:
        return f"Tool({self.name})"

    def read(self, call: _core.ToolCall) -> Any:
        """What a model calls: an instance of the class, or a ``ToolUse`` of the function.

        Raises ``InputError`` if the arguments do not fit.
        """
        from ._errors import InputError

        try:
            read = self._reader.read(json.loads(call.arguments or "{}"))
        except ValueError as error:
            message = f"the arguments of the tool `{self.name}` are invalid: {error}"
            raise InputError(message, kind="input") from error
        return read if isinstance(self._target, type) else ToolUse(self, call.id, read)

    def _parts(self) -> tuple[str, str, Any, Any, bool]:
        run = self._run_async if self.is_async else self._run
        return self.name, self.description, self.parameters, run, self.is_async

    def _started(self, arguments: Any) -> Any:
        read = self._reader.read(arguments)
        if isinstance(self._target, type):
            call = getattr(read, "call", None)
            return read if call is None else call()
        return self._target(**read)

    # A list says that the arguments are invalid: see tools.rs.

    def _run(self, arguments: Any) -> Any:
        try:
            return as_text(self._started(arguments))
        except Invalid as error:
            return [f"the arguments are invalid: {error}"]

    async def _run_async(self, arguments: Any) -> Any:
        try:
            started = self._started(arguments)
        except Invalid as error:
            return [f"the arguments are invalid: {error}"]
        return as_text(await started)


def _no_call() -> None:
    """The tool of a class without a method ``call``."""


class ToolUse:
    """A call of a function that a model asks for: ``arguments`` are those of the function.

    >>> from fanweave.testing import script, tool_call
    >>> def add(a: int, b: int) -> int:
    ...     return a + b
    >>> use = script(tool_call("add", a=1, b=2)).with_tools(add).invoke("1 + 2?").read_tool(add)
    >>> use, use.call()
    (add(a=1, b=2), 3)
    """

    __slots__ = ("arguments", "id", "tool")

    def __init__(self, tool: Tool, id: str, arguments: dict[str, Any]) -> None:
        self.tool = tool
        self.id = id
        self.arguments = arguments

    @property
    def name(self) -> str:
        """Name of the tool."""
        return self.tool.name

    def call(self) -> Any:
        """Calls the function. An async function returns a coroutine."""
        return self.tool(**self.arguments)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.name}({arguments})"


def tool(target: Any = None, /, *, name: str | None = None) -> Any:
    """Makes a tool of a function, or of a class with a method ``call``.

    Its name, docstring and annotations say the model what it is for and what it takes. Docstrings in the styles of
    Google, numpy and Sphinx describe the parameters, and so does ``Annotated[str, "description"]``.

    >>> @fw.tool
    ... def weather(city: str) -> str:
    ...     '''The weather in a city.
    ...
    ...     Args:
    ...         city: Name of the city, in English.
    ...     '''
    ...     return f"It rains in {city}."
    >>> weather("Bergen")
    'It rains in Bergen.'

    Raises ``ConfigError`` if a parameter has a type that JSON cannot express.
    """
    if target is None:
        return lambda decorated: Tool(decorated, name)
    return Tool(target, name)


def as_tools(tools: Sequence[Any]) -> list[Tool]:
    """The tools of functions, classes and tools."""
    return [each if isinstance(each, Tool) else Tool(each) for each in tools]


def as_text(result: Any) -> str:
    """The result of a tool as a text for the model: JSON, unless it is one."""
    if isinstance(result, str):
        return result
    if isinstance(result, _core.Message):
        return result.text
    return json.dumps(result, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, (set, frozenset)):
        return list(value)
    return str(value)


def with_tools(
    chain: Chain,
    tools: Sequence[Any],
    run: int | None,
    on_error: str = "tell",
    timeout: float | None = None,
    concurrency: int = 8,
) -> Chain:
    if on_error not in ("tell", "raise"):
        raise ConfigError(f"on_error must be `tell` or `raise`, got `{on_error}`", kind="config")
    parts = [each._parts() for each in as_tools(tools)]
    engine = _core.with_tools(chain._engine, parts, run, on_error == "raise", timeout, concurrency)
    return Chain(engine, (with_tools, (chain, tools, run, on_error, timeout, concurrency), {}))


def structured(
    chain: Chain, type: Any, retries: int, refused: Callable[[Invalid], None] | None = None
) -> Chain:
    """Answers of a type. ``refused`` gets the reason for each answer that does not fit."""
    reader = Reader(type)
    is_plain = reader.is_plain
    made = _structured(
        chain, reader, lambda _, read: read if is_plain else _core.opaque(read), retries, refused
    )
    return Chain(made._engine, (structured, (chain, type, retries, refused), {}))


def reading(type: Any) -> Chain:
    """A step from a JSON value to a value of this type."""
    reader = Reader(type)

    def read(value: Any) -> Any:
        try:
            return reader.read(value)
        except Invalid as error:
            raise ParseError(f"not a valid {reader.name}: {error}", kind="parse") from None

    return Chain(step(read, inline=True)._engine, (reading, (type,), {}))


def structured_json(chain: Chain, reader: Reader) -> Chain:
    """Answers that the reader accepts, as JSON values."""
    return _structured(chain, reader, lambda value, _: value, 1)


def _structured(
    chain: Chain,
    reader: Reader,
    output: Callable[[Any, Any], Any],
    retries: int,
    refused: Callable[[Invalid], None] | None = None,
) -> Chain:
    """Answers that the reader accepts. ``output`` gets the JSON value and what the reader made of it."""

    def read(value: Any) -> Any:
        try:
            result = reader.read(value)
        except Invalid as error:
            if refused is not None:
                refused(error)
            return [False, str(error)]
        return [True, output(value, result)]

    return Chain(_core.structured(chain._engine, reader.name, reader.schema, read, retries))


def read_tool(message: _core.Message, type: Any) -> Any:
    """The first call of a tool in a message, by its class or function, or None."""
    tool = type if isinstance(type, Tool) else Tool(type)
    for call in message.tool_calls:
        if call.name == tool.name:
            return tool.read(call)
    return None
