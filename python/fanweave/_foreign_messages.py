"""Messages, tools and schemas of other packages, in the forms of the engine. The packages are not needed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from . import _core
from ._tool import Tool

# Parts of an answer that are not sent back as its content: calls are in `tool_calls`, and reasoning belongs to a
# single answer.
_NOT_CONTENT = frozenset(
    [
        "tool_use",
        "tool_call",
        "tool_call_chunk",
        "invalid_tool_call",
        "reasoning",
        "thinking",
        "redacted_thinking",
    ]
)


def wire_messages(messages: Sequence[Any]) -> list[dict[str, Any]]:
    """Messages with ``type`` and ``content``, in the form of OpenAI, which the engine reads."""
    return [_wire_message(message) for message in messages]


def _wire_message(message: Any) -> dict[str, Any]:
    kind = message.type
    if kind in ("human", "HumanMessageChunk"):
        return _named({"role": "user", "content": _content(message.content)}, message)
    if kind in ("system", "SystemMessageChunk"):
        return {"role": "system", "content": _content(message.content)}
    if kind in ("ai", "AIMessageChunk"):
        wire: dict[str, Any] = {"role": "assistant", "content": _content(message.content)}
        calls = [*message.tool_calls, *getattr(message, "invalid_tool_calls", ())]
        if calls:
            wire["tool_calls"] = [wire_call(call) for call in calls]
        return wire
    if kind in ("tool", "ToolMessageChunk"):
        content = message.content
        return {
            "role": "tool",
            "tool_call_id": message.tool_call_id,
            "content": content if isinstance(content, str) else _content(content),
        }
    if kind in ("chat", "ChatMessageChunk"):
        return {"role": message.role, "content": _content(message.content)}
    raise ValueError(f"messages of the type `{kind}` cannot be sent")


def _named(wire: dict[str, Any], message: Any) -> dict[str, Any]:
    if getattr(message, "name", None):
        wire["name"] = message.name
    return wire


def wire_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call as chat completions write it."""
    arguments = call["args"]
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {
        "id": call.get("id") or "",
        "type": "function",
        "function": {"name": call["name"], "arguments": text},
    }


def _content(content: Any) -> Any:
    if content is None or isinstance(content, str):
        return content or ""
    return [
        {"type": "text", "text": part} if isinstance(part, str) else _part(part)
        for part in content
        if isinstance(part, str) or part.get("type") not in _NOT_CONTENT
    ]


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind == "text":
        return {"type": "text", "text": part["text"]}
    if kind not in ("image", "audio", "file"):
        return dict(part)
    data = part.get("base64") or part.get("data")
    source = part.get("source")
    mime = part.get("mime_type")
    if isinstance(source, Mapping):
        # The form of Anthropic.
        data, mime = source.get("data"), source.get("media_type")
        part = source
    if kind == "image":
        url = part.get("url") if data is None else f"data:{mime or 'image/png'};base64,{data}"
        return {"type": "image_url", "image_url": {"url": url}}
    if kind == "audio" and data is not None:
        format = (mime or "audio/wav").removeprefix("audio/")
        return {"type": "input_audio", "input_audio": {"data": data, "format": format}}
    if kind == "file" and data is not None:
        name = part.get("filename") or "file"
        file = {"filename": name, "file_data": f"data:{mime or 'application/pdf'};base64,{data}"}
        return {"type": "file", "file": file}
    return dict(part)


def answer_fields(message: _core.Message) -> dict[str, Any]:
    """The fields of LangChain's message for an answer."""
    calls, invalid = [], []
    for call in message.tool_calls:
        read = _read(call.arguments)
        if read is None:
            error = "the arguments are not a JSON object"
            invalid.append({"name": call.name, "args": call.arguments, "id": call.id, "error": error})
        else:
            calls.append({"name": call.name, "args": read, "id": call.id, "type": "tool_call"})
    for each in invalid:
        each["type"] = "invalid_tool_call"
    fields: dict[str, Any] = {
        "content": message.text,
        "tool_calls": calls,
        "usage_metadata": usage_fields(message.usage),
        "response_metadata": {"model_name": message.model, "finish_reason": message.finish_reason},
        "id": message.id,
    }
    if message.request_id:
        fields["response_metadata"]["request_id"] = message.request_id
    if invalid:
        fields["invalid_tool_calls"] = invalid
    if message.reasoning:
        fields["additional_kwargs"] = {"reasoning_content": message.reasoning}
    return fields


