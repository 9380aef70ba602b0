"""Chains in files."""

from __future__ import annotations

from . import _core
from ._chain import Chain
from ._errors import ConfigError
from ._model import Model, model

# `typing` takes longer to load than all of this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike
    from typing import Any


class FileChain(Chain["Mapping[str, Any]", "Any", "Any"]):
    """The chain of a file. ``inputs`` are the names of its inputs with their defaults, or ``...`` without one.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "greet.yaml"
    >>> _ = path.write_text("inputs: { name: World }\\nsteps:\\n  greeting: { prompt: 'Hello, {{ name }}!' }\\n")
    >>> fw.load(path, model="sim/echo").inputs
    {'name': 'World'}
    """

    __slots__ = ("inputs", "name")

    def __init__(self, engine: _core.Chain, name: str, inputs: dict[str, Any], made: Any = None) -> None:
        super().__init__(engine, made)
        self.name = name
        self.inputs = inputs


def load(
    path: str | PathLike[str],
    /,
    *,
    model: Model | str | None = None,
    models: Mapping[str, Model | str] | None = None,
) -> FileChain:
    """The chain of a file in YAML or TOML: a chain from a dict of its inputs to its output.

    The file is that of the command ``fanweave run``. ``models`` replaces models by the names that the file uses, and
    ``model`` is that of steps without one. Limits of the file apply: its requests per minute and retries to models that it
    names, its concurrency, timeout and budget to its runs; the budget is that of all runs of this object together.

    Raises ``ConfigError`` with the line of each mistake.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "greet.yaml"
    >>> size = path.write_text("inputs: { name: World }\\nsteps:\\n  greeting: { prompt: 'Hello {{ name }}' }\\n")
    >>> from fanweave.testing import echo
    >>> fw.load(path, model=echo()).invoke({"name": "Ada"})
    'Hello Ada'
    """
    made = (load, (path,), {"model": model, "models": models})
    return FileChain(*_loaded(path, model, dict(models or {})), made)


def _loaded(
    path: str | PathLike[str], default: Model | str | None, models: dict[str, Model | str]
) -> tuple[_core.Chain, str, dict[str, Any]]:
    used = set()

    def connect(name: str | None, retries: int | None, rpm: int | None) -> _core.Chain:
        used.add(name)
        chosen = default if name is None else models.get(name, name)
        if chosen is None:
            raise ConfigError("no model is named: give one with `model=`", kind="config")
        if isinstance(chosen, Model):
            return chosen._engine
        limits: Any = {} if chosen.startswith("sim/") else {"retries": retries, "rpm": rpm}
        return model(chosen, **limits)._engine

    engine, name, inputs = _core.load(path, connect)
    unused = sorted(set(models) - used)
    if unused:
        raise ConfigError(f"the file names no model `{unused[0]}`", kind="config")
    return engine, name, {key: ... if value is NotImplemented else value for key, value in inputs}
