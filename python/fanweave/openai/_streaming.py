"""Streams of server-sent events."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import fanweave as fw

from ._exceptions import APIConnectionError, APIError, Response, failure
from ._object import Object

if TYPE_CHECKING:
    from types import TracebackType

T = TypeVar("T", bound=Object)

# A choice that has ended. Servers that never send the end marker send this.
_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"')
_BREAK = re.compile(rb"\r\n|\r|\n")


class Events:
    """The data of the events of a stream, from its bytes."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that are complete."""
        rest = self._rest + chunk
        # A line break of two characters may be cut in two.
        held = b"\r" if rest.endswith(b"\r") else b""
        lines = _BREAK.split(rest[: len(rest) - len(held)])
        self._rest = lines.pop() + held
        events = []
        for line in lines:
            if not line:
                if self._data:
                    events.append(b"\n".join(self._data))
                    self._data = []
            elif line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        return events

    def end(self) -> list[bytes]:
        """The data of the last event, if no empty line follows it."""
        return self.feed(b"\n\n")


class _Stream(Generic[T]):
    """What the two kinds of streams share: events that are ready, and how the answer ends."""

    response: Response
    """Status and headers of the answer."""

    def __init__(self, response: Response, cls: type[T]) -> None:
        self.response = response
        self._cls = cls
        self._events = Events()
        self._ready: list[bytes] = []
        self._is_done = False
        self._has_finished = False

    def _feed(self, chunk: bytes | None) -> None:
        ready = self._events.end() if chunk is None else self._events.feed(chunk)
        ready.reverse()
        self._ready = ready

    def _next(self) -> T | None:
        """The next object that is ready."""
        while self._ready:
            data = self._ready.pop()
            if data.startswith(b"[DONE]"):
                self._is_done = True
                return None
            if b'"error"' in data:
                self._check(data)
            if not self._has_finished and _FINISHED.search(data):
                self._has_finished = True
            made: T = self._cls._read(data, self.response.headers.get("x-request-id"))
            return made
        return None

    def _check(self, data: bytes) -> None:
        """Raises the error of an event that is one."""
        try:
            value = json.loads(data)
        except ValueError:
            return
        error = value.get("error") if isinstance(value, dict) else None
        if error:
            said = error.get("message") if isinstance(error, dict) else error
            message = said if isinstance(said, str) and said else "An error occurred during streaming"
            raise APIError(message, self.response.request, body=error)

    def _ended(self) -> None:
        """Raises an error if the answer ended before it was complete."""
        self._is_done = True
        if not self._has_finished:
            message = "Connection error: the stream ended before the answer was complete"
            raise APIConnectionError(message=message, request=self.response.request)


class Stream(_Stream[T], Iterator[T]):
    """The chunks of an answer as they arrive. Closing or dropping it closes the connection."""

    def __init__(self, response: Response, cls: type[T], chunks: Any) -> None:
        super().__init__(response, cls)
        self._chunks = chunks

    def __iter__(self) -> Stream[T]:
        return self

    def __next__(self) -> T:
        while not self._is_done:
            made = self._next()
            if made is not None:
                return made
            if self._is_done:
                break
            try:
                chunk = next(self._chunks, None)
            except fw.Error as error:
                self._is_done = True
                raise failure(error, self.response.request) from error
            self._feed(chunk)
            if chunk is None and not self._ready:
                self._ended()
        self.close()
        raise StopIteration

    def close(self) -> None:
        """Closes the connection."""
        self._is_done = True
        self._ready = []
        self._chunks.close()

    def __enter__(self) -> Stream[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncStream(_Stream[T], AsyncIterator[T]):
    """The chunks of an answer as they arrive. Closing or dropping it closes the connection."""

    def __init__(self, response: Response, cls: type[T], chunks: Any) -> None:
        super().__init__(response, cls)
        self._chunks = chunks

    def __aiter__(self) -> AsyncStream[T]:
        return self

    async def __anext__(self) -> T:
        while not self._is_done:
            made = self._next()
            if made is not None:
                return made
            if self._is_done:
                break
            try:
                chunk = await anext(self._chunks, None)
            except fw.Error as error:
                self._is_done = True
                raise failure(error, self.response.request) from error
            self._feed(chunk)
            if chunk is None and not self._ready:
                self._ended()
        await self.close()
        raise StopAsyncIteration

    async def close(self) -> None:
        """Closes the connection."""
        self._is_done = True
        self._ready = []
        await self._chunks.aclose()

    async def aclose(self) -> None:
        """Closes the connection."""
        await self.close()

    async def __aenter__(self) -> AsyncStream[T]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
