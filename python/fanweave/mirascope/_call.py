"""Functions as calls of a model."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Generic, Literal, ParamSpec, TypedDict, TypeVar, overload

from .. import _core
from .._chain import Chain
from .._errors import ConfigError, ParseError
from .._foreign_messages import tool_parts
from .._model import Model
from .._tool import as_tools, structured
from ._answers import (
    Asked,
    AsyncStream,
    AsyncStructuredStream,
    CallResponse,
    Stream,
    StructuredStream,
)
from ._messages import wire_messages

P = ParamSpec("P")
R = TypeVar("R")


class CommonCallParams(TypedDict, total=False):
    """Parameters of a call. Other names are sent to the provider as they are."""

    temperature: float
    max_tokens: int
    top_p: float
    seed: int
    stop: str | list[str]
    frequency_penalty: float
    presence_penalty: float


class BaseDynamicConfig(TypedDict, total=False):
    """What a function may return: its messages, and what holds for this call alone."""

    messages: Sequence[Any]
    tools: Sequence[Any]
    client: Any
    call_params: Mapping[str, Any]
    computed_fields: Mapping[str, Any]
    metadata: Mapping[str, Any]


# Parameters that the engine has a name for.
_PARAMETERS = {
    "temperature": "temperature",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "top_p": "top_p",
    "seed": "seed",
    "stop": "stop",
    "stop_sequences": "stop",
    "tool_choice": "tool_choice",
}

# Names of providers that the engine calls otherwise.
_PROVIDERS = {"google": "gemini", "vertex": "gemini"}

# Providers whose API takes `response_format`.
_JSON_FORMAT = frozenset(["openai", "azure", "groq", "mistral", "litellm", "xai"])

# Connections of clients that are kept with their models.
_MAX_MODELS = 256


class Settings:
    """What a decorator says of its calls."""

    def __init__(self, **settings: Any) -> None:
        self.provider: str = settings["provider"]
        self.model: str = settings["model"]
        self.stream: bool = bool(settings.get("stream"))
        self.tools = as_tools(settings.get("tools") or ())
        self.response_model: Any = settings.get("response_model")
        self.output_parser: Any = settings.get("output_parser")
        self.json_mode: bool = bool(settings.get("json_mode"))
        self.client: Any = settings.get("client")
        self.call_params: dict[str, Any] = dict(settings.get("call_params") or {})
        self.given = settings
        if self.response_model is not None and self.tools:
            raise ConfigError("a call has tools or a response_model, not both", kind="config")
        if self.output_parser is not None and (self.stream or self.response_model is not None):
            raise ConfigError("output_parser reads whole answers without a response_model", kind="config")

    def replaced(self, changes: Mapping[str, Any]) -> Settings:
        """The same settings but for some."""
        changed = {name: value for name, value in changes.items() if value is not None}
        if "call_params" in changed:
            changed["call_params"] = {**self.call_params, **changed["call_params"]}
        return Settings(**{**self.given, **changed})


_overrides: contextvars.ContextVar[Mapping[str, Any]] = contextvars.ContextVar("fanweave.mirascope.overrides")

_models: dict[Any, Model] = {}
# The environment that they were made in.
_environment: dict[Any, Any] = {}


def _model(provider: str, model: str, client: Any) -> Model:
    global _environment
    # A provider has variables of its own for its key, its URL and other settings, which may change between two calls.
    # The mapping below that of `os.environ` is compared in a microsecond.
    environment = getattr(os.environ, "_data", os.environ)
    if environment != _environment or len(_models) >= _MAX_MODELS:
        _models.clear()
        _environment = dict(environment)
    connection = connection_of(client)
    name = f"{_PROVIDERS.get(provider, provider)}/{model}"
    key = (name, repr(sorted(connection.items(), key=lambda pair: pair[0])))
    found = _models.get(key)
    if found is None:
        found = _models[key] = Model(name, connection)
    return found


def connection_of(client: Any) -> dict[str, Any]:
    """The connection of a client: one of ``fanweave.openai``, or of an official package, of which settings are read."""
    if client is None:
        return {}
    url = getattr(client, "base_url", None)
    key = getattr(client, "api_key", None)
    if url is None or not isinstance(key, str):
        message = f"client must have `base_url` and `api_key`, as those of OpenAI and Anthropic do (got {type(client).__name__})"
        raise ConfigError(message, kind="config")
    connection: dict[str, Any] = {"base_url": str(url).rstrip("/"), "api_key": key}
    timeout = getattr(client, "timeout", None)
    seconds = timeout if isinstance(timeout, (int, float)) else getattr(timeout, "read", None)
    if isinstance(seconds, (int, float)):
        connection["timeout"] = float(seconds)
    retries = getattr(client, "max_retries", None)
    if isinstance(retries, int):
        connection["retries"] = retries
    headers = dict(getattr(client, "_headers", None) or getattr(client, "_custom_headers", None) or {})
    for name, header in (("organization", "openai-organization"), ("project", "openai-project")):
        if isinstance(getattr(client, name, None), str):
            headers[header] = getattr(client, name)
    if headers:
        connection["headers"] = headers
    return connection


class _Prepared:
    """A call that is ready to be sent."""

    def __init__(self, settings: Settings, asked: Any) -> None:
        config: Mapping[str, Any] = {}
        if isinstance(asked, Mapping) and "role" not in asked:
            config = asked
            unknown = sorted(config.keys() - BaseDynamicConfig.__annotations__.keys())
            if unknown or config.get("messages") is None:
                known = ", ".join(BaseDynamicConfig.__annotations__)
                reason = f"`{unknown[0]}` is not an entry" if unknown else "it has no `messages`"
                raise ConfigError(
                    f"the dynamic configuration is invalid: {reason} (entries are {known})", kind="config"
                )
            asked = config["messages"]
        tools = as_tools(config["tools"]) if config.get("tools") else settings.tools
        given = {**settings.call_params, **(config.get("call_params") or {})}
        messages = wire_messages(asked)
        parameters: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for name, value in given.items():
            if name in _PARAMETERS:
                parameters[_PARAMETERS[name]] = value
            elif value is not None:
                extra[name] = value
        if settings.json_mode and settings.response_model is None:
            if settings.provider in _JSON_FORMAT:
                extra["response_format"] = {"type": "json_object"}
            else:
                messages = [
                    *messages,
                    {"role": "user", "content": "Answer with a JSON object and nothing else."},
                ]
        if extra:
            parameters["extra"] = extra
        client = config["client"] if config.get("client") is not None else settings.client
        model = _model(settings.provider, settings.model, client)
        self.asked = Asked(messages, parameters, tools, [model.name])
        self.asked.metadata = dict(config.get("metadata") or {})
        self.config = config or None
        # The reasons for which answers did not fit the response_model.
        self.refused: list[Exception] = []
        self.options: dict[str, Any] = {}
        if self.asked.metadata.get("tags"):
            self.options["tags"] = sorted(self.asked.metadata["tags"])
        self.chain: Chain[Any, Any, Any] = model
        if tools:
            self.chain = Chain(_core.with_tools(model._engine, tool_parts(tools), None, False, None, 8))
        if settings.response_model is not None:
            self.chain = structured(model, settings.response_model, 1, self.refused.append)

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Raises the error of pydantic, if there is one, as Mirascope does."""
        try:
            yield
        except ParseError as error:
            reason = self.refused[-1].__context__ if self.refused else None
            if reason is None or type(reason).__name__ != "ValidationError":
                raise
            raise reason from error

    def answer(self, message: Any, settings: Settings) -> Any:
        """What the call returns."""
        if settings.response_model is not None:
            return message
        response = CallResponse(message, self.asked, self.config)
        return response if settings.output_parser is None else settings.output_parser(response)


