"""Transports for the clients of ``httpx`` and ``httpx2``, which the official SDKs use.

import httpx2
from openai import AsyncOpenAI
from fanweave.integrations.httpx import AsyncTransport

client = AsyncOpenAI(http_client=httpx2.AsyncClient(transport=AsyncTransport(rpm=500)), max_retries=0)

A request to a model goes through the limits, retries and connections of its account, which base URL, key and model make.
It is sent as it is. All other requests go through a plain transport of the same package, without limits.
"""

from __future__ import annotations

import functools
import json
import re
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import fanweave as fw

from .. import _core

if TYPE_CHECKING:
    from types import TracebackType

    from .._raw import RawModel

__all__ = ["AsyncTransport", "Transport"]

# Endpoints of models, which are appended to the base URL.
_ENDPOINT = re.compile(
    r"(/v1/messages|/chat/completions|/completions|/embeddings|/responses|/moderations|/api/chat|/api/embed"
    r"|/models/(?P<model>[^/]+):(?P<verb>\w+))$"
)

# Headers that hold a key, and the provider whose models are sent with it.
_KEYS = {"x-api-key": "anthropic", "api-key": "azure", "x-goog-api-key": "gemini"}

# Headers of the connection. The engine decompresses answers itself.
_NOT_SENT = frozenset(["accept-encoding", "connection", "content-length", "host", "transfer-encoding"])

# Seconds for requests without a time-out.
_NO_LIMIT = 7 * 24 * 3600.0

# Maximum models that are kept: each URL, key, model and time-out is one.
_MAX_MODELS = 256


class _Target(NamedTuple):
    """Where a request goes."""

    provider: str
    base_url: str
    path: str
    key: str
    model: str
    is_stream: bool
    max_tokens: int | None
    headers: list[tuple[str, str]]
    # Those that an SDK sends with each request. They are converted once, for the model.
    common: tuple[tuple[str, str], ...]


class _Headers(NamedTuple):
    """The headers of a request: where its key belongs, its key, and those that are sent."""

    provider: str
    key: str
    headers: list[tuple[str, str]]
    common: tuple[tuple[str, str], ...]


# SDKs send the same headers with many requests.
@functools.lru_cache(maxsize=256)
def _read_headers(raw: tuple[tuple[bytes, bytes], ...]) -> _Headers:
    provider, key = "openai", ""
    headers: list[tuple[str, str]] = []
    common: list[tuple[str, str]] = []
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name.startswith("x-stainless-") or name == "user-agent":
            common.append((name, value))
        elif name in _NOT_SENT:
            continue
        elif name in _KEYS:
            provider, key = _KEYS[name], value
        elif name == "authorization" and value[:7].lower() == "bearer ":
            key = value[7:]
        else:
            headers.append((name, value))
    return _Headers(provider, key, headers, tuple(common))


