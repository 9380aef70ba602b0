"""Models."""

from __future__ import annotations

from . import _core
from ._chain import Chain

# `typing` takes longer to load than all of this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Model(Chain):
    """A model of a provider. It belongs to no event loop: one model works in all loops, threads and processes."""

    __slots__ = ("_settings", "name")

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        super().__init__(_core.model(name, settings))
        self.name = name
        self._settings = settings

    def bind(self, *, model: str | None = None, **parameters: Any) -> Model:
        """The same model with other parameters, or another one with the same settings."""
        return Model(model or self.name, {**self._settings, **parameters})

    def __reduce__(self) -> tuple[Any, ...]:
        return Model, (self.name, self._settings)

    def __repr__(self) -> str:
        return f"Model({self.name})"


def model(name: str, /, **settings: Any) -> Model:
    """The model called ``name``: ``provider/model``, such as ``openai/gpt-5-mini``.

    Key and base URL are read from the environment variables of the provider. ``sim/writer`` and ``sim/echo``
    need no key.
    """
    return Model(name, settings)
