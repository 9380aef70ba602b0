"""Runnables with their verbs, and those that ``|`` makes of functions and dicts."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from ._running import (
    DEFAULT_ROWS,
    Run,
    RunnableConfig,
    blocking,
    blocking_pieces,
    call,
    rows,
    run_of,
    takes,
)

Input = TypeVar("Input", contravariant=True)
Output = TypeVar("Output", covariant=True)


_WITH_LANGCHAIN = "use LangChain with fanweave.integrations.langchain.ChatFanweave"
# Verbs of LangChain that are not here.
_ADVICE = {
    "as_tool": "use `fanweave.langchain.tools.tool` with a function",
    "astream_events": f"use `aevents` of a chain of fanweave, or {_WITH_LANGCHAIN}",
    "astream_log": f"use `aevents` of a chain of fanweave, or {_WITH_LANGCHAIN}",
    "configurable_alternatives": "use `with_config`, or a function that returns the step to run",
    "configurable_fields": "use `bind`",
    "get_graph": _WITH_LANGCHAIN,
    "stream_events": f"use `aevents` of a chain of fanweave, or {_WITH_LANGCHAIN}",
    "with_listeners": f"use `aevents` of a chain of fanweave, or {_WITH_LANGCHAIN}",
}


class Runnable(Generic[Input, Output]):
    """A step. Each verb has a form that blocks and one that is awaited; all of them use the same coroutines.

    Subclasses define ``_run``, and ``_pieces`` if their output comes in pieces.
    """

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no `_run`")

    async def _pieces(self, input: Any, run: Run, **kwargs: Any) -> AsyncIterator[Any]:
        yield await self._run(input, run, **kwargs)

    async def _transformed(self, pieces: AsyncIterator[Any], run: Run, **kwargs: Any) -> AsyncIterator[Any]:
        """The pieces of the output for the pieces of an input. By default the input is needed as a whole."""
        whole: Any = None
        is_first = True
        async for piece in pieces:
            whole = piece if is_first else whole + piece
            is_first = False
        if not is_first:
            async for piece in self._pieces(whole, run, **kwargs):
                yield piece

    def __getattr__(self, name: str) -> Any:
        if name in _ADVICE:
            raise AttributeError(f"`{type(self).__name__}` of fanweave has no `{name}`: {_ADVICE[name]}")
        raise AttributeError(f"`{type(self).__name__}` object has no attribute `{name}`")

    # -- one input -----------------------------------------------------------------------------------------

    def invoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:
        """Runs once and waits for the output."""
        run = run_of(config)
        output: Output = blocking(lambda: self._run(input, run, **kwargs))
        return output

    async def ainvoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:
        """Runs once."""
        output: Output = await self._run(input, run_of(config), **kwargs)
        return output

    def stream(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        """Runs once and yields the pieces of the output as they arrive."""
        run = run_of(config)
        return blocking_pieces(lambda: self._pieces(input, run, **kwargs))

    async def astream(
        self, input: Input, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Runs once and yields the pieces of the output as they arrive."""
        pieces = self._pieces(input, run_of(config), **kwargs)
        try:
            async for piece in pieces:
                yield piece
        finally:
            await _close(pieces)

    # -- many inputs ---------------------------------------------------------------------------------------

    def batch(
        self,
        inputs: Sequence[Input],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Output]:
        """Runs once for each input and returns the outputs in order.

        ``max_concurrency`` of the config limits the calls of models. The first exception ends the batch and is raised,
        unless ``return_exceptions``: then it is the output of its input.
        """
        runs, limit = _runs(inputs, config)
        outputs: list[Output] = blocking(lambda: self._batch(inputs, runs, limit, return_exceptions, kwargs))
        return outputs

    async def abatch(
        self,
        inputs: Sequence[Input],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Output]:
        """Like ``batch``, awaited."""
        runs, limit = _runs(inputs, config)
        return await self._batch(inputs, runs, limit, return_exceptions, kwargs)

    async def _batch(
        self,
        inputs: Sequence[Any],
        runs: list[Run],
        limit: int,
        return_exceptions: bool,
        kwargs: dict[str, Any],
    ) -> list[Any]:
        outputs: list[Any] = [None] * len(runs)
        await rows(
            lambda i: self._run(inputs[i], runs[i], **kwargs),
            len(runs),
            limit,
            return_exceptions,
            outputs.__setitem__,
        )
        return outputs

    async def abatch_as_completed(
        self,
        inputs: Sequence[Input],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> AsyncIterator[tuple[int, Any]]:
        """Pairs of the index of an input and its output, as they end."""
        runs, limit = _runs(inputs, config)
        ready: asyncio.Queue[Any] = asyncio.Queue()

        async def work() -> None:
            try:
                await rows(
                    lambda i: self._run(inputs[i], runs[i], **kwargs),
                    len(runs),
                    limit,
                    return_exceptions,
                    lambda i, output: ready.put_nowait((i, output)),
                )
            finally:
                ready.put_nowait(None)

        task = asyncio.ensure_future(work())
        try:
            while (pair := await ready.get()) is not None:
                yield pair
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def batch_as_completed(
        self,
        inputs: Sequence[Input],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> Iterator[tuple[int, Any]]:
        """Pairs of the index of an input and its output, as they end."""
        return blocking_pieces(
            lambda: self.abatch_as_completed(inputs, config, return_exceptions=return_exceptions, **kwargs)
        )

    # -- composition ---------------------------------------------------------------------------------------

    def __or__(self, other: Any) -> RunnableSequence:
        return RunnableSequence(self, other)

    def __ror__(self, other: Any) -> RunnableSequence:
        return RunnableSequence(other, self)

    def pipe(self, *others: Any) -> RunnableSequence:
        """The same as ``self | others[0] | ..``."""
        return RunnableSequence(self, *others)

    def bind(self, **kwargs: Any) -> Runnable[Any, Any]:
        """The same step with these arguments in each call."""
        from .runnables import RunnableBinding

        return RunnableBinding(self, kwargs)

    def with_config(self, config: RunnableConfig | None = None, **settings: Any) -> Runnable[Any, Any]:
        """The same step with these settings in each run."""
        from .runnables import RunnableBinding

        return RunnableBinding(self, {}, {**(config or {}), **settings})

    def with_retry(
        self,
        *,
        retry_if_exception_type: tuple[type[BaseException], ...] = (Exception,),
        wait_exponential_jitter: bool = True,
        stop_after_attempt: int = 3,
    ) -> Runnable[Any, Any]:
        """The same step, which runs again after these exceptions, at most ``stop_after_attempt`` times in all.

        Calls of models are retried already; this is for other steps, and for the step as a whole.
        """
        from .runnables import RunnableRetry

        return RunnableRetry(self, retry_if_exception_type, wait_exponential_jitter, stop_after_attempt)

    def with_fallbacks(
        self,
        fallbacks: Sequence[Runnable[Any, Any]],
        *,
        exceptions_to_handle: tuple[type[BaseException], ...] = (Exception,),
        exception_key: str | None = None,
    ) -> Runnable[Any, Any]:
        """The same step, and the others in order if it fails with one of these exceptions."""
        from .runnables import RunnableWithFallbacks

        return RunnableWithFallbacks(self, list(fallbacks), exceptions_to_handle, exception_key)

    def map(self) -> Runnable[Any, Any]:
        """The step for each item of a list."""
        from .runnables import RunnableEach

        return RunnableEach(self)

    def pick(self, keys: str | list[str]) -> Runnable[Any, Any]:
        """The step, and of its output, a dict, one entry or some."""
        from .runnables import RunnablePick

        return self | RunnablePick(keys)

    def assign(self, **steps: Any) -> Runnable[Any, Any]:
        """The step, whose output, a dict, gets the outputs of other steps as well."""
        from .runnables import RunnablePassthrough

        return self | RunnablePassthrough.assign(**steps)


async def _close(pieces: Any) -> None:
    if hasattr(pieces, "aclose"):
        await pieces.aclose()


def _runs(inputs: Sequence[Any], config: Any) -> tuple[list[Run], int]:
    """The run of each input, and the maximum number of rows at once."""
    if isinstance(config, Sequence):
        if len(config) != len(inputs):
            raise ValueError(f"expected a config for each of {len(inputs)} inputs, got {len(config)}")
        runs = [run_of(each) for each in config]
    else:
        runs = [run_of(config)] * len(inputs)
    limits = [run.permits.limit for run in runs[:1] if run.permits is not None]
    return runs, min([DEFAULT_ROWS, *limits])


def coerced(value: Any) -> Runnable[Any, Any]:
    """A runnable, a function, or a dict of these, as a runnable."""
    if isinstance(value, Runnable):
        return value
    if isinstance(value, Mapping):
        return RunnableParallel(value)
    if inspect.isasyncgenfunction(value) or inspect.isgeneratorfunction(value):
        return RunnableGenerator(value)
    if callable(value):
        return RunnableLambda(value)
    from .._chain import Chain

    if isinstance(value, Chain):
        return _Engine(value)
    raise TypeError(f"expected a runnable, a function or a dict, got {type(value).__name__}")


class _Engine(Runnable[Any, Any]):
    """A chain of fanweave as a step."""

    def __init__(self, chain: Any) -> None:
        self._chain = chain

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> Any:
        return await self._chain.ainvoke(input, **run.options, **kwargs)

    async def _pieces(self, input: Any, run: Run, **kwargs: Any) -> AsyncIterator[Any]:
        async with self._chain.astream(input, **run.options, **kwargs) as pieces:
            async for piece in pieces:
                yield piece


class RunnableSequence(Runnable[Any, Any]):
    """Steps, each of which gets the output of the one before."""

    def __init__(self, *steps: Any) -> None:
        self.steps: list[Runnable[Any, Any]] = []
        for each in steps:
            made = coerced(each)
            self.steps.extend(made.steps if isinstance(made, RunnableSequence) else [made])
        if len(self.steps) < 2:
            raise ValueError(f"a sequence needs at least 2 steps, got {len(self.steps)}")

    @property
    def first(self) -> Runnable[Any, Any]:
        """The first step."""
        return self.steps[0]

    @property
    def middle(self) -> list[Runnable[Any, Any]]:
        """The steps between the first and the last."""
        return self.steps[1:-1]

    @property
    def last(self) -> Runnable[Any, Any]:
        """The last step."""
        return self.steps[-1]

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> Any:
        for i, each in enumerate(self.steps):
            input = await each._run(input, run, **(kwargs if i == 0 else {}))
        return input

    async def _pieces(self, input: Any, run: Run, **kwargs: Any) -> AsyncIterator[Any]:
        pieces = self.steps[0]._pieces(input, run, **kwargs)
        opened = [pieces]
        for each in self.steps[1:]:
            pieces = each._transformed(pieces, run)
            opened.append(pieces)
        try:
            async for piece in pieces:
                yield piece
        finally:
            for each_open in reversed(opened):
                await _close(each_open)

    async def _transformed(self, pieces: AsyncIterator[Any], run: Run, **kwargs: Any) -> AsyncIterator[Any]:
        for each in self.steps:
            pieces = each._transformed(pieces, run)
        async for piece in pieces:
            yield piece

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.steps))


