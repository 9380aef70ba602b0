"""Embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fanweave as fw

from .._errors import ConfigError
from ._base import Settings, from_environment

# Modules below this one are found: see _modules.py.
__path__: list[str] = []

__all__ = ["Embeddings", "EngineEmbeddings", "OpenAIEmbeddings"]


class Embeddings:
    """Vectors of texts. Subclasses define ``embed_documents``, or its async form."""

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """The vectors of several texts."""
        raise NotImplementedError

    def embed_query(self, text: str) -> list[float]:
        """The vector of a text."""
        return self.embed_documents([text])[0]

    async def aembed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """The vectors of several texts."""
        from ._running import call, run_of

        vectors: list[list[float]] = await call(self.embed_documents, run_of(None), list(texts))
        return vectors

    async def aembed_query(self, text: str) -> list[float]:
        """The vector of a text."""
        return (await self.aembed_documents([text]))[0]


class EngineEmbeddings(Embeddings):
    """Embeddings of an embedder of fanweave."""

    def __init__(self, embedder: Any) -> None:
        self.embedder = embedder

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        vectors: list[list[float]] = self.embedder.embed(list(texts))
        return vectors

    async def aembed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        vectors: list[list[float]] = await self.embedder.aembed(list(texts))
        return vectors


class OpenAIEmbeddings(EngineEmbeddings):
    """Embeddings of OpenAI, or of a server with its API at ``base_url``. Texts are sent in as few requests as possible."""

    def __init__(self, model: str = "text-embedding-ada-002", **settings: Any) -> None:
        read = Settings(type(self).__name__, settings, ("openai_api_key",), ("openai_api_base",))
        dimensions = read.left.pop("dimensions", None)
        for name in ("chunk_size", "show_progress_bar", "check_embedding_ctx_length", "deployment"):
            read.left.pop(name, None)
        if read.extra:
            raise ConfigError("model_kwargs of OpenAIEmbeddings is not supported", kind="config")
        read.check()
        self.model = model
        url = from_environment("OPENAI_BASE_URL") or from_environment("OPENAI_API_BASE")
        connection = {**({"base_url": url} if url else {}), **read.connection}
        if dimensions is not None:
            connection["dimensions"] = dimensions
        super().__init__(fw.embedder(f"openai/{model}", **connection))
