"""What the library tenacity needs to pass errors to the next attempt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["collect_errors"]


def collect_errors(*errors: type[BaseException]) -> Callable[[Any], None]:
    """The argument ``after`` of ``tenacity.retry``: passes errors of these classes to the function as the argument ``errors``."""

    def collect(state: Any) -> None:
        error = state.outcome.exception()
        if isinstance(error, errors):
            state.kwargs["errors"] = [*(state.kwargs.get("errors") or []), error]

    return collect
