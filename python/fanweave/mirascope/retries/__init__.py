"""Other models after an error. The engine itself retries requests: see ``retries`` of docs/python.md."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from .._call import context

F = TypeVar("F", bound=Callable[..., Any])

_Errors = type[BaseException] | tuple[type[BaseException], ...]

__all__ = ["FallbackError", "fallback"]


class FallbackError(Exception):
    """No model has answered. ``caught`` are their errors, in order."""

    def __init__(self, caught: Sequence[BaseException]) -> None:
        super().__init__(f"no model has answered: {caught[-1]}")
        self.caught = list(caught)


def fallback(catch: _Errors, fallbacks: Sequence[Mapping[str, Any]]) -> Callable[[F], F]:
    """Calls other models if a call raises an error of these classes.

    Each fallback has the ``provider`` and ``model`` to call, may have other settings of ``llm.call``, and ``catch``: the errors
    after which the next one is called. The answer has the errors in ``_caught``.
    """
    steps = [({}, catch), *(({**each}, each["catch"]) for each in fallbacks)]
    for settings, _ in steps:
        settings.pop("catch", None)

    def decorate(function: F) -> F:
        made: Any
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def call_async(*args: Any, **kwargs: Any) -> Any:
                caught: list[BaseException] = []
                for settings, errors in steps:
                    try:
                        with context(**settings):
                            return _with(await function(*args, **kwargs), caught)
                    except errors as error:
                        caught.append(error)
                raise FallbackError(caught)

            made = call_async
        else:

            @functools.wraps(function)
            def call_sync(*args: Any, **kwargs: Any) -> Any:
                caught: list[BaseException] = []
                for settings, errors in steps:
                    try:
                        with context(**settings):
                            return _with(function(*args, **kwargs), caught)
                    except errors as error:
                        caught.append(error)
                raise FallbackError(caught)

            made = call_sync
        typed: F = made
        return typed

    return decorate


def _with(answer: Any, caught: list[BaseException]) -> Any:
    if caught and hasattr(answer, "__dict__"):
        object.__setattr__(answer, "_caught", list(caught))
    return answer