class RunnableParallel(Runnable[Any, dict[str, Any]]):
    """Steps that run at once on the same input. The output is a dict of their outputs."""

    def __init__(self, steps: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        self.steps__ = {name: coerced(each) for name, each in {**(steps or {}), **named}.items()}

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> dict[str, Any]:
        outputs: dict[str, Any] = dict.fromkeys(self.steps__)
        names = list(self.steps__)

        def put(i: int, output: Any) -> None:
            outputs[names[i]] = output

        await rows(
            lambda i: self.steps__[names[i]]._run(input, run, **kwargs),
            len(names),
            max(1, len(names)),
            False,
            put,
        )
        return outputs

    async def _pieces(self, input: Any, run: Run, **kwargs: Any) -> AsyncIterator[Any]:
        ready: asyncio.Queue[Any] = asyncio.Queue(maxsize=64)

        async def read(name: str, each: Runnable[Any, Any]) -> None:
            pieces = each._pieces(input, run, **kwargs)
            try:
                async for piece in pieces:
                    await ready.put(AddableDict({name: piece}))
            finally:
                await _close(pieces)

        async def work() -> None:
            tasks = [asyncio.ensure_future(read(name, each)) for name, each in self.steps__.items()]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        working = asyncio.ensure_future(work())
        working.add_done_callback(lambda _: _wake(ready))
        try:
            while True:
                if working.done() and ready.empty():
                    working.result()
                    return
                piece = await ready.get()
                if piece is not None:
                    yield piece
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}: {each!r}" for name, each in self.steps__.items())
        return f"{{{inner}}}"


