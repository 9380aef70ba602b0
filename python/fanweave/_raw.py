"""Requests that are sent as they are, and answers as bytes, through the limits and retries of the account."""

from __future__ import annotations

from . import _core, _loops
from ._client import prepared
from ._stream import AsyncStream, Stream

# `typing` takes longer to load than all of this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from typing_extensions import Unpack

    from ._core import RawResponse
    from ._types import ConnectionSettings, RunOptions


class RawModel:
    """A model for requests in the provider's own form. ``raw_model`` makes it.

    Requests go through the limits, retries, timeouts and connections of the account, and are never changed. ``path`` begins
    with ``/`` and is appended to the base URL. ``body`` is bytes, a text, or a value that is sent as JSON; without one, the
    method is ``GET``. ``max_tokens`` are the output tokens that the body asks for, so that a limit of tokens per minute
    counts them.

    An answer with an error status raises the error of its kind, once retries have ended; with ``return_errors=True`` it is
    returned, with at most 64 KiB of its body and without keys. Failures without an answer are raised.

    >>> from fanweave.testing import sim
    >>> with sim() as provider:
    ...     model = fw.raw_model("openai/gpt-5-mini", base_url=provider.url, api_key="any")
    ...     body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}]}
    ...     model.send("/chat/completions", body).status
    200
    """

    __slots__ = ("_engine", "_settings", "name")

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        self._engine = _core.raw_model(name, prepared(name, settings))
        self.name = name
        self._settings = settings

    def send(
        self,
        path: str,
        body: Any = None,
        *,
        method: str | None = None,
        headers: Mapping[str, str] | list[tuple[str, str]] | None = None,
        max_tokens: int | None = None,
        return_errors: bool = False,
        **options: Unpack[RunOptions],
    ) -> RawResponse:
        """Sends a request and waits for the whole answer."""
        method = method or _method(body)
        answer: RawResponse = _loops.run_blocking(
            self._engine.send(method, path, body, headers, max_tokens, return_errors, options or None)
        )
        return answer

    async def asend(
        self,
        path: str,
        body: Any = None,
        *,
        method: str | None = None,
        headers: Mapping[str, str] | list[tuple[str, str]] | None = None,
        max_tokens: int | None = None,
        return_errors: bool = False,
        **options: Unpack[RunOptions],
    ) -> RawResponse:
        """Sends a request and waits for the whole answer. Cancelling the task closes its socket."""
        method = method or _method(body)
        answer: RawResponse = await _loops.run(
            self._engine.send(method, path, body, headers, max_tokens, return_errors, options or None)
        )
        return answer

    def stream(
        self,
        path: str,
        body: Any = None,
        *,
        method: str | None = None,
        headers: Mapping[str, str] | list[tuple[str, str]] | None = None,
        max_tokens: int | None = None,
        return_errors: bool = False,
        **options: Unpack[RunOptions],
    ) -> RawStream:
        """Sends a request and yields the bytes of the answer as they arrive.

        The body must ask the provider for a stream as well. A stream that breaks before its first bytes is retried.
        """
        _loops.warn_if_blocked()
        _loops.keep_keys()
        method = method or _method(body)
        return RawStream(
            self._engine.stream(method, path, body, headers, max_tokens, return_errors, options or None)
        )

    def astream(
        self,
        path: str,
        body: Any = None,
        *,
        method: str | None = None,
        headers: Mapping[str, str] | list[tuple[str, str]] | None = None,
        max_tokens: int | None = None,
        return_errors: bool = False,
        **options: Unpack[RunOptions],
    ) -> AsyncRawStream:
        """Like ``stream``, for ``async for``. The request is sent with the first thing that is awaited."""
        method = method or _method(body)

        def start() -> _core.Reader:
            # Connects the loop, which also keeps the functions of keys running.
            _loops.bridge()
            return self._engine.stream(
                method, path, body, headers, max_tokens, return_errors, options or None
            )

        return AsyncRawStream(start)

    def __reduce__(self) -> tuple[Any, ...]:
        return RawModel, (self.name, self._settings)

    def __repr__(self) -> str:
        return f"RawModel({self.name})"


def _method(body: Any) -> str:
    return "GET" if body is None else "POST"


class RawStream(Stream[bytes, bytes]):
    """The bytes of an answer as they arrive. Closing or dropping it ends the request and closes its socket.

    >>> from fanweave.testing import sim
    >>> with sim() as provider:
    ...     raw = fw.raw_model("openai/gpt-5-mini", base_url=provider.url, api_key="any")
    ...     body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    ...     with raw.stream("/chat/completions", body) as chunks:
    ...         b"".join(chunks).rstrip().endswith(b"[DONE]")
    True
    """

    __slots__ = ("_response",)

    def __init__(self, reader: _core.Reader) -> None:
        super().__init__(reader)
        self._response: RawResponse | None = None

    def response(self) -> RawResponse:
        """Status and headers of the answer, once they have arrived. The body is not in it."""
        if self._response is None:
            head: Any = super().__next__()
            self._response = head
        return self._response

    def __next__(self) -> bytes:
        self.response()
        return super().__next__()

    def output(self) -> bytes:
        """Reads the rest and returns it."""
        return b"".join(self)


class AsyncRawStream(AsyncStream[bytes, bytes]):
    """The bytes of an answer as they arrive. Closing or dropping it ends the request and closes its socket.

    >>> import asyncio
    >>> from fanweave.testing import sim
    >>> async def size(raw, body):
    ...     return sum([len(chunk) async for chunk in raw.astream("/chat/completions", body)])
    >>> with sim() as provider:
    ...     raw = fw.raw_model("openai/gpt-5-mini", base_url=provider.url, api_key="any")
    ...     body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    ...     asyncio.run(size(raw, body)) > 0
    True
    """

    __slots__ = ("_response",)

    def __init__(self, start: Any) -> None:
        super().__init__(start)
        self._response: RawResponse | None = None

    async def response(self) -> RawResponse:
        """Status and headers of the answer, once they have arrived. The body is not in it."""
        if self._response is None:
            head: Any = await super().__anext__()
            self._response = head
        return self._response

    async def __anext__(self) -> bytes:
        if self._response is None:
            await self.response()
        return await super().__anext__()

    async def output(self) -> bytes:
        """Reads the rest and returns it."""
        return b"".join([piece async for piece in self])


def raw_model(name: str, /, **settings: Unpack[ConnectionSettings]) -> RawModel:
    """A model for requests in the provider's own form, with the settings of ``model``.

    ``name`` and the settings say whose limits apply and where requests are sent; the model that answers is the one that the
    body of a request names. Raises ``ConfigError`` for an unknown provider or a parameter such as ``temperature``, and
    ``AuthenticationError`` for a missing key.

    >>> from fanweave.testing import sim
    >>> with sim() as provider:
    ...     raw = fw.raw_model("openai/gpt-5-mini", base_url=provider.url, api_key="any")
    ...     body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}]}
    ...     raw.send("/chat/completions", body).status
    200
    """
    return RawModel(name, dict(settings))
