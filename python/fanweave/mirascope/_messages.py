"""Messages, and templates of prompts."""

from __future__ import annotations

import base64
import functools
import inspect
import io
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from .._errors import ConfigError, InputError

F = TypeVar("F", bound=Callable[..., Any])

# Names of Mirascope that this package does not have, with what to use instead.
MISSING = {
    "BasePrompt": "use a function with `prompt_template`",
    "FromCallArgs": "add the arguments of the call to the answer, in the function that calls it",
    "ResponseModelConfigDict": "schemas are strict where the provider allows it",
    "CacheControlPart": "parts that a provider has are dicts in its own form",
    "ToolCallPart": "`response.message_param` is the message with the calls of tools",
    "ToolResultPart": "`response.tool_message_params` makes the messages with the results of tools",
    "Metadata": "return `metadata` from the function",
    "metadata": "return `metadata` from the function",
    "merge_decorators": "apply the decorators one after the other",
    "call_factory": "use `fanweave.model` for a provider of your own",
}

Role = Literal["system", "user", "assistant", "tool"]


@dataclass
class BaseMessageParam:
    """A message. ``content`` is a text, or a list of texts and parts."""

    role: str
    content: Any


@dataclass
class TextPart:
    """A text as a part of a message."""

    text: str
    type: str = "text"

    def _wire(self) -> dict[str, Any]:
        return {"type": "text", "text": self.text}


@dataclass
class ImagePart:
    """An image as a part of a message."""

    media_type: str
    image: bytes
    detail: str | None = None
    type: str = "image"

    def _wire(self) -> dict[str, Any]:
        data = base64.b64encode(self.image).decode()
        url: dict[str, Any] = {"url": f"data:{self.media_type};base64,{data}"}
        if self.detail is not None:
            url["detail"] = self.detail
        return {"type": "image_url", "image_url": url}


@dataclass
class ImageURLPart:
    """An image by its URL as a part of a message."""

    url: str
    detail: str | None = None
    type: str = "image_url"

    def _wire(self) -> dict[str, Any]:
        url: dict[str, Any] = {"url": self.url}
        if self.detail is not None:
            url["detail"] = self.detail
        return {"type": "image_url", "image_url": url}


@dataclass
class AudioPart:
    """A sound as a part of a message."""

    media_type: str
    audio: bytes | str
    type: str = "audio"

    def _wire(self) -> dict[str, Any]:
        # Texts are encoded already.
        data = self.audio if isinstance(self.audio, str) else base64.b64encode(self.audio).decode()
        form = self.media_type.removeprefix("audio/").removeprefix("x-")
        return {"type": "input_audio", "input_audio": {"data": data, "format": form.replace("mpeg", "mp3")}}


@dataclass
class DocumentPart:
    """A document as a part of a message."""

    media_type: str
    document: bytes
    type: str = "document"

    def _wire(self) -> dict[str, Any]:
        data = base64.b64encode(self.document).decode()
        name = f"document.{self.media_type.rpartition('/')[2]}"
        return {
            "type": "file",
            "file": {"filename": name, "file_data": f"data:{self.media_type};base64,{data}"},
        }


def _content(parts: tuple[Any, ...]) -> Any:
    if len(parts) == 1 and isinstance(parts[0], (str, list)):
        return parts[0]
    return list(parts)


class Messages:
    """Makes messages: ``Messages.User("..")``. Several arguments are the parts of one message."""

    Type = Sequence[BaseMessageParam]

    @staticmethod
    def System(*content: Any) -> BaseMessageParam:
        """Instructions."""
        return BaseMessageParam("system", _content(content))

    @staticmethod
    def User(*content: Any) -> BaseMessageParam:
        """A message of the user."""
        return BaseMessageParam("user", _content(content))

    @staticmethod
    def Assistant(*content: Any) -> BaseMessageParam:
        """An answer of the model, as an example."""
        return BaseMessageParam("assistant", _content(content))