def _sync_answer(settings: Settings, asked: Any) -> Any:
    call = _Prepared(settings, asked)
    if not settings.stream:
        with call.errors():
            message = call.chain.invoke(call.asked.input, **call.options)
        return call.answer(message, settings)
    stream = call.chain.stream(call.asked.input, **call.options)
    if settings.response_model is not None:
        return StructuredStream(stream, settings.response_model)
    return Stream(stream, call.asked, call.config)


async def _async_answer(settings: Settings, asked: Any) -> Any:
    call = _Prepared(settings, asked)
    if not settings.stream:
        with call.errors():
            message = await call.chain.ainvoke(call.asked.input, **call.options)
        return call.answer(message, settings)
    stream = call.chain.astream(call.asked.input, **call.options)
    if settings.response_model is not None:
        return AsyncStructuredStream(stream, settings.response_model)
    return AsyncStream(stream, call.asked, call.config)


def decorated(function: Callable[..., Any], settings: Settings) -> Any:
    """The function as a call. An async function is awaited."""

    def current() -> Settings:
        changes = _overrides.get({})
        return settings.replaced(changes) if changes else settings

    made: Any
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            return await _async_answer(current(), await function(*args, **kwargs))

        made = call_async
    else:

        @functools.wraps(function)
        def call_sync(*args: Any, **kwargs: Any) -> Any:
            return _sync_answer(current(), function(*args, **kwargs))

        made = call_sync
    made._function, made._settings = function, settings
    return made


class CallOf(Generic[R]):
    """The decorator of a call that returns ``R``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, Any]]
    ) -> Callable[P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[P, Any]) -> Callable[P, R]: ...
    def __call__(self, function: Callable[..., Any]) -> Any:
        return decorated(function, self._settings)


class StreamOf:
    """The decorator of a call that streams."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, Any]]
    ) -> Callable[P, Coroutine[Any, Any, AsyncStream]]: ...
    @overload
    def __call__(self, function: Callable[P, Any]) -> Callable[P, Stream]: ...
    def __call__(self, function: Callable[..., Any]) -> Any:
        return decorated(function, self._settings)


