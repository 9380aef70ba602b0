"""Streams, events and rows: iterators over a run in progress."""

from __future__ import annotations

# `collections` takes longer to load than all of this package.
from _collections_abc import AsyncIterable, AsyncIterator, Iterator
from time import monotonic

from . import _core, _loops
from ._core import END, WAIT

# `typing` takes longer to load than all of this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Any

# An async iterator that always has something to take lets other tasks run after so many pieces or seconds.
PIECES_A_TURN = 64
SECONDS_A_TURN = 0.002


async def _wait(reader: Any) -> None:
    """Waits until the reader has something to take."""
    bridge = _loops.bridge()
    future, number = reader.wait(bridge)
    try:
        await future
    except BaseException:
        bridge.cancel(number)
        raise


class Stream(Iterator):
    """The pieces of an answer as they arrive. Closing or dropping it ends the call and closes its socket.

    >>> from fanweave.testing import echo
    >>> with (echo() | fw.text()).stream("one two") as pieces:
    ...     list(pieces), pieces.output()
    (['one ', 'two'], 'one two')
    """

    __slots__ = ("_finish", "_reader")

    def __class_getitem__(cls, _: Any) -> type[Stream]:
        return cls

    def __init__(self, reader: _core.Reader) -> None:
        self._reader = reader
        # Makes the output of the caller's.
        self._finish: Any = None

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Any:
        while True:
            piece = self._reader.take()
            if piece is END:
                raise StopIteration
            if piece is not WAIT:
                return piece
            self._reader.wait_blocking()

    def output(self) -> Any:
        """Reads the rest and returns the whole output."""
        for _ in self:
            pass
        output = self._reader.output()
        return output if self._finish is None else self._finish(output)

    def close(self) -> None:
        """Ends the call and closes its socket."""
        self._reader.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncStream(AsyncIterator):
    """The pieces of an answer as they arrive. Closing or dropping it ends the call and closes its socket.

    The call starts with the first piece that is awaited.

    >>> import asyncio
    >>> from fanweave.testing import echo
    >>> async def read():
    ...     async with (echo() | fw.text()).astream("one two") as pieces:
    ...         return [piece async for piece in pieces]
    >>> asyncio.run(read())
    ['one ', 'two']
    """

    __slots__ = ("_finish", "_pieces", "_reader", "_since", "_start")

    def __class_getitem__(cls, _: Any) -> type[AsyncStream]:
        return cls

    def __init__(self, start: Any) -> None:
        self._start = start
        # Makes the output of the caller's.
        self._finish: Any = None
        self._reader: _core.Reader | None = None
        self._pieces = 0
        self._since = 0.0

    def __aiter__(self) -> AsyncStream:
        return self

    def _started(self) -> _core.Reader:
        reader = self._reader
        if reader is None:
            reader = self._reader = self._start()
            self._start = None
        return reader

    async def __anext__(self) -> Any:
        reader = self._reader or self._started()
        # Lets other tasks run. Without a coroutine of its own, because this runs for each piece.
        if self._pieces == 0:
            self._since = monotonic()
        elif self._pieces >= PIECES_A_TURN or monotonic() - self._since > SECONDS_A_TURN:
            from asyncio import sleep

            self._pieces = -1
            await sleep(0)
        self._pieces += 1
        while True:
            piece = reader.take()
            if piece is END:
                raise StopAsyncIteration
            if piece is not WAIT:
                return piece
            await _wait(reader)
            self._pieces = 0

    async def output(self) -> Any:
        """Reads the rest and returns the whole output."""
        async for _ in self:
            pass
        output = self._started().output()
        return output if self._finish is None else self._finish(output)

    async def aclose(self) -> None:
        """Ends the call and closes its socket."""
        self._started().close()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class Row:
    """The result of one input of many.

    >>> rows = list(fw.step(int).rows(["7", "seven"]))
    >>> rows[0].unwrap(), type(rows[1].error).__name__
    (7, 'ValueError')
    """

    __slots__ = ("error", "index", "output")

    def __class_getitem__(cls, _: Any) -> type[Row]:
        return cls

    def __init__(self, index: int, output: Any, error: BaseException | None) -> None:
        self.index = index
        self.output = output
        self.error = error

    def unwrap(self) -> Any:
        """The output. Raises the error of a row that failed."""
        if self.error is not None:
            raise self.error
        return self.output

    def __repr__(self) -> str:
        result = repr(self.output) if self.error is None else f"error={self.error!r}"
        return f"Row({self.index}, {result})"


