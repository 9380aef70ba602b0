"""Answers of a type: ``client.chat.completions.parse`` and its tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from .._foreign_messages import strict
from .._schema import Reader
from ._base import NotGiven
from ._exceptions import ContentFilterFinishReasonError, LengthFinishReasonError


def pydantic_function_tool(
    model: type[Any], *, name: str | None = None, description: str | None = None
) -> dict[str, Any]:
    """A tool whose arguments are the fields of a pydantic model. ``parse`` reads them."""
    reader = Reader(model)
    described = description if description is not None else model.__doc__
    function = {"name": name or model.__name__, "strict": True, "parameters": strict(reader.schema)}
    if described:
        function["description"] = described
    return {"type": "function", "function": _Function(function, reader)}


class _Function(dict[str, Any]):
    """The function of a tool, with the reader of its arguments."""

    def __init__(self, fields: dict[str, Any], reader: Reader) -> None:
        super().__init__(fields)
        self.reader = reader


def _format(parameters: Mapping[str, Any]) -> Reader | None:
    asked = parameters.get("response_format")
    is_plain = asked is None or isinstance(asked, (NotGiven, Mapping))
    return None if is_plain else Reader(asked)


def request_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with the schema of the type in its place."""
    reader = _format(parameters)
    if reader is None:
        return dict(parameters)
    schema = {"name": reader.name, "strict": True, "schema": strict(reader.schema)}
    return {**parameters, "response_format": {"type": "json_schema", "json_schema": schema}}


def reader_of(parameters: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Reads the contents and arguments of an answer."""
    reader = _format(parameters)
    tools = parameters.get("tools")
    functions = {
        tool["function"]["name"]: tool["function"]
        for tool in (tools if isinstance(tools, (list, tuple)) else ())
        if isinstance(tool.get("function"), dict)
    }

    def read(completion: Any) -> Any:
        for choice in completion._value().get("choices", ()):
            if choice.get("finish_reason") == "length":
                raise LengthFinishReasonError(completion=completion)
            if choice.get("finish_reason") == "content_filter":
                raise ContentFilterFinishReasonError(completion=completion)
            message = choice["message"]
            content = message.get("content")
            is_read = reader is not None and content and not message.get("refusal")
            message["parsed"] = reader.read(json.loads(content)) if reader is not None and is_read else None
            for call in message.get("tool_calls") or ():
                made = call.get("function")
                if made:
                    made["parsed_arguments"] = _arguments(functions.get(made["name"]), made["arguments"])
        return completion

    return read


def _arguments(function: Any, arguments: str) -> Any:
    """The arguments of a call, if their schema is enforced."""
    if isinstance(function, _Function):
        return function.reader.read(json.loads(arguments))
    is_strict = isinstance(function, dict) and function.get("strict")
    return json.loads(arguments) if is_strict else None
