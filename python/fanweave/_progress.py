"""Progress of a batch: a line on a terminal, a bar in a notebook, or a function of the caller's."""

from __future__ import annotations

import sys
import time

# `typing` takes longer to load than all of this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ._core import Usage

# Seconds between two updates.
INTERVAL = 0.25

# Seconds after which the progress is shown, unless it was asked for.
PATIENCE = 1.0


class Snapshot:
    """Progress of a batch at one moment. Times are in seconds, costs in US dollars.

    >>> seen = []
    >>> _ = fw.batch(["one", "two"], model="sim/echo", progress=seen.append)
    >>> seen[-1].done, seen[-1].total
    (2, 2)
    """

    total: int | None
    """Rows, or None if they cannot be counted before."""
    done: int
    """Rows with a result."""
    ok: int
    """Rows with an answer."""
    failed: int
    """Rows with an error."""
    resumed: int
    """Rows whose result came from the journal; part of ``done``."""
    in_flight: int
    """Rows that have started and not ended."""
    waiting: int
    """Calls that wait for a limit."""
    retrying: int
    """Calls that wait for their next attempt."""
    retries: int
    """Attempts after the first."""
    rate: float
    """Rows a second, over the last five seconds."""
    eta: float | None
    """Seconds to the end at this rate."""
    cost_usd: float | None
    """Cost so far, or None if no price is known."""
    usage: Usage
    """Tokens so far."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __str__(self) -> str:
        rows = f"{self.done:,}" if self.total is None else f"{self.done:,} of {self.total:,}"
        parts = [f"{rows} rows"]
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self.in_flight:
            parts.append(f"{self.in_flight:,} in flight")
        if self.rate > 0:
            parts.append(f"{self.rate:,.0f}/s" if self.rate >= 10 else f"{self.rate:.1f}/s")
        if self.eta is not None and self.in_flight:
            parts.append(f"{_duration(self.eta)} left")
        if self.cost_usd is not None:
            parts.append(f"${self.cost_usd:.2f}")
        return ", ".join(parts)

    def __repr__(self) -> str:
        return f"Snapshot({self})"

    def _repr_html_(self) -> str:
        bar = "" if self.total is None else f'<progress value="{self.done}" max="{self.total}"></progress> '
        return f"<div>{bar}{self}</div>"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Display:
    """Shows the progress until the end of its ``with`` block."""

    def __init__(self, progress: bool | Callable[[Snapshot], object] | None, snapshot: Any) -> None:
        self._snapshot = snapshot
        self._since = time.monotonic()
        self._patience = 0.0 if progress is True else PATIENCE
        self._shows: Any = None
        self._width = 0
        self._handle: Any = None
        self._last: str | None = None
        if callable(progress):
            self._shows, self._patience = progress, 0.0
        elif progress is not False:
            if _is_notebook():
                self._shows = self._in_notebook
            elif progress is True or (sys.stderr is not None and sys.stderr.isatty()):
                self._shows = self._on_terminal

    def update(self, is_last: bool = False) -> None:
        """Shows the progress so far."""
        if self._shows is None:
            return
        if time.monotonic() - self._since >= self._patience or (is_last and self._last is not None):
            snapshot = Snapshot(**self._snapshot())
            self._last = str(snapshot)
            self._shows(snapshot)

    def __enter__(self) -> Display:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.update(is_last=True)
        if self._shows == self._on_terminal and self._width:
            sys.stderr.write("\n")
            sys.stderr.flush()

    def _on_terminal(self, snapshot: Snapshot) -> None:
        line = str(snapshot)
        sys.stderr.write(f"\r{line:<{self._width}}")
        sys.stderr.flush()
        self._width = len(line)

    def _in_notebook(self, snapshot: Snapshot) -> None:
        from IPython.display import display

        if self._handle is None:
            self._handle = display(snapshot, display_id=True)
        else:
            self._handle.update(snapshot)


def _is_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")
