"""The interface of the package ``openai``: put ``fanweave.`` before its name in the import line.

from fanweave.openai import AsyncOpenAI

Requests are sent as they are, through the limits, retries and connections of the engine. Answers are those of the
provider, with the attributes of the official classes, and exceptions have the official names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import types
from ._base import (
    DEFAULT_MAX_RETRIES,
    DEFAULT_TIMEOUT,
    NOT_GIVEN,
    APIResponse,
    NotGiven,
    Omit,
    not_given,
    omit,
)
from ._client import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI
from ._exceptions import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ContentFilterFinishReasonError,
    InternalServerError,
    LengthFinishReasonError,
    NotFoundError,
    OpenAIError,
    PermissionDeniedError,
    RateLimitError,
    UnprocessableEntityError,
)
from ._object import Object as BaseModel
from ._parsing import pydantic_function_tool
from ._streaming import AsyncStream, Stream

Client = OpenAI
AsyncClient = AsyncOpenAI

# Settings of the client that `openai.chat`, `openai.completions`, `openai.embeddings` and `openai.models` use.
api_key: str | None = None
organization: str | None = None
project: str | None = None
base_url: str | None = None
timeout: float | None = DEFAULT_TIMEOUT
max_retries: int = DEFAULT_MAX_RETRIES
default_headers: dict[str, str] | None = None
default_query: dict[str, Any] | None = None

if TYPE_CHECKING:
    from ._resources import Chat, Completions, Embeddings, Models

    chat: Chat
    completions: Completions
    embeddings: Embeddings
    models: Models

_client: tuple[dict[str, Any], OpenAI] | None = None


def _module_client() -> OpenAI:
    """The client of the settings above."""
    global _client
    settings: dict[str, Any] = {
        "api_key": api_key,
        "organization": organization,
        "project": project,
        "base_url": base_url,
        "timeout": timeout,
        "max_retries": max_retries,
        "default_headers": default_headers,
        "default_query": default_query,
    }
    if _client is None or _client[0] != settings:
        _client = settings, OpenAI(**settings)
    return _client[1]


# The clients of httpx that the official package makes.
_CLIENTS = ("DefaultAioHttpClient", "DefaultAsyncHttpxClient", "DefaultHttpxClient")


def __getattr__(name: str) -> Any:
    if name in ("chat", "completions", "embeddings", "models"):
        return getattr(_module_client(), name)
    if name in ("ChatCompletion", "Completion", "Embedding"):
        raise AttributeError(
            f"`openai.{name}` ended with version 1 of the official package: make a client, OpenAI() or AsyncOpenAI()"
        )
    if name in _CLIENTS:
        # An `AttributeError` would lose the reason in an import.
        raise ImportError(
            f"fanweave.openai has no `{name}`: the engine has its own connections. For a proxy or certificates set those of "
            "`fanweave.configure(client=fanweave.Client(..))`, or use the official package with the transport of "
            "fanweave.integrations.httpx"
        )
    raise AttributeError(
        f"fanweave.openai has no `{name}`: use the official package with the transport of fanweave.integrations.httpx"
    )


__all__ = [
    "DEFAULT_MAX_RETRIES",
    "DEFAULT_TIMEOUT",
    "NOT_GIVEN",
    "APIConnectionError",
    "APIError",
    "APIResponse",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncAzureOpenAI",
    "AsyncClient",
    "AsyncOpenAI",
    "AsyncStream",
    "AuthenticationError",
    "AzureOpenAI",
    "BadRequestError",
    "BaseModel",
    "Client",
    "ConflictError",
    "ContentFilterFinishReasonError",
    "InternalServerError",
    "LengthFinishReasonError",
    "NotFoundError",
    "NotGiven",
    "Omit",
    "OpenAI",
    "OpenAIError",
    "PermissionDeniedError",
    "RateLimitError",
    "Stream",
    "UnprocessableEntityError",
    "not_given",
    "omit",
    "pydantic_function_tool",
    "types",
]