def _row(taken: tuple[int, bool, Any]) -> Row:
    index, is_ok, result = taken
    return Row(index, result, None) if is_ok else Row(index, None, result)


class Rows(Iterator):
    """The rows of a batch. Inputs are taken as rows come free. Closing or dropping it ends the rows in flight."""

    __slots__ = ("_failure", "_inputs", "_rows")

    def __class_getitem__(cls, _: Any) -> type[Rows]:
        return cls

    def __init__(self, rows: _core.Rows, inputs: Iterable[Any]) -> None:
        self._rows = rows
        # The error of the inputs, raised after the rows before it.
        self._failure: BaseException | None = None
        self._inputs: Iterator[Any] | None = iter(inputs)

    def __iter__(self) -> Rows:
        return self

    def __next__(self) -> Row:
        while True:
            while self._inputs is not None and self._rows.has_room():
                try:
                    self._rows.start(next(self._inputs))
                except StopIteration:
                    self._inputs = None
                except Exception as error:
                    self._inputs, self._failure = None, error
            taken = self._rows.take()
            if taken is not WAIT:
                return _row(taken)
            if self._rows.left() == 0:
                if self._failure is not None:
                    failure, self._failure = self._failure, None
                    raise failure
                raise StopIteration
            self._rows.wait_blocking()

    def close(self) -> None:
        """Ends the rows in flight."""
        self._inputs = None
        self._rows.close()

    def __enter__(self) -> Rows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncRows(AsyncIterator):
    """The rows of a batch. Inputs are taken as rows come free. Closing or dropping it ends the rows in flight."""

    __slots__ = ("_failure", "_inputs", "_next_input", "_rows", "_source", "_start")

    def __class_getitem__(cls, _: Any) -> type[AsyncRows]:
        return cls

    def __init__(self, start: Any, inputs: Iterable[Any] | AsyncIterable[Any]) -> None:
        self._start = start
        self._rows: _core.Rows | None = None
        # The error of the inputs, raised after the rows before it.
        self._failure: BaseException | None = None
        self._source: AsyncIterator[Any] | None = None
        self._inputs: Iterator[Any] | None = None
        # The task that waits for the next input of an async iterator.
        self._next_input: Any = None
        if isinstance(inputs, AsyncIterable):
            self._source = aiter(inputs)
        else:
            self._inputs = iter(inputs)

    def __aiter__(self) -> AsyncRows:
        return self

    async def __anext__(self) -> Row:
        if self._rows is None:
            self._rows = self._start()
        rows = self._rows
        while True:
            self._fill(rows)
            taken = rows.take()
            if taken is not WAIT:
                return _row(taken)
            if rows.left() == 0 and self._source is None:
                if self._failure is not None:
                    failure, self._failure = self._failure, None
                    raise failure
                raise StopAsyncIteration
            await self._wait(rows)

    def _fill(self, rows: _core.Rows) -> None:
        """Starts rows for inputs that are there."""
        while self._inputs is not None and rows.has_room():
            try:
                rows.start(next(self._inputs))
            except StopIteration:
                self._inputs = None
            except Exception as error:
                self._inputs, self._failure = None, error
        if self._source is not None and rows.has_room() and self._next_input is None:
            from asyncio import ensure_future

            self._next_input = ensure_future(_next_of(self._source))

    async def _wait(self, rows: _core.Rows) -> None:
        """Waits for a row, or for an input if another row can start."""
        if self._next_input is None:
            await _wait(rows)
            return
        from asyncio import FIRST_COMPLETED, wait

        bridge = _loops.bridge()
        future, number = rows.wait(bridge)
        try:
            await wait([future, self._next_input], return_when=FIRST_COMPLETED)
        finally:
            bridge.cancel(number)
        if self._next_input.done():
            task, self._next_input = self._next_input, None
            try:
                found = task.result()
                if found is not END:
                    rows.start(found)
                    return
            except Exception as error:
                self._failure = error
            self._source = None

    async def aclose(self) -> None:
        """Ends the rows in flight."""
        self._inputs = self._source = None
        if self._next_input is not None:
            self._next_input.cancel()
            self._next_input = None
        if self._rows is not None:
            self._rows.close()

    async def __aenter__(self) -> AsyncRows:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


async def _next_of(source: AsyncIterator[Any]) -> Any:
    try:
        return await anext(source)
    except StopAsyncIteration:
        return END
