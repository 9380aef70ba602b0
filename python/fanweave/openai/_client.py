"""Clients: one whose calls block, and one whose calls are awaited."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import fanweave as fw

from ._base import APIResponse, BaseClient, Call
from ._exceptions import OpenAIError, Response, failure
from ._resources import (
    AsyncChat,
    AsyncCompletions,
    AsyncEmbeddings,
    AsyncModels,
    Chat,
    Completions,
    Embeddings,
    Models,
    RawResponses,
)
from ._streaming import AsyncStream, Stream

if TYPE_CHECKING:
    from types import TracebackType


class OpenAI(BaseClient):
    """A client whose calls block. It belongs to no thread and no event loop, and can be used after a fork.

    >>> client = OpenAI(api_key="..", timeout=30.0)
    >>> client.chat.completions.create(model="gpt-5-mini", messages=[..])  # doctest: +SKIP

    ``max_retries`` bounds the retries of a request, by default 5; waiting for the limits of the account does not count.
    ``timeout`` is that of one request with its answer in seconds. Keys, URLs, models with the same name share one limiter
    with all other clients of the process.
    """

    @cached_property
    def beta(self) -> Any:
        """``chat`` by the name that it had in older programs."""
        from ._resources import Beta

        return Beta(self)

    @cached_property
    def chat(self) -> Chat:
        """Chat completions."""
        return Chat(self)

    @cached_property
    def completions(self) -> Completions:
        """Completions of models without chat."""
        return Completions(self)

    @cached_property
    def embeddings(self) -> Embeddings:
        """Vectors of texts."""
        return Embeddings(self)

    @cached_property
    def models(self) -> Models:
        """The models that the key may use."""
        return Models(self)

    @cached_property
    def with_raw_response(self) -> RawResponses:
        """The same client, whose calls return answers with their status and headers."""
        return RawResponses(self)

    def _run(self, call: Call) -> Any:
        key = self._key if isinstance(self._key, str) else self._key()
        model, arguments, shown = self._prepared(call, key)
        began = time.perf_counter()
        try:
            if not call.is_stream:
                answer = model.send(**arguments)
                return self._answered(call, shown, answer, answer.body, began)
            chunks = model.stream(**arguments)
            answer = chunks.response()
            if answer.status >= 400:
                return self._answered(call, shown, answer, chunks.output(), began)
        except fw.CancelledError:
            raise
        except fw.Error as error:
            raise failure(error, shown) from error
        response = Response(answer.status, headers=answer.headers, request=shown)
        stream: Stream[Any] = Stream(response, call.cls, chunks)
        if call.is_raw:
            return APIResponse(response, call, answer.attempts, time.perf_counter() - began, stream)
        return stream

    def close(self) -> None:
        """Does nothing: connections belong to the process, and are closed when they have not been used for a while."""

    def is_closed(self) -> bool:
        """False: a client has nothing that is closed."""
        return False

    def __enter__(self) -> OpenAI:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncOpenAI(BaseClient):
    """A client whose calls are awaited. It belongs to no event loop: one client works in all of them.

    >>> client = AsyncOpenAI()
    >>> await client.chat.completions.create(model="gpt-5-mini", messages=[..])  # doctest: +SKIP

    Settings are those of ``OpenAI``. Cancelling the task that awaits a call closes its connection.
    """

    @cached_property
    def beta(self) -> Any:
        """``chat`` by the name that it had in older programs."""
        from ._resources import Beta

        return Beta(self)

    @cached_property
    def chat(self) -> AsyncChat:
        """Chat completions."""
        return AsyncChat(self)

    @cached_property
    def completions(self) -> AsyncCompletions:
        """Completions of models without chat."""
        return AsyncCompletions(self)

    @cached_property
    def embeddings(self) -> AsyncEmbeddings:
        """Vectors of texts."""
        return AsyncEmbeddings(self)

    @cached_property
    def models(self) -> AsyncModels:
        """The models that the key may use."""
        return AsyncModels(self)

    @cached_property
    def with_raw_response(self) -> RawResponses:
        """The same client, whose calls return answers with their status and headers."""
        return RawResponses(self)

    async def _run(self, call: Call) -> Any:
        key: Any = self._key
        if not isinstance(key, str):
            key = key()
            if inspect.isawaitable(key):
                key = await key
        model, arguments, shown = self._prepared(call, key)
        began = time.perf_counter()
        try:
            if not call.is_stream:
                answer = await model.asend(**arguments)
                return self._answered(call, shown, answer, answer.body, began)
            chunks = model.astream(**arguments)
            answer = await chunks.response()
            if answer.status >= 400:
                return self._answered(call, shown, answer, await chunks.output(), began)
        except fw.CancelledError:
            raise
        except fw.Error as error:
            raise failure(error, shown) from error
        response = Response(answer.status, headers=answer.headers, request=shown)
        stream: AsyncStream[Any] = AsyncStream(response, call.cls, chunks)
        if call.is_raw:
            return APIResponse(response, call, answer.attempts, time.perf_counter() - began, stream)
        return stream

    async def close(self) -> None:
        """Does nothing: connections belong to the process, and are closed when they have not been used for a while."""

    def is_closed(self) -> bool:
        """False: a client has nothing that is closed."""
        return False

    async def __aenter__(self) -> AsyncOpenAI:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class _Azure(BaseClient):
    """What the two clients of Azure share."""

    def __init__(
        self,
        *,
        azure_endpoint: str | None = None,
        azure_deployment: str | None = None,
        api_version: str | None = None,
        api_key: Any = None,
        azure_ad_token: str | None = None,
        azure_ad_token_provider: Any = None,
        base_url: str | None = None,
        default_query: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        version = api_version or os.environ.get("OPENAI_API_VERSION")
        if not version:
            raise OpenAIError("no API version: pass api_version, or set the variable OPENAI_API_VERSION")
        endpoint = azure_endpoint or os.environ.get("AZURE_OPENAI_ENDPOINT")
        if base_url is None and not endpoint:
            raise OpenAIError("no endpoint: pass azure_endpoint, or set the variable AZURE_OPENAI_ENDPOINT")
        token = azure_ad_token or azure_ad_token_provider or os.environ.get("AZURE_OPENAI_AD_TOKEN")
        key = api_key if api_key is not None else os.environ.get("AZURE_OPENAI_API_KEY")
        if not key and not token:
            raise OpenAIError(
                "no API key: pass api_key or azure_ad_token, or set the variable AZURE_OPENAI_API_KEY"
            )
        self._has_token = not key
        self._deployment = azure_deployment
        self._has_path = base_url is not None
        self._version = version
        url = base_url if base_url is not None else f"{(endpoint or '').rstrip('/')}/openai"
        query = {"api-version": version, **(default_query or {})}
        super().__init__(api_key=key or token, base_url=url, default_query=query, **settings)

    def _settings(self) -> dict[str, Any]:
        own = super()._settings()
        key = own.pop("api_key")
        own["base_url" if self._has_path else "azure_endpoint"] = (
            self._url if self._has_path else self._url.removesuffix("/openai")
        )
        if not self._has_path:
            del own["base_url"]
        if not self._has_token:
            own["api_key"] = key
        else:
            own["azure_ad_token" if isinstance(key, str) else "azure_ad_token_provider"] = key
        return {**own, "azure_deployment": self._deployment, "api_version": self._version}

    def _address(self, call: Call) -> tuple[str, str]:
        deployment = self._deployment or call.body.get("model")
        if self._has_path or deployment is None or call.method == "GET":
            return self._url, call.path
        return f"{self._url}/deployments/{deployment}", call.path

    def _provider(self) -> str:
        # Keys of Azure have a header of their own, tokens that of OpenAI.
        return "openai" if self._has_token else "azure"


class AzureOpenAI(_Azure, OpenAI):
    """A client for OpenAI's models at Azure, whose calls block. ``model`` is the name of the deployment."""


class AsyncAzureOpenAI(_Azure, AsyncOpenAI):
    """A client for OpenAI's models at Azure, whose calls are awaited. ``model`` is the name of the deployment."""
