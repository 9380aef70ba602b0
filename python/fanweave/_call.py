"""Functions as calls: a decorated function returns the prompt, and calling it returns the answer."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Mapping, Sequence

from . import _core
from ._chain import Chain
from ._client import check_client
from ._errors import ConfigError
from ._model import Model
from ._model import model as model_of
from ._steps import is_async
from ._stream import AsyncStream, Stream
from ._tool import Tool, as_tools, structured, with_tools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ._client import Client

_CONFIG = ("messages", "model", "client", "tools", "parameters")


class Response(_core.Message):
    """The answer to a call of a decorated function: a message with the tools that the model calls, and its cost.

    >>> from fanweave.testing import echo
    >>> @fw.call(model=echo())
    ... def greet(name: str):
    ...     return f"Hello, {name}!"
    >>> response = greet("Ada")
    >>> response.content, response.tools, response.finish_reason
    ('Hello, Ada!', [], 'stop')
    """

    latency: float | None
    """Seconds from the call to the answer. None for answers of a batch."""

    def __new__(cls, message: _core.Message, *_: Any, **__: Any) -> Response:
        return super().__new__(cls, message)

    def __init__(
        self,
        message: _core.Message,
        tools: Sequence[Tool] = (),
        models: Sequence[str] = (),
        latency: float | None = None,
    ) -> None:
        self._tools = list(tools)
        self._models = list(models)
        self.latency = latency

    @property
    def content(self) -> str:
        """The text."""
        return self.text

    @property
    def tools(self) -> list[Any]:
        """What the model calls: an instance for a class, a ``ToolUse`` for a function.

        Raises ``InputError`` if arguments do not fit.
        """
        by_name = {tool.name: tool for tool in self._tools}
        return [by_name[call.name].read(call) for call in self.tool_calls if call.name in by_name]

    @property
    def tool(self) -> Any:
        """The first of ``tools``, or None."""
        return next(iter(self.tools), None)

    @property
    def cost_usd(self) -> float | None:
        """The price of the answer in US dollars, or None if that of its model is not known."""
        return _core.cost(self, self._models)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.to_dict(), self._models, self.latency)


def _rebuilt(message: dict[str, Any], models: list[str], latency: float | None) -> Response:
    return Response(_core.Message.from_dict(message), (), models, latency)


class _Settings:
    """What a decorator says of its calls. The chains are made with the first call."""

    def __init__(
        self,
        model: str | Model,
        response: Any,
        tools: Sequence[Any],
        run_tools: int | None,
        fallback: Sequence[str | Model],
        timeout: float | None,
        client: Client | None,
        parameters: Mapping[str, Any],
    ) -> None:
        self.model = model
        self.response = response
        self.tools = as_tools(tools)
        self.run_tools = run_tools
        self.fallback = fallback
        self.timeout = timeout
        self.client = client
        self.parameters = parameters
        self._chains: dict[Any, Chain] = {}
        self._check(self.tools)
        if client is not None:
            check_client(client)
        # An unknown parameter is reported where it is written.
        _core.prompt_of("", dict(parameters))

    def _check(self, tools: Sequence[Tool]) -> None:
        if self.response is not None and tools and self.run_tools is None:
            message = "a call with tools and a response type needs run_tools, the maximum number of rounds"
            raise ConfigError(message, kind="config")

    def with_parameters(self, model: str | Model | None, parameters: Mapping[str, Any]) -> _Settings:
        return _Settings(
            model or self.model,
            self.response,
            self.tools,
            self.run_tools,
            self.fallback,
            self.timeout,
            self.client,
            {**self.parameters, **parameters},
        )

    @property
    def options(self) -> dict[str, Any]:
        return {} if self.timeout is None else {"timeout": self.timeout}

    def models(self, model: str | Model | None) -> list[str]:
        all = [model or self.model, *self.fallback]
        return [each if isinstance(each, str) else each.name for each in all]

    def chain(
        self, model: str | Model | None, tools: Sequence[Tool] | None, client: Client | None = None
    ) -> Chain:
        """The chain for a model, tools and client of one call, or those of the decorator."""
        if tools is not None:
            self._check(tools)
        if tools is not None or client is not None:
            chosen = self.tools if tools is None else tools
            return self._make(model, chosen, self.client if client is None else client)
        # A cache of models by name: one that is made for one call is not kept.
        key = model if model is None or isinstance(model, str) else id(model)
        if not isinstance(key, int) and key in self._chains:
            return self._chains[key]
        chain = self._make(model, self.tools, self.client)
        if not isinstance(key, int):
            self._chains[key] = chain
        return chain

    def _make(self, model: str | Model | None, tools: Sequence[Tool], client: Client | None) -> Chain:
        first, *others = [_with_client(each, client) for each in (model or self.model, *self.fallback)]
        chain: Chain = first.fallback(*others) if others else first
        if self.parameters:
            chain = Chain(_core.with_parameters(chain._engine, dict(self.parameters)))
        if tools:
            chain = with_tools(chain, tools, self.run_tools)
        return chain if self.response is None else structured(chain, self.response, 1)


def _with_client(model: str | Model, client: Client | None) -> Model:
    if isinstance(model, str):
        return model_of(model) if client is None else model_of(model, client=client)
    return model if client is None else model._with_client(client)


class _Arguments:
    """The arguments of a function, which travel as one object."""

    __slots__ = ("args", "kwargs")

    def __init__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.args = args
        self.kwargs = kwargs


class _Call:
    """A decorated function."""

    def __init__(self, function: Callable[..., Any], settings: _Settings) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._settings = settings
        self._names = frozenset(inspect.signature(function).parameters)

    def __class_getitem__(cls, _: Any) -> type[_Call]:
        return cls

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return (
            self if instance is None else type(self)(self._function.__get__(instance, owner), self._settings)
        )

    def __reduce__(self) -> str:
        # As functions are: by name.
        return self.__qualname__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.__qualname__})"

    def bind(self, *, model: str | Model | None = None, **parameters: Any) -> Any:
        """The same function with another model or other parameters."""
        return type(self)(self._function, self._settings.with_parameters(model, parameters))

    def _choose(self, asked: Any) -> tuple[Chain, Any, Sequence[Tool], list[str]]:
        """The chain, its input, the tools and the models of what the function returned."""
        settings = self._settings
        if not isinstance(asked, Mapping):
            if asked is None:
                message = f"`{self.__name__}` must return a prompt: a text, messages or a Config (got None)"
                raise ConfigError(message, kind="config")
            return settings.chain(None, None), asked, settings.tools, settings.models(None)
        unknown = sorted(asked.keys() - set(_CONFIG))
        if unknown or "messages" not in asked:
            reason = f"`{unknown[0]}` is not an entry of a Config" if unknown else "a Config needs `messages`"
            message = f"`{self.__name__}` returned an invalid Config: {reason} (it has {', '.join(_CONFIG)})"
            raise ConfigError(message, kind="config")
        model, tools = asked.get("model"), asked.get("tools")
        read = None if tools is None else as_tools(tools)
        input = _core.prompt_of(asked["messages"], dict(asked.get("parameters") or {}))
        chosen = settings.tools if read is None else read
        return settings.chain(model, read, asked.get("client")), input, chosen, settings.models(model)

    def _arguments(self, input: Any) -> _Arguments:
        """The arguments that one input of a chain or batch stands for."""
        if isinstance(input, _Arguments):
            return input
        if isinstance(input, tuple):
            return _Arguments(input, {})
        if isinstance(input, Mapping) and input.keys() <= self._names:
            return _Arguments((), input)
        return _Arguments((input,), {})

    def _chosen(self, asked: Any) -> _core.Ready:
        chain, input, _, _ = self._choose(asked)
        return _core.chosen(chain._engine, input)

    def chain(self) -> Chain:
        """The function as a step of chains. Without a response type, its output is a ``Message``.

        An input that is a dict whose keys are all parameters is the keyword arguments, and any other the only argument.
        """

        def choose(input: Any) -> _core.Ready:
            arguments = self._arguments(input)
            return self._chosen(self._function(*arguments.args, **arguments.kwargs))

        async def choose_async(input: Any) -> _core.Ready:
            arguments = self._arguments(input)
            return self._chosen(await self._function(*arguments.args, **arguments.kwargs))

        is_coroutine = is_async(self._function)
        has_values = self._settings.response is not None
        function = choose_async if is_coroutine else choose
        engine = _core.dynamic(function, self.__name__, is_coroutine, has_values)
        return Chain(engine, (_Call.chain, (self,), {}))

    def _answer(self, answer: Any, tools: Sequence[Tool], models: list[str], began: float) -> Any:
        """What a call that began at this time returns."""
        if self._settings.response is not None:
            return answer
        return Response(answer, tools, models, time.perf_counter() - began)

    def _responses(self, answers: list[Any]) -> list[Any]:
        settings = self._settings
        if settings.response is not None:
            return answers
        models = settings.models(None)
        return [
            Response(answer, settings.tools, models) if isinstance(answer, _core.Message) else answer
            for answer in answers
        ]


class Call(_Call):
    """A function as a call. Calling it waits for the answer.

    >>> from fanweave.testing import echo
    >>> @fw.call(model=echo())
    ... def greet(name: str):
    ...     return f"Hello, {name}!"
    >>> [each.content for each in greet.batch(["Ada", "Bob"])]
    ['Hello, Ada!', 'Hello, Bob!']
    >>> greet.bind(model="sim/writer", max_tokens=1)("Ada").finish_reason
    'length'
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        chain, input, tools, models = self._choose(self._function(*args, **kwargs))
        began = time.perf_counter()
        answer = chain.invoke(input, **self._settings.options)
        return self._answer(answer, tools, models, began)

    def stream(self, *args: Any, **kwargs: Any) -> Stream:
        """Calls the function and yields the pieces of the answer: deltas, or the JSON value so far."""
        chain, input, tools, models = self._choose(self._function(*args, **kwargs))
        stream = chain.stream(input, **self._settings.options)
        if self._settings.response is None:
            stream._finish = lambda message: Response(message, tools, models)
        return stream

    def batch(
        self, arguments: Iterable[Any], /, *, concurrency: int = 64, errors: str = "raise"
    ) -> list[Any]:
        """Calls the function for each element, at most ``concurrency`` at once, and returns the answers in order.

        An element is a tuple of positional arguments, a dict of keyword arguments, or the only argument.
        """
        inputs = [self._arguments(each) for each in arguments]
        options = self._settings.options
        chain = self.chain()
        return self._responses(chain.batch(inputs, concurrency=concurrency, errors=errors, **options))