def wire_messages(asked: Any) -> list[Any]:
    """What a function returned, as messages in the form of OpenAI, which the engine reads."""
    if isinstance(asked, (str, BaseMessageParam)) or _is_part(asked):
        asked = [asked]
    if isinstance(asked, Mapping):
        return [asked]
    if not isinstance(asked, Sequence):
        message = (
            f"a call must return a text, messages or a dict of its configuration (got {type(asked).__name__})"
        )
        raise ConfigError(message, kind="config")
    if asked and all(isinstance(each, str) or _is_part(each) for each in asked):
        # The parts of one message of the user.
        if len(asked) == 1 and isinstance(asked[0], str):
            return [{"role": "user", "content": asked[0]}]
        return [{"role": "user", "content": [_part(each) for each in asked]}]
    return [_wire_message(each) for each in asked]


def _is_part(value: Any) -> bool:
    return hasattr(value, "_wire") or _is_image(value)


def _is_image(value: Any) -> bool:
    """True for an image of Pillow."""
    return type(value).__module__.startswith("PIL.") and hasattr(value, "save")


def _wire_message(message: Any) -> Any:
    if isinstance(message, BaseMessageParam):
        content = message.content
        if not isinstance(content, str):
            content = [_part(each) for each in content]
        return {"role": message.role, "content": content}
    return message


def _part(part: Any) -> Any:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if _is_image(part):
        data = io.BytesIO()
        part.save(data, format="PNG")
        part = ImagePart("image/png", data.getvalue())
    return part._wire() if _is_part(part) else part


# -- templates -----------------------------------------------------------------------------------------------


_ROLE = re.compile(r"^[ \t]*(SYSTEM|USER|ASSISTANT|MESSAGES):[ \t]*", re.MULTILINE)


def prompt_template(template: str | None = None) -> Callable[[F], F]:
    """Gives a function a prompt: ``{name}`` is replaced by the argument ``name``. Without a template, it returns its prompt.

    Lines that begin with ``SYSTEM:``, ``USER:`` and ``ASSISTANT:`` begin messages, and ``MESSAGES: {history}`` inserts those
    of a list. ``{books:list}`` writes the items of a list in lines, and ``{pairs:lists}`` lists of lists. ``{photo:image}``,
    ``audio``, ``document``, ``text`` and ``part`` make parts of the message, and their plurals those of a list. The function
    may return a dict with ``computed_fields``, values for other names, and the entries of a dynamic configuration.

    >>> @prompt_template("Recommend a {genre} book")
    ... def recommend(genre: str): ...
    >>> recommend("fantasy")
    [BaseMessageParam(role='user', content='Recommend a fantasy book')]
    """
    # Errors of the template are raised where it is written.
    text = None if template is None else inspect.cleandoc(template)
    for literal, name, _, conversion in string.Formatter().parse(text or ""):
        if name is not None and (conversion or not re.fullmatch(r"[A-Za-z][\w.]*", name) or "._" in name):
            message = f"`{{{name}}}` of the template is not a name: {literal[-40:]!r} is before it"
            raise ConfigError(message, kind="config")

    def decorate(function: F) -> F:
        signature = inspect.signature(function)

        def filled(returned: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if text is None:
                if isinstance(returned, Mapping) and "role" not in returned:
                    return {**returned, "messages": _as_messages(returned.get("messages"))}
                return _as_messages(returned)
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            values = dict(bound.arguments)
            if isinstance(returned, Mapping):
                values.update(returned.get("computed_fields") or {})
                if returned.get("messages") is not None:
                    return returned
                return {**returned, "messages": _messages(text, values)}
            return _messages(text, values)

        made: Any
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def made_async(*args: Any, **kwargs: Any) -> Any:
                return filled(await function(*args, **kwargs), args, kwargs)

            made = made_async
        else:

            @functools.wraps(function)
            def made_sync(*args: Any, **kwargs: Any) -> Any:
                return filled(function(*args, **kwargs), args, kwargs)

            made = made_sync
        typed: F = made
        return typed

    return decorate


def _messages(template: str, values: Mapping[str, Any]) -> list[Any]:
    pieces = _ROLE.split(template)
    messages: list[Any] = []
    # Before the first role is a message of the user.
    sections = [("USER", pieces[0]), *zip(pieces[1::2], pieces[2::2], strict=True)]
    for role, text in sections:
        if role == "MESSAGES":
            name = text.strip().strip("{}")
            messages.extend(_value(values, name))
            continue
        content = _filled(text.strip(), values)
        if content:
            messages.append(BaseMessageParam(role.lower(), content))
    return messages


def _as_messages(returned: Any) -> list[Any]:
    """What a function returned as its prompt, as a list of messages."""
    if isinstance(returned, str):
        return [BaseMessageParam("user", returned)]
    if isinstance(returned, (BaseMessageParam, Mapping)):
        return [returned]
    if not isinstance(returned, Sequence):
        message = f"a prompt must be a text, parts or messages (got {type(returned).__name__})"
        raise ConfigError(message, kind="config")
    if returned and all(isinstance(each, str) or _is_part(each) for each in returned):
        return [BaseMessageParam("user", _parts_of(returned))]
    return list(returned)


def _parts_of(pieces: Sequence[Any]) -> list[Any]:
    """Texts and parts as parts."""
    return [TextPart(each) if isinstance(each, str) else each for each in pieces]


def _filled(text: str, values: Mapping[str, Any]) -> Any:
    """The content of a message: a text, or a list if it has parts other than texts."""
    pieces: list[Any] = []
    has_parts = False
    for literal, name, form, _ in string.Formatter().parse(text):
        pieces.append(literal)
        if name is None:
            continue
        value = _value(values, name)
        make = _PARTS.get((form or "").removesuffix("s"))
        if make is None:
            pieces.append(_shown(value, form or ""))
        else:
            has_parts = True
            pieces.extend(make(each) for each in (value if (form or "").endswith("s") else [value]))
    if not has_parts:
        return "".join(pieces)
    parts: list[Any] = []
    for piece in pieces:
        if not isinstance(piece, str):
            parts.append(piece)
        elif parts and isinstance(parts[-1], str):
            parts[-1] += piece
        else:
            parts.append(piece)
    stripped = [piece.strip() if isinstance(piece, str) else piece for piece in parts]
    return _parts_of([piece for piece in stripped if piece != ""])


# The first bytes of formats, and their types.
_FORMATS = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"ID3", "audio/mp3"),
    (b"\xff\xfb", "audio/mp3"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"%PDF", "application/pdf"),
)


