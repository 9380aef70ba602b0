"""Answers of calls, whole and in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import _core
from .._foreign_messages import wire_call
from .._tool import Tool, ToolUse, as_text

if TYPE_CHECKING:
    from types import TracebackType


class Asked:
    """What a call asked: its messages, model, tools and parameters."""

    __slots__ = ("input", "messages", "metadata", "model", "models", "parameters", "tools")

    def __init__(
        self,
        messages: list[Any],
        parameters: Mapping[str, Any],
        tools: Sequence[Tool[..., Any]],
        models: list[str],
    ) -> None:
        self.messages = messages
        self.parameters = dict(parameters)
        self.tools = list(tools)
        self.models = models
        self.input = _core.prompt_of(messages, self.parameters)
        self.metadata: dict[str, Any] = {}

    @property
    def user_message(self) -> Any:
        """The last message, if it is one of the user."""
        last = self.messages[-1] if self.messages else None
        return last if isinstance(last, Mapping) and last.get("role") == "user" else None

    def read(self, call: Any) -> Any:
        """The tool that the model calls, with its arguments, or None if it is not one of the call."""
        for tool in self.tools:
            if tool.name == call.name:
                made = tool.read(call)
                if isinstance(made, ToolUse):
                    return FunctionTool(made)
                if hasattr(made, "__pydantic_private__") and "_id" in (made.__pydantic_private__ or {}):
                    made._id = call.id
                return made
        return None


class FunctionTool:
    """A call of a function that the model asks for. ``call`` runs the function."""

    def __init__(self, use: ToolUse) -> None:
        self._use = use
        self._id = use.id

    @property
    def args(self) -> dict[str, Any]:
        """The arguments."""
        return self._use.arguments

    def _name(self) -> str:
        return self._use.name

    def call(self) -> Any:
        """Calls the function. An async function returns a coroutine."""
        return self._use.call()

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and name in self._use.arguments:
            return self._use.arguments[name]
        raise AttributeError(name)

    def __repr__(self) -> str:
        return repr(self._use)


class _Call:
    """The identity of a call, as tools are read."""

    def __init__(self, id: str, name: str, arguments: str) -> None:
        self.id = id
        self.name = name
        self.arguments = arguments


class CallResponse:
    """The answer to a call. ``response`` is the message of the engine."""

    def __init__(self, message: _core.Message, asked: Asked, dynamic_config: Any = None) -> None:
        self.response = message
        self.dynamic_config = dynamic_config
        self._asked = asked

    @property
    def content(self) -> str:
        """The text."""
        return self.response.text

    @property
    def id(self) -> str | None:
        """The id that the provider gave the answer."""
        return self.response.id

    @property
    def model(self) -> str | None:
        """The model that answered."""
        return self.response.model

    @property
    def finish_reasons(self) -> list[str]:
        """The reason for the end of the answer."""
        return [] if self.response.finish_reason is None else [self.response.finish_reason]

    @property
    def usage(self) -> _core.Usage:
        """The tokens of the call."""
        return self.response.usage

    @property
    def input_tokens(self) -> int:
        """Tokens of the prompt."""
        return self.usage.input_tokens

    @property
    def output_tokens(self) -> int:
        """Tokens of the answer."""
        return self.usage.output_tokens

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompt that came from the provider's cache."""
        return self.usage.cached_tokens

    @property
    def cost(self) -> float | None:
        """The price in US dollars, or None if that of the model is not known."""
        return _core.cost(self.response, self._asked.models)

    @property
    def messages(self) -> list[Any]:
        """The messages that were sent."""
        return list(self._asked.messages)

    @property
    def call_params(self) -> dict[str, Any]:
        """The parameters of the call."""
        return dict(self._asked.parameters)

    @property
    def user_message_param(self) -> Any:
        """The message of the user, for the history of the next call."""
        return self._asked.user_message

    @property
    def message_param(self) -> dict[str, Any]:
        """The answer as a message, for the history of the next call."""
        message: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.response.tool_calls:
            message["tool_calls"] = [
                wire_call({"id": call.id, "name": call.name, "args": call.arguments})
                for call in self.response.tool_calls
            ]
        return message

    @property
    def tools(self) -> list[Any] | None:
        """The tools that the model calls, or None. Raises ``InputError`` if arguments do not fit."""
        read = [self._asked.read(call) for call in self.response.tool_calls]
        return [tool for tool in read if tool is not None] or None

    @property
    def tool(self) -> Any:
        """The first of ``tools``, or None."""
        tools = self.tools
        return tools[0] if tools else None

    @staticmethod
    def tool_message_params(tools_and_outputs: Sequence[tuple[Any, Any]]) -> list[dict[str, Any]]:
        """The results of tools as messages, for the history of the next call."""
        return tool_messages(tools_and_outputs)

    def model_dump(self) -> dict[str, Any]:
        """What was asked and answered, as plain values."""
        config = dumped(dict(self.dynamic_config or {}))
        return {
            "metadata": dict(self._asked.metadata),
            "response": self.response.to_dict(),
            "content": self.content,
            "computed_fields": config.get("computed_fields"),
            "messages": dumped(self.messages),
            "call_params": self.call_params,
            "user_message_param": dumped(self.user_message_param),
            "message_param": self.message_param,
            "finish_reasons": self.finish_reasons,
            "usage": self.response.to_dict().get("usage"),
            "cost": self.cost,
        }

    def __str__(self) -> str:
        return self.content

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.content!r})"