class AsyncCall(_Call):
    """An async function as a call. Awaiting it waits for the answer.

    >>> import asyncio
    >>> from fanweave.testing import echo
    >>> @fw.call(model=echo())
    ... async def greet(name: str):
    ...     return f"Hello, {name}!"
    >>> asyncio.run(greet("Ada")).content
    'Hello, Ada!'
    """

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        chain, input, tools, models = self._choose(await self._function(*args, **kwargs))
        began = time.perf_counter()
        answer = await chain.ainvoke(input, **self._settings.options)
        return self._answer(answer, tools, models, began)

    def stream(self, *args: Any, **kwargs: Any) -> AsyncStream:
        """Calls the function and yields the pieces of the answer: deltas, or the JSON value so far."""
        settings = self._settings
        stream = self.chain().astream(_Arguments(args, kwargs), **settings.options)
        if settings.response is None:
            stream._finish = lambda message: Response(message, settings.tools, settings.models(None))
        return stream

    async def batch(
        self, arguments: Iterable[Any], /, *, concurrency: int = 64, errors: str = "raise"
    ) -> list[Any]:
        """Calls the function for each element, at most ``concurrency`` at once, and returns the answers in order.

        An element is a tuple of positional arguments, a dict of keyword arguments, or the only argument.
        """
        inputs = [self._arguments(each) for each in arguments]
        options = self._settings.options
        chain = self.chain()
        return self._responses(await chain.abatch(inputs, concurrency=concurrency, errors=errors, **options))


