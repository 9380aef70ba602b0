"""Parsers of answers."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from .. import _core
from .._chain import Chain
from .._errors import ConfigError
from .._schema import Invalid, Reader
from ._running import Run, permit
from .runnables import Runnable
from .schema import OutputParserException

__all__ = [
    "BaseOutputParser",
    "CommaSeparatedListOutputParser",
    "JsonOutputParser",
    "PydanticOutputParser",
    "StrOutputParser",
]


def _text(input: Any) -> str:
    return input if isinstance(input, str) else str(input.text)


class BaseOutputParser(Runnable[Any, Any]):
    """A parser of the text of an answer. Subclasses define ``parse``."""

    def parse(self, text: str) -> Any:
        """The value of a text."""
        raise NotImplementedError

    def get_format_instructions(self) -> str:
        """Instructions for the model, for a prompt."""
        raise NotImplementedError(f"{type(self).__name__} has no instructions")

    async def aparse(self, text: str) -> Any:
        """The value of a text."""
        return self.parse(text)

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> Any:
        return self.parse(_text(input))


class StrOutputParser(BaseOutputParser):
    """The text of an answer."""

    def parse(self, text: str) -> str:
        return text

    async def _transformed(self, pieces: AsyncIterator[Any], run: Run, **kwargs: Any) -> AsyncIterator[str]:
        async for piece in pieces:
            text = _text(piece)
            if text:
                yield text


class CommaSeparatedListOutputParser(BaseOutputParser):
    """The items of an answer that are separated by commas."""

    def parse(self, text: str) -> list[str]:
        return [item.strip() for item in text.split(",") if item.strip()]

    def get_format_instructions(self) -> str:
        return "Answer with a list of values that are separated by commas, such as: red, green, blue"


class JsonOutputParser(BaseOutputParser):
    """The JSON value in an answer, also with text around it. A stream of it yields the value so far."""

    def __init__(self, pydantic_object: Any = None) -> None:
        self.pydantic_object = pydantic_object

    def parse(self, text: str) -> Any:
        return _json(text)

    def get_format_instructions(self) -> str:
        if self.pydantic_object is None:
            return "Answer with a JSON value and nothing else."
        schema = json.dumps(Reader(self.pydantic_object).schema, ensure_ascii=False)
        return f"Answer with a JSON value of this schema and nothing else:\n{schema}"

    async def _transformed(self, pieces: AsyncIterator[Any], run: Run, **kwargs: Any) -> AsyncIterator[Any]:
        text = ""
        last: Any = _NOTHING
        async for piece in pieces:
            text += _text(piece)
            value = partial_json(text)
            if value is not _NOTHING and value != last:
                last = value
                yield value
        value = _json(text)
        if value != last:
            yield value


class PydanticOutputParser(JsonOutputParser):
    """The value of a type, from the JSON value in an answer."""

    def __init__(self, pydantic_object: Any) -> None:
        super().__init__(pydantic_object)
        self._reader = Reader(pydantic_object)

    def parse(self, text: str) -> Any:
        value = _json(text)
        try:
            return self._reader.read(value)
        except Invalid as error:
            raise OutputParserException(f"the answer is invalid: {error}", llm_output=text) from error

    async def _transformed(self, pieces: AsyncIterator[Any], run: Run, **kwargs: Any) -> AsyncIterator[Any]:
        text = ""
        async for piece in pieces:
            text += _text(piece)
        yield self.parse(text)


def _json(text: str) -> Any:
    """The JSON value in a text: all of it, that of a fence, or from the first bracket."""
    fence = re.search(r"```(?:json)?\s*\n(.*?)```", text, re.DOTALL)
    decoder = json.JSONDecoder(strict=False)
    for candidate in (text, fence.group(1) if fence else None):
        if candidate is not None:
            try:
                return decoder.decode(candidate.strip())
            except ValueError:
                pass
    for found in re.finditer(r"[\[{]", text):
        try:
            return decoder.raw_decode(text, found.start())[0]
        except ValueError:
            continue
    raise OutputParserException(f"the answer has no JSON value: {text[:200]!r}", llm_output=text)


_NOTHING: Any = object()


def partial_json(text: str) -> Any:
    """The JSON value of a text that is not complete, with what is known so far."""
    start = re.search(r"[\[{]", text)
    if start is None:
        return _NOTHING
    kept = text[start.start() :]
    closers: list[str] = []
    is_text = is_escaped = False
    for character in kept:
        if is_text:
            if is_escaped:
                is_escaped = False
            elif character == "\\":
                is_escaped = True
            elif character == '"':
                is_text = False
        elif character == '"':
            is_text = True
        elif character in "{[":
            closers.append("}" if character == "{" else "]")
        elif character in "}]":
            closers.pop()
            if not closers:
                break
    ends = "".join(reversed(closers))
    for cut in (kept[:-1] if is_escaped else kept, *_shorter(kept)):
        for candidate in ((cut + '"' + ends,) if is_text and cut == kept else ()) + (cut + ends,):
            try:
                return json.JSONDecoder(strict=False).raw_decode(candidate)[0]
            except ValueError:
                continue
    return _NOTHING


def _shorter(text: str) -> list[str]:
    """The text up to its last comma, or its last opening bracket."""
    ends = [text.rfind(","), text.rfind("{") + 1, text.rfind("[") + 1]
    return [text[:end] for end in sorted({end for end in ends if end > 0}, reverse=True)]


class _Calls(Runnable[Any, Any]):
    """The arguments of the first call of a tool in an answer."""

    def __init__(self, name: str, read: Any) -> None:
        self._name = name
        self._read = read

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> Any:
        for call in input.tool_calls:
            if call["name"] == self._name:
                return self._read(call["args"])
        raise OutputParserException(f"the answer has no call of `{self._name}`", llm_output=_text(input))


class StructuredAnswer(Runnable[Any, Any]):
    """A model with answers of a type. An answer that does not fit goes back to the model once, with the reason."""

    def __init__(self, model: Any, schema: Any) -> None:
        self._model = model
        name, plain, _, read = _schema_of(schema)

        def accept(value: Any) -> list[Any]:
            try:
                return [True, _core.opaque(read(value))]
            except OutputParserException as error:
                return [False, str(error)]

        engine = _core.structured(model._model._engine, name, dict(plain), accept, 1)
        self._chain: Chain[Any, Any, Any] = Chain(engine)

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> Any:
        _, prompt = self._model._asked(input, kwargs)
        async with permit(run):
            return await self._chain.ainvoke(prompt, **run.options)


def _schema_of(schema: Any) -> tuple[str, Any, str, Callable[[Any], Any]]:
    """Name, JSON schema, description and reader of a type."""
    if isinstance(schema, Mapping):
        name = str(schema.get("title") or schema.get("name") or "answer")
        return (
            name,
            schema.get("parameters", schema),
            str(schema.get("description") or ""),
            lambda value: value,
        )
    reader = Reader(schema)

    def read(value: Any) -> Any:
        try:
            return reader.read(value)
        except Invalid as error:
            shown = json.dumps(value, ensure_ascii=False)
            raise OutputParserException(f"the answer is invalid: {error}", llm_output=shown) from error

    return reader.name, reader.schema, (schema.__doc__ or "").strip(), read


def structured_parser(model: Any, schema: Any, method: str) -> tuple[Runnable[Any, Any], Runnable[Any, Any]]:
    """A model whose answers have a schema, and the parser for them."""
    name, plain, description, read = _schema_of(schema)
    if method == "function_calling":
        tool = {"name": name, "description": description, "parameters": dict(plain)}
        return model.bind_tools([tool], tool_choice=name), _Calls(name, read)
    if method != "json_mode":
        message = f"method must be `json_schema`, `function_calling` or `json_mode`, got `{method}`"
        raise ConfigError(message, kind="config")
    return model.bind(response_format={"type": "json_object"}), _Read(read)


class _Read(JsonOutputParser):
    """The JSON value in an answer, read as a type."""

    def __init__(self, read: Any) -> None:
        super().__init__()
        self._read = read

    def parse(self, text: str) -> Any:
        return self._read(_json(text))

    async def _transformed(self, pieces: AsyncIterator[Any], run: Run, **kwargs: Any) -> AsyncIterator[Any]:
        text = ""
        async for piece in pieces:
            text += _text(piece)
        yield self.parse(text)
