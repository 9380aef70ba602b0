"""Bridges: the connection of each event loop with the engine, and loops for the steps of blocking calls."""

from __future__ import annotations

import os
import sys
import weakref

# `threading` has these from here: with its own imports it would double the time to load this package.
from _thread import _local as _ThreadLocal
from _thread import allocate_lock

from . import _core
from ._errors import ConfigError

# `typing` takes longer to load than all of this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor
    from typing import Any


# Threads for plain functions that are steps, for each level of nested blocking calls.
STEP_THREADS = 64

# The level of the functions of keys: one that no blocking call reaches.
KEYS = 1 << 16


class _Local(_ThreadLocal):
    """What a thread knows of its loop."""

    loop: Any = staticmethod(lambda: None)
    bridge: Any = staticmethod(lambda: None)
    # 0 for the threads of the user. Steps of a blocking call run one level above it: their loop is then never
    # the one that the call holds up.
    level: int = 0


_local = _Local()
_lock = allocate_lock()
# Held while a loop starts, so that there is one for each level.
_starting = allocate_lock()
# Weak on both sides: a loop owns its bridge, as the reader of a socket, and a bridge the futures of its loop.
_bridges: weakref.WeakKeyDictionary[Any, weakref.ref[_core.Bridge]] = weakref.WeakKeyDictionary()
_blocking: dict[int, _core.Bridge] = {}
_pools: dict[int, ThreadPoolExecutor] = {}
# The function of asyncio, once it is loaded.
_running_loop: Any = None
# Set once a key is a function.
_serves_keys = False


def bridge() -> _core.Bridge:
    """The bridge of the running loop."""
    global _running_loop
    if _running_loop is None:
        # Once: an import of each call would be a tenth of its cost.
        from asyncio import get_running_loop

        _running_loop = get_running_loop
    try:
        loop = _running_loop()
    except RuntimeError:
        message = (
            "no asyncio event loop is running: use the verbs without `a`, such as invoke; in trio, "
            "anyio.to_thread.run_sync(chain.invoke, input)"
        )
        raise ConfigError(message, kind="config") from None
    if _local.loop() is loop:
        found: _core.Bridge | None = _local.bridge()
        if found is not None:
            return found
    with _lock:
        known = _bridges.get(loop)
    found = known() if known else None
    if found is None:
        found = _connect(loop, _local.level)
        keep_keys()
    _local.loop, _local.bridge = weakref.ref(loop), weakref.ref(found)
    return found


def _connect(loop: Any, level: int) -> _core.Bridge:
    made = _core.Bridge(weakref.ref(loop), level)
    loop.add_reader(made.fileno(), made.drain)
    with _lock:
        _bridges[loop] = weakref.ref(made)
    return made


def blocking_bridge() -> _core.Bridge:
    """The bridge of the loop for the steps of a blocking call on this thread."""
    keep_keys()
    return _loop_of(_local.level + 1)


def _loop_of(level: int) -> _core.Bridge:
    found = _blocking.get(level)
    if found is None:
        with _starting:
            found = _blocking.get(level) or _start(level)
    return found


def serve_keys() -> None:
    """Starts the loop that the functions of keys run on, unless it runs."""
    global _serves_keys
    _serves_keys = True
    keep_keys()


def keep_keys() -> None:
    """Starts that loop again in a forked child, which has no threads."""
    if _serves_keys and KEYS not in _blocking:
        _core.serve_keys(_loop_of(KEYS))


async def run(operation: _core.Operation) -> Any:
    """The result of an operation. Cancelling the task ends it."""
    here = bridge()
    future, number = operation.start(here)
    try:
        return await future
    except BaseException:
        here.cancel(number)
        raise


def run_blocking(operation: _core.Operation) -> Any:
    """The result of an operation, from code that is not async."""
    warn_if_blocked()
    keep_keys()
    return operation.wait()


def _start(level: int) -> _core.Bridge:
    """Starts a loop on a thread of its own."""
    import asyncio
    import threading

    started = threading.Event()

    def run() -> None:
        _local.level = level
        loop = asyncio.new_event_loop()
        _blocking[level] = _connect(loop, level)
        started.set()
        loop.run_forever()

    # A daemon: it ends with the interpreter.
    threading.Thread(target=run, name="fanweave-python", daemon=True).start()
    started.wait()
    return _blocking[level]


def pool(level: int) -> ThreadPoolExecutor:
    """The threads for plain functions of runs of this level."""
    # Loads 30 modules: only if there is such a function.
    from concurrent.futures import ThreadPoolExecutor

    def enter() -> None:
        _local.level = level + 1

    with _lock:
        if level not in _pools:
            _pools[level] = ThreadPoolExecutor(STEP_THREADS, "fanweave-step", initializer=enter)
        return _pools[level]


def warn_if_blocked() -> None:
    """Warns if a blocking call holds up a running loop in debug mode."""
    asyncio = sys.modules.get("asyncio")
    loop = asyncio._get_running_loop() if asyncio else None
    if loop is not None and loop.get_debug():
        import warnings

        message = "a blocking call holds up the running event loop: await the `a` form of the verb"
        warnings.warn(message, ResourceWarning, stacklevel=4)


def _after_fork() -> None:
    global _local, _lock, _starting
    # Threads, and loops that run in them, exist in the parent alone. Their locks may be held.
    _lock = allocate_lock()
    _starting = allocate_lock()
    _local = _Local()
    _bridges.clear()
    _blocking.clear()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
