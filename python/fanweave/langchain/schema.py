"""Messages, documents, prompt values and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

# Modules below this one are found: see _modules.py.
__path__: list[str] = []

__all__ = [
    "AIMessage",
    "AIMessageChunk",
    "BaseMessage",
    "BaseRetriever",
    "ChatGeneration",
    "ChatMessage",
    "ChatPromptValue",
    "ChatResult",
    "Document",
    "Generation",
    "HumanMessage",
    "LLMResult",
    "OutputParserException",
    "PromptValue",
    "StringPromptValue",
    "SystemMessage",
    "ToolMessage",
    "get_buffer_string",
    "messages_of",
]


class BaseMessage:
    """A message. ``content`` is a text, or a list of parts in the form of OpenAI."""

    type: ClassVar[str] = "base"

    def __init__(
        self,
        content: Any = "",
        *,
        name: str | None = None,
        id: str | None = None,
        additional_kwargs: Any = None,
    ) -> None:
        self.content: Any = content
        self.name = name
        self.id = id
        self.additional_kwargs: dict[str, Any] = dict(additional_kwargs or {})

    @property
    def text(self) -> str:
        """The text of the content."""
        if isinstance(self.content, str):
            return self.content
        parts = (part if isinstance(part, str) else part.get("text", "") for part in self.content)
        return "".join(parts)

    def _fields(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if value not in (None, {}, [])}

    def pretty_repr(self) -> str:
        """The message under a line with its kind."""
        title = f" {self.type.capitalize()} Message "
        return f"{title:=^80}\n\n{self.content}"

    def pretty_print(self) -> None:
        """Prints ``pretty_repr``."""
        print(self.pretty_repr())

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = {"content": self.content, **self._fields()}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in fields.items())})"


class HumanMessage(BaseMessage):
    """A message of the user."""

    type = "human"


class SystemMessage(BaseMessage):
    """Instructions."""

    type = "system"


class ToolMessage(BaseMessage):
    """The result of a call of a tool."""

    type = "tool"

    def __init__(
        self, content: Any = "", tool_call_id: str = "", *, status: str = "success", **fields: Any
    ) -> None:
        super().__init__(content, **fields)
        self.tool_call_id = tool_call_id
        self.status = status


class ChatMessage(BaseMessage):
    """A message with a role: ``system``, ``user`` or ``assistant``."""

    type = "chat"

    def __init__(self, content: Any = "", role: str = "user", **fields: Any) -> None:
        super().__init__(content, **fields)
        self.role = role


class AIMessage(BaseMessage):
    """An answer. ``tool_calls`` are dicts of ``name``, ``args``, ``id`` and ``type``."""

    type = "ai"

    def __init__(
        self,
        content: Any = "",
        *,
        tool_calls: Sequence[Mapping[str, Any]] = (),
        usage_metadata: Mapping[str, Any] | None = None,
        response_metadata: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(content, **fields)
        self.tool_calls = [dict(call) for call in tool_calls]
        self.usage_metadata = None if usage_metadata is None else dict(usage_metadata)
        self.response_metadata = dict(response_metadata or {})


class AIMessageChunk(AIMessage):
    """A piece of an answer. The sum of all pieces is the answer."""

    type = "AIMessageChunk"

    def __init__(
        self, content: Any = "", *, tool_call_chunks: Sequence[Mapping[str, Any]] = (), **fields: Any
    ) -> None:
        super().__init__(content, **fields)
        self.tool_call_chunks = [dict(chunk) for chunk in tool_call_chunks]

    def __add__(self, other: AIMessageChunk) -> AIMessageChunk:
        chunks = [dict(chunk) for chunk in self.tool_call_chunks]
        for chunk in other.tool_call_chunks:
            known = next((each for each in chunks if each["index"] == chunk["index"]), None)
            if known is None:
                chunks.append(dict(chunk))
                continue
            for name in ("name", "args", "id"):
                if chunk.get(name):
                    known[name] = (known.get(name) or "") + chunk[name]
        return AIMessageChunk(
            self.content + other.content,
            id=self.id or other.id,
            tool_call_chunks=chunks,
            tool_calls=[*self.tool_calls, *other.tool_calls],
            usage_metadata=_added(self.usage_metadata, other.usage_metadata),
            response_metadata={**self.response_metadata, **other.response_metadata},
            additional_kwargs={**self.additional_kwargs, **other.additional_kwargs},
        )


def _added(first: Mapping[str, Any] | None, second: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if first is None or second is None:
        known = first if first is not None else second
        return None if known is None else dict(known)
    total = dict(first)
    for name, value in second.items():
        if isinstance(value, Mapping):
            total[name] = _added(first.get(name), value)
        else:
            total[name] = first.get(name, 0) + value
    return total


_ROLES: dict[str, type[BaseMessage]] = {
    "human": HumanMessage,
    "user": HumanMessage,
    "system": SystemMessage,
    "developer": SystemMessage,
    "ai": AIMessage,
    "assistant": AIMessage,
}


def message_of(value: Any) -> Any:
    """A message, a text of the user, a pair of a role and a text, or a dict with a role, as a message."""
    if hasattr(value, "content") and hasattr(value, "type"):
        return value
    if isinstance(value, str):
        return HumanMessage(value)
    if isinstance(value, Sequence) and len(value) == 2:
        role, content = value
        return _with_role(role, content)
    if isinstance(value, Mapping) and ("role" in value or "type" in value):
        fields = dict(value)
        role = fields.pop("role", None) or fields.pop("type")
        content = fields.pop("content", "")
        if role == "tool":
            return ToolMessage(content, **fields)
        calls = fields.pop("tool_calls", None) or ()
        made = _with_role(role, content, **fields)
        if calls:
            made.tool_calls = [_call(call) for call in calls]
        return made
    raise TypeError(f"expected a message, got {value!r}")


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    import json

    function = call.get("function")
    if function is None:
        return dict(call)
    arguments = json.loads(function["arguments"] or "{}")
    return {"name": function["name"], "args": arguments, "id": call.get("id"), "type": "tool_call"}


def _with_role(role: str, content: Any, **fields: Any) -> Any:
    cls = _ROLES.get(role)
    if cls is None:
        raise ValueError(f"`{role}` is not a role of a message: use {', '.join(_ROLES)}")
    return cls(content, **fields)


def messages_of(input: Any) -> list[Any]:
    """The messages of the input of a model: a text, a prompt value, a message or a list of messages."""
    if isinstance(input, str):
        return [HumanMessage(input)]
    if hasattr(input, "to_messages"):
        return list(input.to_messages())
    if isinstance(input, Sequence) and not (len(input) == 2 and all(isinstance(part, str) for part in input)):
        return [message_of(each) for each in input]
    return [message_of(input)]


def text_of(input: Any) -> str:
    """The text of the input of a model without chat."""
    if isinstance(input, str):
        return input
    if hasattr(input, "to_string"):
        return str(input.to_string())
    return get_buffer_string(messages_of(input))


def get_buffer_string(messages: Sequence[Any], human_prefix: str = "Human", ai_prefix: str = "AI") -> str:
    """Messages as a text, a line for each."""
    prefixes = {
        "human": human_prefix,
        "ai": ai_prefix,
        "AIMessageChunk": ai_prefix,
        "system": "System",
        "tool": "Tool",
    }
    lines = []
    for message in messages:
        prefix = (
            message.role if isinstance(message, ChatMessage) else prefixes.get(message.type, message.type)
        )
        lines.append(f"{prefix}: {message.content}")
    return "\n".join(lines)


class PromptValue:
    """A filled prompt: a text for models without chat, messages for the others."""

    def to_string(self) -> str:
        """The prompt as a text."""
        raise NotImplementedError

    def to_messages(self) -> list[Any]:
        """The prompt as messages."""
        raise NotImplementedError


@dataclass
class StringPromptValue(PromptValue):
    """A prompt that is a text."""

    text: str

    def to_string(self) -> str:
        return self.text

    def to_messages(self) -> list[Any]:
        return [HumanMessage(self.text)]


@dataclass
class ChatPromptValue(PromptValue):
    """A prompt of several messages."""

    messages: list[Any]

    def to_string(self) -> str:
        return get_buffer_string(self.messages)

    def to_messages(self) -> list[Any]:
        return self.messages


@dataclass
class Document:
    """A text, and what is known of it."""

    page_content: str
    metadata: dict[str, Any] = field(default_factory=dict)
    id: str | None = None


@dataclass
class Generation:
    """One answer as a text."""

    text: str
    generation_info: dict[str, Any] | None = None


@dataclass(init=False)
class ChatGeneration(Generation):
    """One answer as a message."""

    message: Any = None

    def __init__(self, message: Any, generation_info: dict[str, Any] | None = None) -> None:
        super().__init__(message.text, generation_info)
        self.message = message


@dataclass
class LLMResult:
    """The answers to several prompts: a list of answers for each."""

    generations: list[list[Any]]
    llm_output: dict[str, Any] | None = None


@dataclass
class ChatResult:
    """The answers to one prompt."""

    generations: list[Any]
    llm_output: dict[str, Any] | None = None


class OutputParserException(ValueError):
    """A parser could not parse an answer, which is ``llm_output``."""

    def __init__(self, error: Any, observation: str | None = None, llm_output: str | None = None) -> None:
        super().__init__(error)
        self.observation = observation
        self.llm_output = llm_output


class BaseRetriever:
    """Returns documents for a query. Subclasses define ``_get_relevant_documents``, or its async form."""

    def _get_relevant_documents(self, query: str) -> list[Any]:
        raise NotImplementedError

    async def _aget_relevant_documents(self, query: str) -> list[Any]:
        from ._running import call, run_of

        documents: list[Any] = await call(self._get_relevant_documents, run_of(None), query)
        return documents

    def invoke(self, input: str, config: Any = None) -> list[Any]:
        """The documents for a query."""
        from ._running import blocking

        return blocking(lambda: self._aget_relevant_documents(input))

    async def ainvoke(self, input: str, config: Any = None) -> list[Any]:
        """The documents for a query."""
        return await self._aget_relevant_documents(input)

    def get_relevant_documents(self, query: str) -> list[Any]:
        """The documents for a query."""
        return self.invoke(query)

    async def aget_relevant_documents(self, query: str) -> list[Any]:
        """The documents for a query."""
        return await self.ainvoke(query)