def _read_body(content: bytes) -> tuple[str | None, bool, int | None] | None:
    """The model of a body, whether it asks for a stream, and its limit of output tokens. None if it is not an object."""
    read = _core.request_fields(content)
    if read is not None:
        return read
    try:
        body = json.loads(content)
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    limits = (body.get(name) for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"))
    limit = next((limit for limit in limits if isinstance(limit, int) and limit > 0), None)
    model = body.get("model")
    return None if model is None else str(model), body.get("stream") is True, limit


def _target(request: Any, content: bytes) -> _Target | None:
    """The target of a request, or None if it is not one to a model."""
    url = request.url
    raw_path: bytes = url.raw_path
    path, _, query = raw_path.decode("ascii").partition("?")
    found = _ENDPOINT.search(path)
    if found is None or request.method != "POST":
        return None
    body = _read_body(content)
    if body is None:
        return None
    provider, key, headers, common = _read_headers(tuple(request.headers.raw))
    # Without a key, that of the environment would be sent.
    if not key:
        return None
    model, is_stream, limit = body
    return _Target(
        provider=provider,
        base_url=f"{url.scheme}://{url.netloc.decode('ascii')}{path[: found.start()]}",
        path=found[0] + (f"?{query}" if query else ""),
        key=key,
        model=found["model"] or model or "default",
        is_stream=is_stream or found["verb"] == "streamGenerateContent",
        max_tokens=limit,
        headers=headers,
        common=common,
    )


class _Base:
    """The models of a transport."""

    def __init__(
        self,
        *,
        rpm: int | None = None,
        tpm: int | None = None,
        concurrency: int | None = None,
        max_retries: int | None = None,
        proxy: str | bool | None = None,
    ) -> None:
        for name, value in (
            ("rpm", rpm),
            ("tpm", tpm),
            ("concurrency", concurrency),
            ("max_retries", max_retries),
        ):
            least = 0 if name == "max_retries" else 1
            if value is not None and (type(value) is not int or value < least):
                raise fw.ConfigError(
                    f"{name} must be an integer of at least {least} (got {value!r})", kind="config"
                )
        self._limits = {"rpm": rpm, "tpm": tpm, "concurrency": concurrency, "retries": max_retries}
        self._proxy = proxy
        self._lock = threading.Lock()
        self._models: dict[Any, RawModel] = {}
        self._clients: dict[Any, Any] = {}
        self._plain: Any = None

    def _model(self, target: _Target, timeout: dict[str, Any]) -> RawModel:
        connect, read = timeout.get("connect"), timeout.get("read")
        key = (*target[:2], target.key, target.model, target.common, connect, read)
        with self._lock:
            found = self._models.get(key)
            if found is None:
                if len(self._models) >= _MAX_MODELS:
                    self._models.clear()
                settings: dict[str, Any] = {
                    name: value for name, value in self._limits.items() if value is not None
                }
                found = self._models[key] = fw.raw_model(
                    f"{target.provider}/{target.model}",
                    base_url=target.base_url,
                    api_key=target.key,
                    headers=dict(target.common),
                    client=self._client(connect, read),
                    **settings,
                )
        return found

    def _client(self, connect: float | None, read: float | None) -> Any:
        found = self._clients.get((connect, read))
        if found is None:
            settings: dict[str, Any] = {"timeout": _NO_LIMIT, "connect": connect or _NO_LIMIT}
            settings.update(first_byte=read or _NO_LIMIT, idle=read or _NO_LIMIT)
            if self._proxy is not None:
                settings["proxy"] = self._proxy
            found = self._clients[connect, read] = fw.Client(**settings)
        return found

    def _arguments(self, target: _Target, content: bytes, timeout: dict[str, Any]) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "path": target.path,
            "body": content,
            "method": "POST",
            "headers": target.headers,
            "max_tokens": target.max_tokens,
            "return_errors": True,
        }
        # Waiting for limits, and for the end of an outage, is waiting for a connection.
        pool, read = timeout.get("pool"), timeout.get("read")
        if pool is not None and read is not None and not target.is_stream:
            arguments["timeout"] = pool + read
        return arguments


def _package(request: Any) -> Any:
    """The package whose client sends a request: ``httpx`` or ``httpx2``."""
    return sys.modules[type(request).__module__.partition(".")[0]]


def _headers(head: Any) -> list[tuple[str, str]]:
    headers = [(name, value) for name, value in head.headers if name != "x-should-retry"]
    if head.status >= 400:
        # The engine has retried: SDKs obey this header.
        headers.append(("x-should-retry", "false"))
    return headers


def _failure(package: Any, error: fw.Error, request: Any) -> Exception:
    """The exception of the package for one of the engine. That of an outage is that of its last failure."""
    shown = str(error)
    if isinstance(error, fw.UnavailableError) and isinstance(error.__cause__, fw.Error):
        error = error.__cause__
    if isinstance(error, fw.TimeoutError):
        cls = package.ReadTimeout
    elif isinstance(error, fw.StreamIncompleteError):
        cls = package.RemoteProtocolError
    elif isinstance(error, (fw.ConfigError, fw.InputError)):
        cls = package.LocalProtocolError
    elif isinstance(error, fw.ConnectionError):
        cls = package.ConnectError
    else:
        cls = package.NetworkError
    made: Exception = cls(shown, request=request)
    return made


