"""How runnables run: the settings of a run, its limit of calls, and blocking verbs over coroutines."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypedDict, TypeVar

from .. import _loops
from .._chain import Chain, step
from .._errors import ConfigError
from .._steps import is_async

T = TypeVar("T")

# Rows of a batch that run at once if the config has no `max_concurrency`. Their calls wait for the limits of the account.
DEFAULT_ROWS = 1000


class RunnableConfig(TypedDict, total=False):
    """Settings of a run. ``max_concurrency`` limits the calls of models of the whole run, however deep they are."""

    max_concurrency: int | None
    tags: list[str]
    metadata: dict[str, Any]
    run_name: str | None
    recursion_limit: int
    configurable: dict[str, Any]
    callbacks: Any


class Permits:
    """A limit of calls at once, for tasks of any loop."""

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ConfigError(f"max_concurrency must be at least 1, got {limit}", kind="config")
        self.limit = limit
        self._free = limit
        self._lock = threading.Lock()
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()

    async def __aenter__(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            self._waiting.append((loop, future))
        try:
            await future
        except BaseException:
            with self._lock:
                if (loop, future) in self._waiting:
                    self._waiting.remove((loop, future))
                    raise
            # The permit had been handed over already.
            self._release()
            raise

    async def __aexit__(self, *_: Any) -> None:
        self._release()

    def _release(self) -> None:
        with self._lock:
            while self._waiting:
                loop, future = self._waiting.popleft()
                try:
                    loop.call_soon_threadsafe(_settle, future)
                except RuntimeError:
                    # Its loop has closed: nobody waits for it.
                    continue
                return
            self._free += 1


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Run:
    """The settings of a run, as its steps see them."""

    __slots__ = ("config", "permits")

    def __init__(self, config: Mapping[str, Any], permits: Permits | None) -> None:
        self.config = config
        self.permits = permits

    @property
    def options(self) -> dict[str, Any]:
        """Options for the calls of models."""
        options: dict[str, Any] = {}
        tags = list(self.config.get("tags") or ())
        name = self.config.get("run_name")
        if name:
            tags.append(name)
        if tags:
            options["tags"] = tags
        if self.config.get("metadata"):
            options["metadata"] = dict(self.config["metadata"])
        return options


_current: contextvars.ContextVar[Run] = contextvars.ContextVar("fanweave.langchain.run")
_NO_SETTINGS = Run({}, None)


def run_of(config: Mapping[str, Any] | None) -> Run:
    """The run of a config. What it does not say is that of the run around it."""
    around = _current.get(_NO_SETTINGS)
    if not config:
        return around
    return merged(around, config)


def merged(around: Run, config: Mapping[str, Any]) -> Run:
    """A run with the settings of ``config`` as well."""
    unknown = sorted(config.keys() - RunnableConfig.__annotations__.keys())
    if unknown:
        known = ", ".join(RunnableConfig.__annotations__)
        message = f"`{unknown[0]}` is not a setting of a run: use {known}"
        raise ConfigError(message, kind="config")
    if config.get("callbacks"):
        message = "callbacks are not supported: use `events` of fanweave, or LangChain with ChatFanweave"
        raise ConfigError(message, kind="config")
    settings = {**around.config, **{name: value for name, value in config.items() if value is not None}}
    for name, join in (("tags", _joined), ("metadata", _updated), ("configurable", _updated)):
        if around.config.get(name) and config.get(name):
            settings[name] = join(around.config[name], config[name])
    limit = config.get("max_concurrency")
    permits = around.permits
    # The smaller limit of two holds.
    if limit is not None and (permits is None or limit < permits.limit):
        permits = Permits(limit)
    return Run(settings, permits)


def _joined(first: Sequence[str], second: Sequence[str]) -> list[str]:
    return [*first, *(tag for tag in second if tag not in first)]


def _updated(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    return {**first, **second}


class _Nothing:
    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: Any) -> None:
        return None


_NO_LIMIT = _Nothing()


def permit(run: Run) -> Any:
    """A permit for a call of a model, for ``async with``."""
    return _NO_LIMIT if run.permits is None else run.permits


# -- functions of users ------------------------------------------------------------------------------------


async def call(function: Callable[..., Any], run: Run, *args: Any, **kwargs: Any) -> Any:
    """Calls a function of the user: a coroutine function on this loop, any other on a thread.

    Runs that it starts have the settings of this one.
    """
    token = _current.set(run)
    try:
        if is_async(function):
            return await function(*args, **kwargs)
        variables = contextvars.copy_context()
    finally:
        _current.reset(token)
    loop = asyncio.get_running_loop()
    threads = _loops.pool(_loops._local.level)
    work = functools.partial(variables.run, functools.partial(function, *args, **kwargs))
    result = await loop.run_in_executor(threads, work)
    return await result if inspect.isawaitable(result) else result


def takes(function: Callable[..., Any], name: str) -> bool:
    """True if a function has a parameter of this name."""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


# -- blocking verbs ----------------------------------------------------------------------------------------


class _Work:
    """A coroutine function that is to run, and later its result. Chains hand it on as it is."""

    __slots__ = ("result", "start")

    def __init__(self, start: Callable[[], Awaitable[Any]]) -> None:
        self.start = start
        self.result: Any = None


async def _work(work: _Work) -> None:
    work.result = await work.start()


_blocking: Chain[_Work, None, Any] | None = None


def blocking(start: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs a coroutine on the loop of blocking calls and waits for it. Works within a running loop, too."""
    global _blocking
    if _blocking is None:
        _blocking = step(_work)
    work = _Work(start)
    _blocking.invoke(work)
    result: T = work.result
    return result


_END = object()


def blocking_pieces(start: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
    """The pieces of an async iterator, for ``for``."""
    pieces: AsyncIterator[T] | None = None

    async def take() -> Any:
        nonlocal pieces
        if pieces is None:
            pieces = start()
        return await anext(pieces, _END)

    async def close() -> None:
        end: Any = getattr(pieces, "aclose", None)
        if end is not None:
            await end()

    try:
        while (piece := blocking(take)) is not _END:
            yield piece
    finally:
        blocking(close)


async def rows(
    start: Callable[[int], Coroutine[Any, Any, Any]],
    count: int,
    limit: int,
    return_exceptions: bool,
    each: Callable[[int, Any], None],
) -> None:
    """Runs ``start(i)`` for each row, at most ``limit`` at once, and gives each result to ``each``.

    The first exception ends the rows in flight and is raised, unless ``return_exceptions``.
    """
    left = iter(range(count))

    async def worker() -> None:
        for i in left:
            try:
                each(i, await start(i))
            except Exception as error:
                if not return_exceptions:
                    raise
                each(i, error)

    tasks = [asyncio.ensure_future(worker()) for _ in range(min(limit, count))]
    if not tasks:
        return
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