class CallOf:
    """The decorator that ``call`` returns.

    >>> short = fw.call(model="sim/writer", max_tokens=3)
    >>> short(lambda topic: f"A poem about {topic}.")("bears").finish_reason
    'length'
    """

    def __class_getitem__(cls, _: Any) -> type[CallOf]:
        return cls

    def __init__(self, settings: _Settings) -> None:
        self._settings = settings

    def __call__(self, function: Callable[..., Any]) -> Any:
        return (AsyncCall if is_async(function) else Call)(function, self._settings)


def call(
    *,
    model: str | Model,
    response: Any = None,
    tools: Sequence[Any] = (),
    run_tools: int | None = None,
    fallback: Sequence[str | Model] = (),
    timeout: float | None = None,
    client: Client | None = None,
    **parameters: Any,
) -> CallOf:
    """Turns a function into a call of a model. The function returns the prompt.

    >>> @fw.call(model="sim/writer", temperature=0.2)
    ... def recommend(genre: str):
    ...     return f"Recommend a {genre} book."
    >>> answer = recommend("fantasy")
    >>> print(answer.content)  # doctest: +SKIP

    An async function is awaited. With ``response``, a dataclass, TypedDict, pydantic model or other type, the answer
    is a value of it. With ``tools`` the model may call these; ``run_tools`` is the maximum number of rounds in which
    they are run, and without it the calls are in ``answer.tools``. ``fallback`` are models for when ``model`` fails,
    and ``timeout`` is that of the call in seconds. ``client`` is the ``Client`` of all these models.

    The function may also return a ``Config``, a dict with ``messages`` and, for this call alone, a ``model``, a
    ``client``, ``tools`` and ``parameters``.

    Raises ``ConfigError`` for parameters and types that do not exist.
    """
    return CallOf(_Settings(model, response, tools, run_tools, fallback, timeout, client, parameters))
