"""A simulated provider for tests: no key, no network.

from fanweave.testing import sim

with sim(latency=0.1) as provider:
    model = fw.model("openai/gpt-5-mini", base_url=provider.url, api_key="any")
"""

from __future__ import annotations

from . import _core
from ._chain import Chain

# `typing` takes longer to load than all of this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from ._core import Delta, Message
    from ._types import PromptLike


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
    ``error_rate``, ``reset_rate``, ``hang_rate`` and ``truncate_rate`` are shares of requests that fail.
    """
    return Sim(**settings)


def echo() -> Chain[PromptLike, Message, Delta]:
    """A model that answers with the text of its prompt, word by word, and needs no server."""
    return Chain(_core.echo())
