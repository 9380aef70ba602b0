"""Stores of vectors, in memory."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._errors import ConfigError
from ._running import blocking
from .runnables import Runnable
from .schema import Document

# Modules below this one are found: see _modules.py.
__path__: list[str] = []

__all__ = ["FAISS", "DocArrayInMemorySearch", "InMemoryVectorStore", "VectorStore", "VectorStoreRetriever"]


class VectorStore:
    """Documents that are found by their meaning. Subclasses define ``aadd_texts`` and ``_found``."""

    embeddings: Any

    async def aadd_texts(
        self,
        texts: Sequence[str],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        ids: Sequence[str] | None = None,
    ) -> list[str]:
        """Adds texts, and returns their ids."""
        raise NotImplementedError

    async def _found(
        self, vector: Sequence[float], k: int, keep: Any
    ) -> list[tuple[Any, float, Sequence[float]]]:
        """Documents with the largest similarity to a vector, the similarities, and their vectors."""
        raise NotImplementedError

    def add_texts(
        self,
        texts: Sequence[str],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        ids: Sequence[str] | None = None,
    ) -> list[str]:
        """Adds texts, and returns their ids."""
        return blocking(lambda: self.aadd_texts(texts, metadatas, ids))

    async def aadd_documents(self, documents: Sequence[Any], ids: Sequence[str] | None = None) -> list[str]:
        """Adds documents, and returns their ids."""
        texts = [document.page_content for document in documents]
        return await self.aadd_texts(texts, [document.metadata for document in documents], ids)

    def add_documents(self, documents: Sequence[Any], ids: Sequence[str] | None = None) -> list[str]:
        """Adds documents, and returns their ids."""
        return blocking(lambda: self.aadd_documents(documents, ids))

    # -- search --------------------------------------------------------------------------------------------

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: Any = None
    ) -> list[tuple[Any, float]]:
        """The documents that are most similar to a query, with the cosine of the angle: 1 is the largest."""
        vector = await _embedded(self.embeddings, query)
        return [(document, score) for document, score, _ in await self._found(vector, k, _condition(filter))]

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Any = None
    ) -> list[tuple[Any, float]]:
        """The documents that are most similar to a query, with the cosine of the angle: 1 is the largest."""
        return blocking(lambda: self.asimilarity_search_with_score(query, k, filter))

    async def asimilarity_search(self, query: str, k: int = 4, filter: Any = None) -> list[Any]:
        """The documents that are most similar to a query."""
        return [document for document, _ in await self.asimilarity_search_with_score(query, k, filter)]

    def similarity_search(self, query: str, k: int = 4, filter: Any = None) -> list[Any]:
        """The documents that are most similar to a query."""
        return blocking(lambda: self.asimilarity_search(query, k, filter))

    async def asimilarity_search_by_vector(
        self, embedding: Sequence[float], k: int = 4, filter: Any = None
    ) -> list[Any]:
        """The documents that are most similar to a vector."""
        return [document for document, _, _ in await self._found(embedding, k, _condition(filter))]

    def similarity_search_by_vector(
        self, embedding: Sequence[float], k: int = 4, filter: Any = None
    ) -> list[Any]:
        """The documents that are most similar to a vector."""
        return blocking(lambda: self.asimilarity_search_by_vector(embedding, k, filter))

    async def amax_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, filter: Any = None
    ) -> list[Any]:
        """Documents that are similar to a query and differ from each other.

        They are chosen from the ``fetch_k`` most similar. ``lambda_mult`` 1 looks at the query alone, 0 at the differences.
        """
        vector = await _embedded(self.embeddings, query)
        left = await self._found(vector, fetch_k, _condition(filter))
        chosen: list[tuple[Any, float, Sequence[float]]] = []
        while left and len(chosen) < k:
            best = max(left, key=lambda each: _gain(each, chosen, lambda_mult))
            left.remove(best)
            chosen.append(best)
        return [document for document, _, _ in chosen]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, filter: Any = None
    ) -> list[Any]:
        """Documents that are similar to a query and differ from each other."""
        return blocking(lambda: self.amax_marginal_relevance_search(query, k, fetch_k, lambda_mult, filter))

    def as_retriever(
        self, *, search_type: str = "similarity", search_kwargs: Mapping[str, Any] | None = None
    ) -> VectorStoreRetriever:
        """A retriever. ``search_type`` is ``similarity``, ``mmr`` or ``similarity_score_threshold``."""
        return VectorStoreRetriever(self, search_type=search_type, search_kwargs=search_kwargs)

    # -- construction --------------------------------------------------------------------------------------

    @classmethod
    def _empty(cls, embedding: Any, settings: Mapping[str, Any]) -> Any:
        return cls(embedding, **settings)  # type: ignore[call-arg]

    @classmethod
    async def afrom_texts(
        cls,
        texts: Sequence[str],
        embedding: Any,
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        ids: Sequence[str] | None = None,
        **settings: Any,
    ) -> Any:
        """A store of these texts."""
        made = cls._empty(embedding, settings)
        await made.aadd_texts(texts, metadatas, ids)
        return made

    @classmethod
    def from_texts(
        cls,
        texts: Sequence[str],
        embedding: Any,
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        ids: Sequence[str] | None = None,
        **settings: Any,
    ) -> Any:
        """A store of these texts."""
        return blocking(lambda: cls.afrom_texts(texts, embedding, metadatas, ids, **settings))

    @classmethod
    async def afrom_documents(cls, documents: Sequence[Any], embedding: Any, **settings: Any) -> Any:
        """A store of these documents."""
        texts = [document.page_content for document in documents]
        return await cls.afrom_texts(
            texts, embedding, [document.metadata for document in documents], **settings
        )

    @classmethod
    def from_documents(cls, documents: Sequence[Any], embedding: Any, **settings: Any) -> Any:
        """A store of these documents."""
        return blocking(lambda: cls.afrom_documents(documents, embedding, **settings))


async def _embedded(embeddings: Any, query: str) -> list[float]:
    vector: list[float] = await embeddings.aembed_query(query)
    return vector


def _condition(filter: Any) -> Callable[[Any], bool]:
    """A function of a document, or a dict of values that its metadata must have, as a function."""
    if filter is None:
        return lambda _: True
    if callable(filter):
        return filter  # type: ignore[no-any-return]
    wanted = dict(filter)
    return lambda document: all(document.metadata.get(name) == value for name, value in wanted.items())


def _gain(
    each: tuple[Any, float, Sequence[float]],
    chosen: Sequence[tuple[Any, float, Sequence[float]]],
    share: float,
) -> float:
    nearest = max((_product(each[2], other[2]) for other in chosen), default=0.0)
    return share * each[1] - (1 - share) * nearest


def _product(first: Sequence[float], second: Sequence[float]) -> float:
    return sum(map(float.__mul__, first, second))


def _unit(vector: Sequence[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in vector))
    return [float(value) / length for value in vector] if length else [float(value) for value in vector]


class InMemoryVectorStore(VectorStore):
    """Documents and their vectors in memory. A search compares all of them."""

    def __init__(self, embedding: Any) -> None:
        self.embeddings = embedding
        self._documents: dict[str, tuple[Document, list[float]]] = {}

    def __len__(self) -> int:
        return len(self._documents)

    async def aadd_texts(
        self,
        texts: Sequence[str],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        ids: Sequence[str] | None = None,
    ) -> list[str]:
        texts = list(texts)
        described = [dict(each) for each in metadatas] if metadatas is not None else [{} for _ in texts]
        named = list(ids) if ids is not None else [str(uuid.uuid4()) for _ in texts]
        for name, given in (("metadatas", described), ("ids", named)):
            if len(given) != len(texts):
                raise ValueError(f"expected {len(texts)} {name}, one for each text, got {len(given)}")
        vectors = await self.embeddings.aembed_documents(texts) if texts else []
        for id, text, metadata, vector in zip(named, texts, described, vectors, strict=True):
            self._documents[id] = Document(text, metadata, id), _unit(vector)
        return named

    async def _found(
        self, vector: Sequence[float], k: int, keep: Any
    ) -> list[tuple[Any, float, Sequence[float]]]:
        wanted = _unit(vector)
        kept: list[tuple[Any, float, Sequence[float]]] = [
            (document, _product(wanted, known), known)
            for document, known in list(self._documents.values())
            if keep(document)
        ]
        kept.sort(key=lambda each: -each[1])
        return kept[:k]

    def delete(self, ids: Sequence[str]) -> None:
        """Removes documents."""
        for id in ids:
            self._documents.pop(id, None)

    async def adelete(self, ids: Sequence[str]) -> None:
        """Removes documents."""
        self.delete(ids)

    def get_by_ids(self, ids: Sequence[str]) -> list[Document]:
        """Documents by their ids."""
        return [self._documents[id][0] for id in ids if id in self._documents]

    def dump(self, path: str | os.PathLike[str]) -> None:
        """Writes the store to a file."""
        rows = [
            {"id": id, "page_content": document.page_content, "metadata": document.metadata, "vector": vector}
            for id, (document, vector) in self._documents.items()
        ]
        part = f"{os.fspath(path)}.part"
        with open(part, "w", encoding="utf-8") as file:
            json.dump(rows, file, ensure_ascii=False)
        os.replace(part, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], embedding: Any) -> InMemoryVectorStore:
        """The store of a file of ``dump``."""
        made = cls(embedding)
        with open(path, encoding="utf-8") as file:
            for row in json.load(file):
                document = Document(row["page_content"], row["metadata"], row["id"])
                made._documents[row["id"]] = document, row["vector"]
        return made


class FAISS(InMemoryVectorStore):
    """``InMemoryVectorStore`` under the name of the store that many programs use. The library FAISS is not needed."""

    def save_local(self, folder_path: str | os.PathLike[str], index_name: str = "index") -> None:
        """Writes the store to a file of a folder. Only ``load_local`` of this class reads it."""
        os.makedirs(folder_path, exist_ok=True)
        self.dump(os.path.join(folder_path, f"{index_name}.json"))

    @classmethod
    def load_local(
        cls, folder_path: str | os.PathLike[str], embeddings: Any, index_name: str = "index"
    ) -> Any:
        """The store of ``save_local``."""
        path = os.path.join(folder_path, f"{index_name}.json")
        if not os.path.exists(path):
            message = f"{path} does not exist: fanweave does not read the files of the library FAISS"
            raise ConfigError(message, kind="config")
        return cls.load(path, embeddings)


class DocArrayInMemorySearch(InMemoryVectorStore):
    """``InMemoryVectorStore`` under another name."""


class VectorStoreRetriever(Runnable[str, list[Any]]):
    """Returns the documents of a store for a query."""

    def __init__(
        self,
        vectorstore: Any,
        *,
        search_type: str = "similarity",
        search_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        if search_type not in ("similarity", "mmr", "similarity_score_threshold"):
            message = f"search_type must be `similarity`, `mmr` or `similarity_score_threshold`, got `{search_type}`"
            raise ConfigError(message, kind="config")
        self.vectorstore = vectorstore
        self.search_type = search_type
        self.search_kwargs = dict(search_kwargs or {})

    async def _run(self, input: Any, run: Any, **kwargs: Any) -> list[Any]:
        given = {**self.search_kwargs, **kwargs}
        store = self.vectorstore
        if self.search_type == "mmr":
            return list(await store.amax_marginal_relevance_search(input, **given))
        if self.search_type == "similarity":
            return list(await store.asimilarity_search(input, **given))
        threshold = given.pop("score_threshold", 0.0)
        found = await store.asimilarity_search_with_score(input, **given)
        return [document for document, score in found if score >= threshold]

    def get_relevant_documents(self, query: str) -> list[Any]:
        """The documents for a query."""
        return self.invoke(query)

    async def aget_relevant_documents(self, query: str) -> list[Any]:
        """The documents for a query."""
        return await self.ainvoke(query)