def _type_of(data: bytes, default: str) -> str:
    if data.startswith(b"RIFF"):
        return "image/webp" if data[8:12] == b"WEBP" else "audio/wav"
    return next((name for start, name in _FORMATS if data.startswith(start)), default)


def _text_part(value: Any) -> Any:
    return value if _is_part(value) else TextPart(str(value))


def _image_part(value: Any) -> Any:
    if isinstance(value, str):
        return ImageURLPart(value)
    return value if _is_part(value) else ImagePart(_type_of(value, "image/png"), bytes(value))


def _audio_part(value: Any) -> Any:
    return value if _is_part(value) else AudioPart(_type_of(value, "audio/wav"), bytes(value))


def _document_part(value: Any) -> Any:
    return value if _is_part(value) else DocumentPart(_type_of(value, "application/pdf"), bytes(value))


def _any_part(value: Any) -> Any:
    if not _is_part(value):
        raise InputError(f"must be a part of a message (got {type(value).__name__})", kind="input")
    return value


_PARTS: dict[str, Callable[[Any], Any]] = {
    "text": _text_part,
    "image": _image_part,
    "audio": _audio_part,
    "document": _document_part,
    "part": _any_part,
}


def _value(values: Mapping[str, Any], path: str) -> Any:
    name, *attributes = path.split(".")
    if name not in values:
        raise InputError(f"`{name}` of the template has no value: it has {sorted(values)}", kind="input")
    value = values[name]
    for attribute in attributes:
        value = value[attribute] if isinstance(value, Mapping) else getattr(value, attribute)
    return value


def _shown(value: Any, form: str) -> str:
    if form == "list":
        return "\n".join(map(str, value))
    if form == "lists":
        return "\n\n".join("\n".join(map(str, each)) for each in value)
    return format(value, form)


def late(module: str, name: str) -> Any:
    """An attribute of a package that is loaded at its first use. The error of a missing one has the reason."""
    if name in ("BaseTool", "BaseToolKit", "toolkit_tool"):
        # Loads pydantic.
        from . import _tools

        return getattr(_tools, name)
    if name in MISSING:
        # An `AttributeError` would lose the reason in an import.
        raise ImportError(f"`{module}` has no `{name}`: {MISSING[name]}")
    raise AttributeError(f"module `{module}` has no attribute `{name}`")
