"""The command ``fanweave``, which is in the same module as the engine."""

from __future__ import annotations

import signal
import sys

from . import _core


def main() -> None:
    """Runs the command with the arguments of this process, and exits with its code."""
    # The command handles Ctrl-C by itself: Python's handler would only take note of it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.stdout.flush()
    sys.exit(_core.command(sys.argv[1:]))
