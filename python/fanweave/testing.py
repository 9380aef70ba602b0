"""A simulated provider for tests: no key, no network.

from fanweave.testing import sim

with sim(latency=0.1) as provider:
    model = fw.model("openai/gpt-5-mini", base_url=provider.url, api_key="any")
"""

from __future__ import annotations

from . import _core
from ._chain import Chain
from ._errors import ConfigError
from ._model import Model

# `typing` takes longer to load than all of this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from ._core import Prompt


class Sim:
    """A simulated provider that listens on a port of this machine, until the end of its ``with`` block."""

    def __init__(self, **settings: Any) -> None:
        self._server = _core.Sim(settings)

    @property
    def url(self) -> str:
        """Base URL for clients of OpenAI's API."""
        return f"{self._server.origin}/v1"

    @property
    def env(self) -> dict[str, str]:
        """Environment variables that point clients of OpenAI's API here."""
        return {"OPENAI_BASE_URL": self.url, "OPENAI_API_KEY": "simulated"}

    @property
    def stats(self) -> dict[str, int]:
        """The counts so far, by name."""
        return self._server.stats()

    @property
    def requests(self) -> int:
        """Requests so far."""
        return self.stats["requests"]

    @property
    def most_at_once(self) -> int:
        """Maximum requests in flight so far."""
        return self.stats["peak_in_flight"]

    def close(self) -> None:
        """Closes the port and all connections."""
        self._server.close()

    def __enter__(self) -> Sim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def sim(**settings: Any) -> Sim:
    """Starts a simulated provider.

    ``latency`` is a number of seconds, or a text such as ``lognormal:600ms,0.4``. ``rpm`` and ``tpm`` limit it;
    ``error_rate``, ``reset_rate``, ``hang_rate`` and ``truncate_rate`` are shares of requests that fail. In the forms of the
    command ``fanweave sim``: ``flaky="0.3=502"``, ``first_429="2s"``, ``outages=["1s..3s=reset"]``, ``max_in_flight=8`` and
    ``poison="text"``, of prompts that always fail. ``batch_time`` is the number of seconds that a batch of its batch API takes.
    """
    return Sim(**settings)


class Fake(Model):
    """A model for tests, which needs no server."""

    __slots__ = ("_asked",)

    def __init__(
        self, name: str, engine: _core.Chain, asked: _core.Asked, settings: dict[str, Any] | None = None
    ) -> None:
        Chain.__init__(self, engine)
        self.name = name
        self._settings = settings or {}
        self._asked = asked

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts so far, in order, if the model records them."""
        return self._asked.prompts()

    def bind(self, *, model: str | None = None, **parameters: Any) -> Fake:
        """The same model with other parameters, which its prompts have. It cannot be another ``model``."""
        if model is not None:
            raise ConfigError(f"a fake model cannot become `{model}`", kind="config")
        engine = _core.with_parameters(self._engine, parameters)
        return Fake(self.name, engine, self._asked, {**self._settings, **parameters})

    def _with_client(self, client: Any) -> Fake:
        raise ConfigError("a fake model has no connection: it takes no client", kind="config")

    def cached(self, path: Any = None) -> Fake:
        """A fake model has no cache."""
        raise ConfigError("a fake model has no cache", kind="config")

    def __reduce__(self) -> Any:
        raise TypeError("a fake model cannot be pickled")


def echo(*, record: bool = False) -> Fake:
    """A model that answers with the text of its prompt, word by word, and needs no server.

    With ``record`` it keeps its ``prompts``.
    """
    return Fake("fake/echo", *_core.fake(None, record))


def script(*answers: Any) -> Fake:
    """A model that gives these answers, one for each call, then raises ``ConfigError``, and records its ``prompts``.

    An answer is a text, an exception, a ``tool_call`` or a list of these.

    >>> from fanweave.testing import script
    >>> model = script("one", fw.ServerError("on strike"))
    >>> model.invoke("x").text
    'one'
    """
    scripted = [[each] if isinstance(each, tuple) else each for each in answers]
    return Fake("fake/script", *_core.fake(scripted, True))


def tool_call(tool: str, /, **arguments: Any) -> tuple[str, dict[str, Any]]:
    """A call of a tool, as an answer of ``script``."""
    return tool, arguments
