"""Messages, and templates of prompts."""

from __future__ import annotations

import base64
import functools
import inspect
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from .._errors import ConfigError, InputError

F = TypeVar("F", bound=Callable[..., Any])

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
    return hasattr(value, "_wire")


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
    return part._wire() if _is_part(part) else part


# -- templates -----------------------------------------------------------------------------------------------


_ROLE = re.compile(r"^[ \t]*(SYSTEM|USER|ASSISTANT|MESSAGES):[ \t]*", re.MULTILINE)


def prompt_template(template: str) -> Callable[[F], F]:
    """Gives a function a prompt: ``{name}`` is replaced by the argument ``name``.

    Lines that begin with ``SYSTEM:``, ``USER:`` and ``ASSISTANT:`` begin messages, and ``MESSAGES: {history}`` inserts those
    of a list. ``{books:list}`` writes the items of a list in lines, and ``{pairs:lists}`` lists of lists. The function may
    return a dict with ``computed_fields``, values for other names, and the entries of a dynamic configuration.

    >>> @prompt_template("Recommend a {genre} book")
    ... def recommend(genre: str): ...
    >>> recommend("fantasy")
    [BaseMessageParam(role='user', content='Recommend a fantasy book')]
    """
    # Errors of the template are raised where it is written.
    text = inspect.cleandoc(template)
    for literal, name, _, conversion in string.Formatter().parse(text):
        if name is not None and (conversion or not re.fullmatch(r"[A-Za-z][\w.]*", name) or "._" in name):
            message = f"`{{{name}}}` of the template is not a name: {literal[-40:]!r} is before it"
            raise ConfigError(message, kind="config")

    def decorate(function: F) -> F:
        signature = inspect.signature(function)

        def filled(returned: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
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


def _filled(text: str, values: Mapping[str, Any]) -> str:
    parts = []
    for literal, name, form, _ in string.Formatter().parse(text):
        parts.append(literal)
        if name is not None:
            parts.append(_shown(_value(values, name), form or ""))
    return "".join(parts)


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
