"""The objects of answers, by their names in the official package.

Annotations are the documented fields. An annotation with ``None`` is a field that may be missing.
"""

from __future__ import annotations

from typing import Any, Literal

from .._object import Object
from .chat import ChatCompletion, ChatCompletionChunk, CompletionUsage

__all__ = [
    "ChatCompletion",
    "ChatCompletionChunk",
    "Completion",
    "CompletionChoice",
    "CompletionUsage",
    "CreateEmbeddingResponse",
    "Embedding",
    "Logprobs",
    "Model",
]


class Logprobs(Object):
    """The log probabilities of a text."""

    text_offset: list[int] | None
    token_logprobs: list[float] | None
    tokens: list[str] | None
    top_logprobs: list[dict[str, float]] | None


class CompletionChoice(Object):
    """One of the texts of a completion."""

    finish_reason: Literal["stop", "length", "content_filter"]
    index: int
    logprobs: Logprobs | None
    text: str


class Completion(Object):
    """The answer of a model without chat, or a chunk of it."""

    id: str
    choices: list[CompletionChoice]
    created: int
    model: str
    object: Literal["text_completion"]
    system_fingerprint: str | None
    usage: CompletionUsage | None


class Embedding(Object):
    """The vector of a text."""

    embedding: list[float]
    index: int
    object: Literal["embedding"]


class EmbeddingUsage(Object):
    """The tokens of a request for vectors."""

    _title = "Usage"

    prompt_tokens: int
    total_tokens: int


class CreateEmbeddingResponse(Object):
    """The vectors of several texts, in order."""

    data: list[Embedding]
    model: str
    object: Literal["list"]
    usage: EmbeddingUsage


class Model(Object):
    """A model that the key may use."""

    id: str
    created: int
    object: Literal["model"]
    owned_by: str
    shutdown_date: str | None


class ModelPage(Object):
    """The models that the key may use. Iterating over it yields them."""

    _title = "SyncPage[Model]"

    data: list[Model]
    object: Literal["list"]

    def __iter__(self) -> Any:
        return iter(self.data)

    def has_next_page(self) -> bool:
        """False: the list has one page."""
        return False
