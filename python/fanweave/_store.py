"""Vector stores: documents with their vectors, and searches for the nearest."""

from __future__ import annotations

from . import _client, _core, _loops
from ._chain import Chain
from ._embedder import Embedder, as_lists, embedder

# `typing` takes longer to load than all of this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike
    from typing import Any

    from typing_extensions import Unpack

    from ._client import Client
    from ._core import Document, Hit
    from ._types import RunOptions


class Store:
    """A vector store with the embedder of its documents and questions.

    ``memory_store``, ``sqlite_store`` and ``chroma_store`` make it. Documents are ``Document``s, texts, or dicts with ``text``
    and ``metadata``. The id of a document is a hash of its text and metadata unless ``ids`` are given, so that a document that
    is added twice is stored once; an entry with the same id is replaced.

    A ``filter`` is a dict of fields of the metadata: ``{"lang": "en", "year": {"$gte": 2020}}``. All entries must match. The
    operators are ``$eq``, ``$ne``, ``$lt``, ``$lte``, ``$gt``, ``$gte``, ``$in`` and ``$nin``; ``$and`` and ``$or`` take lists of
    filters. Scores are cosine similarities, from -1 to 1.

    >>> store = fw.memory_store("sim/words")
    >>> ids = store.add(["Tides follow the moon.", "Bears sleep in winter."])
    >>> store.search("When do bears sleep?", limit=1)[0].document.text
    'Bears sleep in winter.'
    """

    __slots__ = ("_engine", "embedder")

    def __init__(self, engine: _core.Store, embedder: Embedder) -> None:
        self._engine = engine
        self.embedder = embedder

    def add(
        self,
        documents: Iterable[Document | str | Mapping[str, Any]],
        /,
        *,
        ids: Iterable[str] | None = None,
        vectors: Iterable[Iterable[float]] | None = None,
        **options: Unpack[RunOptions],
    ) -> list[str]:
        """Embeds documents, adds them, and returns their ids. ``vectors`` are used instead of the embedder's.

        Documents are written 1,024 at a time: if it fails, earlier ones may have been added.
        """
        added: list[str] = _loops.run_blocking(
            self._engine.add(
                documents, _ids(ids), _vectors(vectors), options or None, self._blocking_bridge()
            )
        )
        return added

    async def aadd(
        self,
        documents: Iterable[Document | str | Mapping[str, Any]],
        /,
        *,
        ids: Iterable[str] | None = None,
        vectors: Iterable[Iterable[float]] | None = None,
        **options: Unpack[RunOptions],
    ) -> list[str]:
        """Like ``add``, awaited."""
        added: list[str] = await _loops.run(
            self._engine.add(documents, _ids(ids), _vectors(vectors), options or None, _loops.bridge())
        )
        return added

    def search(
        self,
        question: str,
        /,
        *,
        limit: int = 4,
        threshold: float | None = None,
        filter: Mapping[str, Any] | None = None,
        diverse: tuple[int, float] | None = None,
        **options: Unpack[RunOptions],
    ) -> list[Hit]:
        """The documents nearest to a question, the nearest first, with their ids and scores.

        ``threshold`` is the minimum score. ``diverse`` selects documents that differ from each other, by maximal marginal
        relevance: a pair of the number of candidates and the weight of the question from 0 to 1, such as ``(20, 0.5)``.
        """
        found: list[Hit] = _loops.run_blocking(
            self._engine.search(
                question,
                _settings(limit, threshold, filter, diverse),
                options or None,
                self._blocking_bridge(),
            )
        )
        return found

    async def asearch(
        self,
        question: str,
        /,
        *,
        limit: int = 4,
        threshold: float | None = None,
        filter: Mapping[str, Any] | None = None,
        diverse: tuple[int, float] | None = None,
        **options: Unpack[RunOptions],
    ) -> list[Hit]:
        """Like ``search``, awaited."""
        found: list[Hit] = await _loops.run(
            self._engine.search(
                question, _settings(limit, threshold, filter, diverse), options or None, _loops.bridge()
            )
        )
        return found

    def search_vector(
        self, vector: Iterable[float], /, *, limit: int = 4, filter: Mapping[str, Any] | None = None
    ) -> list[Hit]:
        """The documents nearest to a vector."""
        found: list[Hit] = _loops.run_blocking(self._engine.search_vector(list(vector), limit, filter))
        return found

    async def asearch_vector(
        self, vector: Iterable[float], /, *, limit: int = 4, filter: Mapping[str, Any] | None = None
    ) -> list[Hit]:
        """The documents nearest to a vector."""
        found: list[Hit] = await _loops.run(self._engine.search_vector(list(vector), limit, filter))
        return found

    def delete(self, ids: Iterable[str], /) -> None:
        """Deletes entries. Unknown ids are ignored."""
        _loops.run_blocking(self._engine.delete(list(ids)))

    async def adelete(self, ids: Iterable[str], /) -> None:
        """Deletes entries. Unknown ids are ignored."""
        await _loops.run(self._engine.delete(list(ids)))

    def count(self) -> int:
        """The number of entries."""
        number: int = _loops.run_blocking(self._engine.count())
        return number

    async def acount(self) -> int:
        """The number of entries."""
        number: int = await _loops.run(self._engine.count())
        return number

    def retriever(
        self,
        *,
        limit: int = 4,
        threshold: float | None = None,
        filter: Mapping[str, Any] | None = None,
        diverse: tuple[int, float] | None = None,
    ) -> Chain[str, list[Document], list[Document]]:
        """A step from a question to documents, with the settings of ``search``."""
        return Chain(self._engine.retriever(_settings(limit, threshold, filter, diverse)))

    def _blocking_bridge(self) -> _core.Bridge | None:
        return _loops.blocking_bridge() if self._engine.has_functions else None


