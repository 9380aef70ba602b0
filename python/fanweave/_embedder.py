"""Embedders: models that turn texts into vectors."""

from __future__ import annotations

from . import _core, _loops
from ._client import prepared
from ._errors import InputError

# `typing` takes longer to load than all of this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from typing import Any

    from typing_extensions import Unpack

    from ._types import EmbedderSettings, RunOptions


class Embedder:
    """A model that turns texts into vectors. ``embedder`` makes it.

    Any number of texts may be given at once: they are split into requests, of which several are in flight, through the
    limits and retries of the account. A vector is a list of floats; all vectors of a model have the same length. One request
    that fails for good fails the whole call.

    >>> words = fw.embedder("sim/words")
    >>> len(words.embed(["bears", "cats"]))
    2
    """

    __slots__ = ("_engine", "_source")

    def __init__(self, engine: _core.Embedder, source: tuple[Any, dict[str, Any]]) -> None:
        self._engine = engine
        self._source = source

    @property
    def name(self) -> str:
        """``provider/model``, or the name of the function."""
        return self._engine.name

    def embed(self, texts: Iterable[str], /, **options: Unpack[RunOptions]) -> list[list[float]]:
        """A vector for each text, in their order."""
        vectors: list[list[float]] = _loops.run_blocking(
            self._engine.embed(_listed(texts), False, options or None, self._blocking_bridge())
        )
        return vectors

    async def aembed(self, texts: Iterable[str], /, **options: Unpack[RunOptions]) -> list[list[float]]:
        """A vector for each text, in their order."""
        vectors: list[list[float]] = await _loops.run(
            self._engine.embed(_listed(texts), False, options or None, _loops.bridge())
        )
        return vectors

    def embed_one(self, text: str, /, **options: Unpack[RunOptions]) -> list[float]:
        """The vector of a text."""
        return self.embed([text], **options)[0]

    async def aembed_one(self, text: str, /, **options: Unpack[RunOptions]) -> list[float]:
        """The vector of a text."""
        return (await self.aembed([text], **options))[0]

    def embed_array(self, texts: Iterable[str], /, **options: Unpack[RunOptions]) -> Any:
        """A ``numpy.ndarray`` of ``float32`` with a row for each text. Needs numpy."""
        packed = _loops.run_blocking(
            self._engine.embed(_listed(texts), True, options or None, self._blocking_bridge())
        )
        return _array(packed)

    async def aembed_array(self, texts: Iterable[str], /, **options: Unpack[RunOptions]) -> Any:
        """A ``numpy.ndarray`` of ``float32`` with a row for each text. Needs numpy."""
        packed = await _loops.run(self._engine.embed(_listed(texts), True, options or None, _loops.bridge()))
        return _array(packed)

    def _blocking_bridge(self) -> _core.Bridge | None:
        return _loops.blocking_bridge() if self._engine.has_functions else None

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, self._source

    def __repr__(self) -> str:
        return f"Embedder({self.name})"


def _listed(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        # It would be embedded letter by letter.
        raise InputError("expected a list of texts, got one text: use embed_one", kind="input")
    return list(texts)


def _array(packed: tuple[bytearray, int]) -> Any:
    import numpy

    numbers, rows = packed
    return numpy.frombuffer(numbers, dtype=numpy.float32).reshape(rows, -1 if rows else 0)


def embedder(
    model: str | Callable[[list[str]], Any | Awaitable[Any]], /, **settings: Unpack[EmbedderSettings]
) -> Embedder:
    """The embedding model called ``model``, ``provider/model``, such as ``openai/text-embedding-3-small``.

    ``sim/words`` needs no key: it counts words. Settings are those of ``model`` without the parameters of calls, and
    ``dimensions``, the length of each vector if the model supports several, and ``max_inputs``, the maximum of texts in a
    request.

    ``model`` may also be a function, sync or async, from a list of texts to a list of vectors, such as one that runs a model
    on this machine. A plain function runs on a thread.

    Raises ``ConfigError`` for an unknown provider or one without embeddings, ``AuthenticationError`` for a missing key.

    >>> fw.embedder(lambda texts: [[float(len(text))] for text in texts]).embed(["bears", "cats"])
    [[5.0], [4.0]]
    """
    return _made(model, dict(settings))


def _made(model: Any, settings: dict[str, Any]) -> Embedder:
    if callable(model):
        from . import _steps

        if settings:
            raise InputError("a function has no settings", kind="input")
        name = getattr(model, "__name__", None) or type(model).__name__
        return Embedder(_core.embedder_of(_plain(model), name, _steps.is_async(model)), (model, {}))
    return Embedder(_core.embedder(model, prepared(model, settings)), (model, settings))


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with lists as its result, also if it returns arrays of numpy."""
    from ._steps import is_async

    if is_async(function):

        async def awaited(texts: list[str]) -> Any:
            return as_lists(await function(texts))

        return awaited
    return lambda texts: as_lists(function(texts))


def as_lists(vectors: Any) -> Any:
    """Vectors as lists of floats: arrays of numpy have ``tolist``."""
    if hasattr(vectors, "tolist"):
        return vectors.tolist()
    return [vector.tolist() if hasattr(vector, "tolist") else list(vector) for vector in vectors]