@functools.lru_cache(maxsize=8)
def _stream_class(package: Any) -> Any:
    class Body(package.SyncByteStream):  # type: ignore[misc]
        def __init__(self, chunks: Any, request: Any) -> None:
            self._chunks = chunks
            self._request = request

        def __iter__(self) -> Iterator[bytes]:
            try:
                yield from self._chunks
            except fw.Error as error:
                raise _failure(package, error, self._request) from error

        def close(self) -> None:
            self._chunks.close()

    return Body


@functools.lru_cache(maxsize=8)
def _async_stream_class(package: Any) -> Any:
    class Body(package.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, chunks: Any, request: Any) -> None:
            self._chunks = chunks
            self._request = request

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for chunk in self._chunks:
                    yield chunk
            except fw.Error as error:
                raise _failure(package, error, self._request) from error

        async def aclose(self) -> None:
            await self._chunks.aclose()

    return Body


class Transport(_Base):
    """A transport for ``httpx.Client`` and ``httpx2.Client``.

    ``rpm``, ``tpm`` and ``concurrency`` are limits of each account, ``max_retries`` bounds the retries of a request, and
    ``proxy`` is the URL of a proxy, or False for none; by default that of the environment is used. Give the SDK
    ``max_retries=0``: an answer tells it not to retry, but it does after failures of the connection.
    """

    def handle_request(self, request: Any) -> Any:
        """Sends a request."""
        package = _package(request)
        content = request.read()
        target = _target(request, content)
        if target is None:
            if self._plain is None:
                self._plain = package.HTTPTransport()
            return self._plain.handle_request(request)
        timeout = request.extensions.get("timeout") or {}
        try:
            model = self._model(target, timeout)
            arguments = self._arguments(target, content, timeout)
            if not target.is_stream:
                answer = model.send(**arguments)
                return package.Response(answer.status, headers=_headers(answer), content=answer.body)
            chunks = model.stream(**arguments)
            head = chunks.response()
        except fw.CancelledError:
            raise
        except fw.Error as error:
            raise _failure(package, error, request) from error
        return package.Response(
            head.status, headers=_headers(head), stream=_stream_class(package)(chunks, request)
        )

    def close(self) -> None:
        """Closes the connections of requests that are not to models. All others belong to the process."""
        if self._plain is not None:
            self._plain.close()
            self._plain = None

    def __enter__(self) -> Transport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncTransport(_Base):
    """A transport for ``httpx.AsyncClient`` and ``httpx2.AsyncClient``. Settings are those of ``Transport``.

    It belongs to no event loop.
    """

    async def handle_async_request(self, request: Any) -> Any:
        """Sends a request. Cancelling the task closes its connection."""
        package = _package(request)
        content = await request.aread()
        target = _target(request, content)
        if target is None:
            if self._plain is None:
                self._plain = package.AsyncHTTPTransport()
            return await self._plain.handle_async_request(request)
        timeout = request.extensions.get("timeout") or {}
        try:
            model = self._model(target, timeout)
            arguments = self._arguments(target, content, timeout)
            if not target.is_stream:
                answer = await model.asend(**arguments)
                return package.Response(answer.status, headers=_headers(answer), content=answer.body)
            chunks = model.astream(**arguments)
            head = await chunks.response()
        except fw.CancelledError:
            raise
        except fw.Error as error:
            raise _failure(package, error, request) from error
        return package.Response(
            head.status, headers=_headers(head), stream=_async_stream_class(package)(chunks, request)
        )

    async def aclose(self) -> None:
        """Closes the connections of requests that are not to models. All others belong to the process."""
        if self._plain is not None:
            await self._plain.aclose()
            self._plain = None

    async def __aenter__(self) -> AsyncTransport:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