def dumped(value: Any) -> Any:
    """A value without objects that have ``model_dump``."""
    if isinstance(value, Mapping):
        return {name: dumped(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [dumped(each) for each in value]
    return value.model_dump() if hasattr(value, "model_dump") and not isinstance(value, type) else value


def tool_messages(tools_and_outputs: Sequence[tuple[Any, Any]]) -> list[dict[str, Any]]:
    """The results of tools as messages."""
    return [
        {"role": "tool", "tool_call_id": tool._id, "name": tool._name(), "content": as_text(output)}
        for tool, output in tools_and_outputs
    ]


class CallResponseChunk:
    """A piece of an answer."""

    __slots__ = ("delta",)

    def __init__(self, delta: _core.Delta) -> None:
        self.delta = delta

    @property
    def content(self) -> str:
        """The text, or an empty one."""
        return self.delta.text

    @property
    def chunk(self) -> _core.Delta:
        """The piece as the engine has it."""
        return self.delta

    @property
    def finish_reasons(self) -> list[str]:
        """The reason for the end, in the piece that reports it."""
        return [] if self.delta.finish_reason is None else [self.delta.finish_reason]

    @property
    def usage(self) -> _core.Usage | None:
        """The tokens of the call, in the piece that reports them."""
        return self.delta.usage

    def __str__(self) -> str:
        return self.content


class _Stream:
    """What the two kinds of streams share."""

    def __init__(self, stream: Any, asked: Asked, dynamic_config: Any) -> None:
        self._stream = stream
        self._asked = asked
        self._dynamic_config = dynamic_config
        # Calls of tools whose arguments are arriving, by their index.
        self._calls: dict[int, list[str]] = {}
        self._response: CallResponse | None = None

    def _pairs(self, delta: _core.Delta) -> list[tuple[CallResponseChunk, Any]]:
        """The chunk of a delta, and the tools that are complete with it."""
        chunk = CallResponseChunk(delta)
        if delta.text:
            return [(chunk, None)]
        raw = delta.to_dict()
        call = raw.get("tool_call")
        complete: list[int] = []
        if call is not None:
            part = call["part"]
            known = self._calls.setdefault(part, ["", "", ""])
            known[0] += call["id"] or ""
            known[1] += call["name"] or ""
            known[2] += call["arguments"]
        elif delta.finish_reason is not None:
            complete = list(self._calls)
        tools = [self._asked.read(_Call(*self._calls.pop(part))) for part in complete]
        return [(chunk, tool) for tool in tools] or [(chunk, None)]

    def construct_call_response(self) -> CallResponse:
        """The whole answer, once all pieces have been read."""
        if self._response is None:
            raise ValueError("the stream has not been read to its end")
        return self._response

    @property
    def content(self) -> str:
        """The text, once all pieces have been read."""
        return self.construct_call_response().content

    @property
    def message_param(self) -> dict[str, Any]:
        """The answer as a message, once all pieces have been read."""
        return self.construct_call_response().message_param

    @property
    def user_message_param(self) -> Any:
        """The message of the user, for the history of the next call."""
        return self._asked.user_message

    @property
    def cost(self) -> float | None:
        """The price in US dollars, once all pieces have been read."""
        return self.construct_call_response().cost

    @property
    def usage(self) -> _core.Usage:
        """The tokens of the call, once all pieces have been read."""
        return self.construct_call_response().usage

    @property
    def finish_reasons(self) -> list[str]:
        """The reason for the end, once all pieces have been read."""
        return self.construct_call_response().finish_reasons

    @staticmethod
    def tool_message_params(tools_and_outputs: Sequence[tuple[Any, Any]]) -> list[dict[str, Any]]:
        """The results of tools as messages, for the history of the next call."""
        return tool_messages(tools_and_outputs)


class Stream(_Stream):
    """Pairs of a piece of an answer and the tool that is complete with it, or None, as they arrive."""

    def __iter__(self) -> Iterator[tuple[CallResponseChunk, Any]]:
        with self._stream as deltas:
            for delta in deltas:
                yield from self._pairs(delta)
            self._response = CallResponse(deltas.output(), self._asked, self._dynamic_config)

    def close(self) -> None:
        """Ends the call and closes its socket."""
        self._stream.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncStream(_Stream):
    """Pairs of a piece of an answer and the tool that is complete with it, or None, as they arrive."""

    async def __aiter__(self) -> AsyncIterator[tuple[CallResponseChunk, Any]]:
        async with self._stream as deltas:
            async for delta in deltas:
                for pair in self._pairs(delta):
                    yield pair
            self._response = CallResponse(await deltas.output(), self._asked, self._dynamic_config)

    async def aclose(self) -> None:
        """Ends the call and closes its socket."""
        await self._stream.aclose()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def partial(type: Any, value: Any) -> Any:
    """A value of a type, as far as it is known: a model of pydantic whose other fields are missing, or plain JSON."""
    if isinstance(value, Mapping) and hasattr(type, "model_construct"):
        return type.model_construct(**value)
    return value


class StructuredStream:
    """The value of a type so far, as its fields arrive. The last one is complete."""

    def __init__(self, stream: Any, type: Any) -> None:
        self._stream = stream
        self._type = type

    def __iter__(self) -> Iterator[Any]:
        with self._stream as values:
            for value in values:
                yield partial(self._type, value)
            yield values.output()

    def close(self) -> None:
        """Ends the call and closes its socket."""
        self._stream.close()


class AsyncStructuredStream:
    """The value of a type so far, as its fields arrive. The last one is complete."""

    def __init__(self, stream: Any, type: Any) -> None:
        self._stream = stream
        self._type = type

    async def __aiter__(self) -> AsyncIterator[Any]:
        async with self._stream as values:
            async for value in values:
                yield partial(self._type, value)
            yield await values.output()

    async def aclose(self) -> None:
        """Ends the call and closes its socket."""
        await self._stream.aclose()
