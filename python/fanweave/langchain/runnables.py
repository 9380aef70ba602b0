"""Runnables: steps with the verbs of LangChain, which ``|`` puts in a sequence."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from ._history import RunnableWithMessageHistory
from ._runnable import (
    AddableDict,
    Runnable,
    RunnableGenerator,
    RunnableLambda,
    RunnableParallel,
    RunnableSequence,
    coerced,
)
from ._running import DEFAULT_ROWS, Run, RunnableConfig, call, merged

# Modules below this one are found: see _modules.py.
__path__: list[str] = []

__all__ = [
    "Runnable",
    "RunnableBinding",
    "RunnableBranch",
    "RunnableConfig",
    "RunnableEach",
    "RunnableGenerator",
    "RunnableLambda",
    "RunnableMap",
    "RunnableParallel",
    "RunnablePassthrough",
    "RunnablePick",
    "RunnableRetry",
    "RunnableSequence",
    "RunnableWithFallbacks",
    "RunnableWithMessageHistory",
    "chain",
]

RunnableMap = RunnableParallel


def chain(function: Callable[..., Any]) -> RunnableLambda | RunnableGenerator:
    """Makes a step of a function, as a decorator."""
    made = coerced(function)
    if not isinstance(made, (RunnableLambda, RunnableGenerator)):
        raise TypeError(f"expected a function, got {type(function).__name__}")
    return made


class RunnablePassthrough(Runnable[Any, Any]):
    """Returns its input. ``func`` is called with it."""

    def __init__(self, func: Callable[..., Any] | None = None) -> None:
        self.func = func

    @classmethod
    def assign(cls, **steps: Any) -> Runnable[Any, Any]:
        """Adds the outputs of steps, which run at once, to the dict that is their input."""
        return RunnableAssign(RunnableParallel(steps))

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> Any:
        if self.func is not None:
            await call(self.func, run, input)
        return input

    async def _transformed(self, pieces: AsyncIterator[Any], run: Run, **kwargs: Any) -> AsyncIterator[Any]:
        if self.func is not None:
            async for piece in super()._transformed(pieces, run, **kwargs):
                yield piece
            return
        async for piece in pieces:
            yield piece

    def __repr__(self) -> str:
        return "RunnablePassthrough()"


class RunnableAssign(Runnable[Any, dict[str, Any]]):
    """Adds the outputs of steps to the dict that is their input."""

    def __init__(self, mapper: RunnableParallel) -> None:
        self.mapper = mapper

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> dict[str, Any]:
        if not isinstance(input, Mapping):
            raise TypeError(f"assign needs a dict as its input, got {type(input).__name__}")
        return {**input, **await self.mapper._run(input, run, **kwargs)}

    async def _pieces(self, input: Any, run: Run, **kwargs: Any) -> AsyncIterator[Any]:
        if not isinstance(input, Mapping):
            raise TypeError(f"assign needs a dict as its input, got {type(input).__name__}")
        kept = {name: value for name, value in input.items() if name not in self.mapper.steps__}
        if kept:
            yield AddableDict(kept)
        async for piece in self.mapper._pieces(input, run, **kwargs):
            yield piece


class RunnablePick(Runnable[Any, Any]):
    """One entry of a dict, or a dict of some."""

    def __init__(self, keys: str | list[str]) -> None:
        self.keys = keys

    def _picked(self, input: Mapping[str, Any]) -> Any:
        if isinstance(self.keys, str):
            return input.get(self.keys)
        return AddableDict({name: input[name] for name in self.keys if name in input})

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> Any:
        return self._picked(input)

    async def _transformed(self, pieces: AsyncIterator[Any], run: Run, **kwargs: Any) -> AsyncIterator[Any]:
        async for piece in pieces:
            picked = self._picked(piece)
            if picked is not None and picked != {}:
                yield picked


class RunnableBranch(Runnable[Any, Any]):
    """The step of the first condition that is true, or the last argument if none is."""

    def __init__(self, *branches: Any) -> None:
        if len(branches) < 2:
            raise ValueError("a branch needs at least one pair of a condition and a step, and a default")
        *pairs, default = branches
        self.branches = [(coerced(condition), coerced(each)) for condition, each in pairs]
        self.default = coerced(default)

    async def _chosen(self, input: Any, run: Run) -> Runnable[Any, Any]:
        for condition, each in self.branches:
            if await condition._run(input, run):
                return each
        return self.default

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> Any:
        return await (await self._chosen(input, run))._run(input, run, **kwargs)

    async def _pieces(self, input: Any, run: Run, **kwargs: Any) -> AsyncIterator[Any]:
        async for piece in (await self._chosen(input, run))._pieces(input, run, **kwargs):
            yield piece


class RunnableBinding(Runnable[Any, Any]):
    """A step with arguments and settings."""

    def __init__(
        self, bound: Runnable[Any, Any], kwargs: Mapping[str, Any], config: Mapping[str, Any] | None = None
    ) -> None:
        self.bound = bound
        self.kwargs = dict(kwargs)
        self.config = dict(config or {})

    def _settings(self, run: Run) -> Run:
        return merged(run, self.config) if self.config else run

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> Any:
        return await self.bound._run(input, self._settings(run), **{**self.kwargs, **kwargs})

    async def _pieces(self, input: Any, run: Run, **kwargs: Any) -> AsyncIterator[Any]:
        async for piece in self.bound._pieces(input, self._settings(run), **{**self.kwargs, **kwargs}):
            yield piece

    async def _transformed(self, pieces: AsyncIterator[Any], run: Run, **kwargs: Any) -> AsyncIterator[Any]:
        settings = self._settings(run)
        async for piece in self.bound._transformed(pieces, settings, **{**self.kwargs, **kwargs}):
            yield piece

    def bind(self, **kwargs: Any) -> Runnable[Any, Any]:
        return RunnableBinding(self.bound, {**self.kwargs, **kwargs}, self.config)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "bound":
            raise AttributeError(name)
        return getattr(self.bound, name)


class RunnableRetry(Runnable[Any, Any]):
    """A step that runs again if it fails."""

    def __init__(
        self, bound: Runnable[Any, Any], kinds: tuple[type[BaseException], ...], jitter: bool, attempts: int
    ) -> None:
        if attempts < 1:
            raise ValueError(f"stop_after_attempt must be at least 1, got {attempts}")
        self.bound = bound
        self._kinds = kinds
        self._jitter = jitter
        self._attempts = attempts

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> Any:
        for attempt in range(1, self._attempts + 1):
            try:
                return await self.bound._run(input, run, **kwargs)
            except self._kinds as error:
                if attempt == self._attempts or not isinstance(error, Exception):
                    raise
            if self._jitter:
                await asyncio.sleep(min(60.0, 2 ** (attempt - 1) + random.random()))
        raise AssertionError("the last attempt returns or raises")


class RunnableWithFallbacks(Runnable[Any, Any]):
    """A step, and others for when it fails."""

    def __init__(
        self,
        runnable: Runnable[Any, Any],
        fallbacks: list[Runnable[Any, Any]],
        kinds: tuple[type[BaseException], ...],
        exception_key: str | None,
    ) -> None:
        self.runnable = runnable
        self.fallbacks = [coerced(each) for each in fallbacks]
        self._kinds = kinds
        self._exception_key = exception_key

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> Any:
        first: BaseException | None = None
        last: BaseException | None = None
        for each in (self.runnable, *self.fallbacks):
            if last is not None and self._exception_key is not None:
                input = {**input, self._exception_key: last}
            try:
                return await each._run(input, run, **kwargs)
            except self._kinds as error:
                if not isinstance(error, Exception):
                    raise
                first, last = first or error, error
        raise first or AssertionError("there is at least one step")

    async def _pieces(self, input: Any, run: Run, **kwargs: Any) -> AsyncIterator[Any]:
        first: BaseException | None = None
        for each in (self.runnable, *self.fallbacks):
            has_begun = False
            try:
                async for piece in each._pieces(input, run, **kwargs):
                    has_begun = True
                    yield piece
                return
            except self._kinds as error:
                # Pieces that were yielded cannot be taken back.
                if has_begun or not isinstance(error, Exception):
                    raise
                first = first or error
        raise first or AssertionError("there is at least one step")


class RunnableEach(Runnable[Any, list[Any]]):
    """A step for each item of a list."""

    def __init__(self, bound: Runnable[Any, Any]) -> None:
        self.bound = bound

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> list[Any]:
        items = list(input)
        limit = DEFAULT_ROWS if run.permits is None else run.permits.limit
        return await self.bound._batch(items, [run] * len(items), limit, False, kwargs)