def _wake(ready: asyncio.Queue[Any]) -> None:
    if not ready.full():
        ready.put_nowait(None)


class AddableDict(dict[str, Any]):
    """A dict whose sum with another has the sums of their values."""

    def __add__(self, other: Mapping[str, Any]) -> AddableDict:
        total = AddableDict(self)
        for name, value in other.items():
            known = total.get(name)
            if known is None or value is None:
                total[name] = value if known is None else known
            else:
                total[name] = known + value
        return total


class RunnableLambda(Runnable[Any, Any]):
    """A function as a step. If it returns a runnable, that runs on the same input.

    A coroutine function runs on the loop of the run, any other on a thread. A function with a parameter ``config``
    gets that of the run.
    """

    def __init__(
        self, func: Callable[..., Any], afunc: Callable[..., Any] | None = None, name: str | None = None
    ) -> None:
        if not callable(func):
            raise TypeError(f"expected a function, got {type(func).__name__}")
        self.func = func
        self.afunc = afunc
        self.name = name or getattr(func, "__name__", type(func).__name__)

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> Any:
        function = self.afunc or self.func
        if takes(function, "config"):
            kwargs["config"] = dict(run.config)
        output = await call(function, run, input, **kwargs)
        return await output._run(input, run) if isinstance(output, Runnable) else output

    async def _pieces(self, input: Any, run: Run, **kwargs: Any) -> AsyncIterator[Any]:
        function = self.afunc or self.func
        if takes(function, "config"):
            kwargs["config"] = dict(run.config)
        output = await call(function, run, input, **kwargs)
        if not isinstance(output, Runnable):
            yield output
            return
        async for piece in output._pieces(input, run):
            yield piece

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.func(*args, **kwargs)

    def __repr__(self) -> str:
        return f"RunnableLambda({self.name})"


class RunnableGenerator(Runnable[Any, Any]):
    """A generator function, plain or async, from the pieces of an input to those of an output."""

    def __init__(self, transform: Callable[..., Any]) -> None:
        self._function = transform

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> Any:
        whole: Any = None
        async for piece in self._pieces(input, run, **kwargs):
            whole = piece if whole is None else whole + piece
        return whole

    async def _pieces(self, input: Any, run: Run, **kwargs: Any) -> AsyncIterator[Any]:
        async def one() -> AsyncIterator[Any]:
            yield input

        async for piece in self._transformed(one(), run, **kwargs):
            yield piece

    async def _transformed(self, pieces: AsyncIterator[Any], run: Run, **kwargs: Any) -> AsyncIterator[Any]:
        if inspect.isasyncgenfunction(self._function):
            async for piece in self._function(pieces, **kwargs):
                yield piece
            return
        read = [piece async for piece in pieces]
        for piece in await call(lambda: list(self._function(iter(read), **kwargs)), run):
            yield piece