class ValueStreamOf:
    """The decorator of a call that streams a value."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, Any]]
    ) -> Callable[P, Coroutine[Any, Any, AsyncStructuredStream]]: ...
    @overload
    def __call__(self, function: Callable[P, Any]) -> Callable[P, StructuredStream]: ...
    def __call__(self, function: Callable[..., Any]) -> Any:
        return decorated(function, self._settings)


@overload
def call(
    provider: str,
    model: str,
    *,
    stream: Literal[False] = ...,
    response_model: type[R],
    json_mode: bool = ...,
    client: Any = ...,
    call_params: Mapping[str, Any] | None = ...,
) -> CallOf[R]: ...
@overload
def call(
    provider: str,
    model: str,
    *,
    stream: Literal[True],
    response_model: type[Any],
    json_mode: bool = ...,
    client: Any = ...,
    call_params: Mapping[str, Any] | None = ...,
) -> ValueStreamOf: ...
@overload
def call(
    provider: str,
    model: str,
    *,
    stream: Literal[True],
    tools: Sequence[Any] | None = ...,
    json_mode: bool = ...,
    client: Any = ...,
    call_params: Mapping[str, Any] | None = ...,
) -> StreamOf: ...
@overload
def call(
    provider: str,
    model: str,
    *,
    stream: Literal[False] = ...,
    tools: Sequence[Any] | None = ...,
    output_parser: Callable[[CallResponse], R],
    json_mode: bool = ...,
    client: Any = ...,
    call_params: Mapping[str, Any] | None = ...,
) -> CallOf[R]: ...
@overload
def call(
    provider: str,
    model: str,
    *,
    stream: Literal[False] = ...,
    tools: Sequence[Any] | None = ...,
    json_mode: bool = ...,
    client: Any = ...,
    call_params: Mapping[str, Any] | None = ...,
) -> CallOf[CallResponse]: ...
def call(
    provider: str,
    model: str,
    *,
    stream: bool = False,
    tools: Sequence[Any] | None = None,
    response_model: Any = None,
    output_parser: Any = None,
    json_mode: bool = False,
    client: Any = None,
    call_params: Mapping[str, Any] | None = None,
) -> Any:
    """Turns a function into a call of a model. The function returns the prompt; an async function is awaited.

    >>> @call(provider="openai", model="gpt-5-mini")
    ... def recommend_book(genre: str) -> str:
    ...     return f"Recommend a {genre} book"
    >>> recommend_book("fantasy").content  # doctest: +SKIP

    The answer is a ``CallResponse``, with ``stream`` pairs of a chunk and a tool, or with ``response_model`` a value of that
    type. ``tools`` are functions, or classes with a method ``call``. ``client`` is one of ``fanweave.openai`` or of an official
    package, whose URL, key, headers, time-out and retries are read.

    The function may also return messages, or a dict of ``messages``, ``tools``, ``client``, ``call_params`` and ``metadata`` for
    this call alone.
    """
    settings = Settings(
        provider=provider,
        model=model,
        stream=stream,
        tools=tools,
        response_model=response_model,
        output_parser=output_parser,
        json_mode=json_mode,
        client=client,
        call_params=call_params,
    )
    if not stream:
        return CallOf(settings)
    return StreamOf(settings) if response_model is None else ValueStreamOf(settings)


def override(provider_agnostic_call: Callable[P, R], **changes: Any) -> Callable[P, R]:
    """The same call with another ``provider``, ``model``, ``client`` or other settings."""
    own: Any = provider_agnostic_call
    if not hasattr(own, "_settings"):
        raise ConfigError("override takes a function that `llm.call` has decorated", kind="config")
    # A method is bound like the one that it is made of.
    owner = getattr(own, "__self__", None)
    function = own._function if owner is None else own._function.__get__(owner)
    made: Callable[P, R] = decorated(function, own._settings.replaced(changes))
    return made


@contextlib.contextmanager
def context(**changes: Any) -> Iterator[None]:
    """Calls within the block have another ``provider``, ``model``, ``client`` or other settings."""
    token = _overrides.set({**_overrides.get({}), **changes})
    try:
        yield
    finally:
        _overrides.reset(token)


class Provider:
    """The calls of one provider: ``openai.call("gpt-5-mini")``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def call(self, model: str, **settings: Any) -> Callable[[Callable[..., Any]], Any]:
        """Turns a function into a call of a model of this provider. Settings are those of ``llm.call``."""
        made: Any = call(self.name, model, **settings)
        return lambda function: made(function)