def _read(arguments: str) -> dict[str, Any] | None:
    try:
        value = json.loads(arguments or "{}")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def usage_fields(usage: _core.Usage) -> dict[str, Any]:
    """The tokens of a call in LangChain's form."""
    fields: dict[str, Any] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }
    details = {"cache_read": usage.cached_tokens, "cache_creation": usage.cache_write_tokens}
    if any(details.values()):
        fields["input_token_details"] = details
    if usage.reasoning_tokens:
        fields["output_token_details"] = {"reasoning": usage.reasoning_tokens}
    return fields


class Pieces:
    """Makes the fields of LangChain's chunks from the deltas of an answer."""

    def __init__(self) -> None:
        self._id: str | None = None
        self._model: str | None = None

    def fields(self, delta: _core.Delta) -> dict[str, Any] | None:
        """The fields of the chunk of a delta, or None if it has nothing to show."""
        fields: dict[str, Any] = {"content": delta.text}
        if delta.reasoning:
            fields["additional_kwargs"] = {"reasoning_content": delta.reasoning}
        elif not delta.text:
            raw = delta.to_dict()
            if "started" in raw:
                self._id, self._model = raw["started"].get("id"), raw["started"].get("model")
            call = raw.get("tool_call")
            if call is not None:
                chunk = {
                    "name": call["name"],
                    "args": call["arguments"],
                    "id": call["id"],
                    "index": call["part"],
                }
                fields["tool_call_chunks"] = [{**chunk, "type": "tool_call_chunk"}]
            elif delta.finish_reason is not None:
                fields["response_metadata"] = {
                    "model_name": self._model,
                    "finish_reason": delta.finish_reason,
                }
            elif delta.usage is not None:
                fields["usage_metadata"] = usage_fields(delta.usage)
            else:
                return None
        fields["id"] = self._id
        return fields


def tool_parts(tools: Sequence[Any]) -> list[tuple[str, str, Any, Any, bool]]:
    """Tools for the engine, which only reports their calls: functions, classes, dicts, and tools of LangChain."""
    return [_tool_part(each) for each in tools]


def _tool_part(tool: Any) -> tuple[str, str, Any, Any, bool]:
    if isinstance(tool, Mapping):
        function = tool.get("function", tool)
        schema = (
            function.get("parameters") or function.get("input_schema") or {"type": "object", "properties": {}}
        )
        return function["name"], function.get("description") or "", schema, _never, False
    arguments = getattr(tool, "args_schema", None)
    if hasattr(tool, "name") and hasattr(tool, "description") and arguments is not None:
        schema = arguments if isinstance(arguments, Mapping) else arguments.model_json_schema()
        return tool.name, tool.description, dict(schema), _never, False
    made = tool if isinstance(tool, Tool) else Tool(tool)
    return made.name, made.description, made.parameters, _never, False


def strict_tool(tool: Any, is_strict: bool) -> dict[str, Any]:
    """A tool in the form of OpenAI, which says whether its schema is enforced."""
    name, description, schema, _, _ = _tool_part(tool)
    parameters = strict(schema) if is_strict else schema
    function = {"name": name, "description": description, "parameters": parameters, "strict": is_strict}
    return {"type": "function", "function": function}


# Providers whose API has another form than that of OpenAI.
_OTHER_FORMS = frozenset(["anthropic", "bedrock", "cohere", "gemini", "ollama"])


def enforced_tools(tools: Sequence[Any], provider: str) -> list[Any] | None:
    """Tools that say whether their schema is enforced, as they are sent, or None if none does."""
    if not any(isinstance(tool, Mapping) and "strict" in tool.get("function", ()) for tool in tools):
        return None
    if provider in _OTHER_FORMS:
        raise ValueError(f"strict is not supported by {provider}")
    return list(tools)


def _never(_: Any) -> str:
    raise AssertionError("the engine runs no tools without a number of rounds")


def tool_choice(choice: Any) -> str | None:
    """The tools that the model may or must call, in the words of the engine."""
    if choice is None or choice is False:
        return None
    if choice is True or choice == "any":
        return "required"
    if isinstance(choice, Mapping):
        function = choice.get("function", choice)
        return str(function["name"])
    return str(choice)


def strict(schema: Any) -> Any:
    """A schema in the form that OpenAI enforces: all fields are required, and there are no others."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        name: {key: strict(each) for key, each in value.items()}
        if name in ("properties", "$defs") and isinstance(value, dict)
        else value
        if name in ("enum", "const", "required")
        else strict(value)
        for name, value in schema.items()
        if name != "default"
    }
    if "properties" in made:
        made["required"] = list(made["properties"])
        made["additionalProperties"] = False
    return made
