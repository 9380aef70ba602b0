"""Runs the Python functions of a chain: coroutines as tasks of the loop, plain functions on threads."""

from __future__ import annotations

import inspect

from . import _core, _loops

# `typing` takes longer to load than all of this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from typing import Any


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling the function gives an awaitable, as far as its definition says."""
    if inspect.iscoroutinefunction(function):
        return True
    # An object whose class has an async `__call__`.
    return not inspect.isroutine(function) and inspect.iscoroutinefunction(type(function).__call__)


def without_input(function: Callable[[], Any]) -> Callable[[Any], Any]:
    """A function without arguments, as a step."""
    return lambda _: function()


def begin(
    loop: Any,
    level: int,
    variables: Context,
    function: Callable[[Any], Any],
    on_loop: bool,
    value: Any,
    answer: _core.Answer,
) -> None:
    """Calls a step. Runs on the thread of the loop."""
    if not on_loop:
        _loops.pool(level).submit(_on_thread, loop, variables.copy(), function, value, answer)
        return
    result = variables.copy().run(function, value)
    if inspect.isawaitable(result):
        _start_task(loop, variables, result, answer)
    else:
        answer.set_result(result)


def _on_thread(
    loop: Any, variables: Context, function: Callable[[Any], Any], value: Any, answer: _core.Answer
) -> None:
    try:
        result = variables.run(function, value)
        if inspect.isawaitable(result):
            # A plain function that returns a coroutine, such as a lambda.
            loop.call_soon_threadsafe(_start_task, loop, variables, result, answer)
        else:
            answer.set_result(result)
    except BaseException as error:
        answer.set_exception(error)


def _start_task(loop: Any, variables: Context, awaitable: Any, answer: _core.Answer) -> None:
    # Python 3.10 has no parameter for the context of a task: it takes a copy of the one around it.
    answer.started(variables.copy().run(loop.create_task, _answered(awaitable, answer)))


async def _answered(awaitable: Any, answer: _core.Answer) -> None:
    try:
        answer.set_result(await awaitable)
    except BaseException as error:
        answer.set_exception(error)
        if not isinstance(error, Exception):
            raise