def _settings(
    limit: int,
    threshold: float | None,
    filter: Mapping[str, Any] | None,
    diverse: tuple[int, float] | None,
) -> dict[str, Any]:
    return {"limit": limit, "threshold": threshold, "filter": filter, "diverse": diverse}


def _ids(ids: Iterable[str] | None) -> list[str] | None:
    return None if ids is None else list(ids)


def _vectors(vectors: Iterable[Iterable[float]] | None) -> list[list[float]] | None:
    return None if vectors is None else as_lists(vectors)


def _embedder(given: Embedder | str) -> Embedder:
    return given if isinstance(given, Embedder) else embedder(given)


def memory_store(embedder: Embedder | str, /) -> Store:
    """A vector store in memory, with exact search.

    >>> store = fw.memory_store(fw.embedder("sim/words"))
    >>> _ = store.add(["Tides follow the moon.", "Bears sleep in winter."])
    >>> store.search("When do bears sleep?", limit=1)[0].document.text
    'Bears sleep in winter.'
    """
    own = _embedder(embedder)
    return Store(_core.memory_store(own._engine), own)


def sqlite_store(path: str | PathLike[str], embedder: Embedder | str, /) -> Store:
    """A vector store in an SQLite file, with exact search, that several processes may share.

    The file is made if it does not exist. From the first search on, the vectors are also in memory, 4 bytes a number.

    Raises ``ConfigError`` if the file cannot be opened or is not a store.

    >>> import pathlib, tempfile
    >>> store = fw.sqlite_store(pathlib.Path(tempfile.mkdtemp()) / "pages.db", fw.embedder("sim/words"))
    >>> _ = store.add(["Tides follow the moon."])
    >>> store.count()
    1
    """
    own = _embedder(embedder)
    return Store(_core.sqlite_store(path, own._engine), own)


def chroma_store(
    url: str, collection: str, embedder: Embedder | str, /, *, client: Client | None = None
) -> Store:
    """A collection of a Chroma server. It is made, with cosine distance, if it does not exist.

    Raises ``ConnectionError`` if no server answers, ``BadRequestError`` for a name that the server refuses.

    >>> store = fw.chroma_store("http://localhost:8000", "pages", "openai/text-embedding-3-small")  # doctest: +SKIP
    """
    own = _embedder(embedder)
    chosen = client or _client._default
    connection = None if chosen is None else chosen._engine
    return Store(_core.chroma_store(url, collection, own._engine, connection), own)
