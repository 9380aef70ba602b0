"""Tools as pydantic models. Loaded with the first use, since it needs pydantic."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from .._tool import Tool

F = TypeVar("F", bound=Callable[..., Any])

try:
    from pydantic import BaseModel, PrivateAttr
except ImportError as error:
    raise ImportError("BaseTool of fanweave.mirascope needs pydantic: pip install pydantic") from error


class BaseTool(BaseModel):  # type: ignore[misc, unused-ignore]
    """A tool: its fields are the arguments, its docstring the description, and ``call`` runs it. ``call`` may be async."""

    _id: str = PrivateAttr("")

    @classmethod
    def _name(cls) -> str:
        return cls.__name__

    @classmethod
    def _description(cls) -> str:
        return cls.__dict__.get("__doc__") or ""

    @property
    def args(self) -> dict[str, Any]:
        """The arguments."""
        args: dict[str, Any] = self.model_dump()
        return args

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the tool. Subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} has no method `call`")


def toolkit_tool(method: F) -> F:
    """Makes a method of a ``BaseToolKit`` one of its tools. Its docstring may have fields: ``{self.level}``."""
    method._is_toolkit_tool = True  # type: ignore[attr-defined]
    return method


class BaseToolKit(BaseModel):  # type: ignore[misc, unused-ignore]
    """Tools with a common state, the fields. ``__namespace__`` is put before their names."""

    __namespace__: ClassVar[str | None] = None

    def create_tools(self) -> list[Tool[..., Any]]:
        """The tools, for ``tools`` of a call."""
        prefix = f"{self.__namespace__}_" if self.__namespace__ else ""
        return [
            self._tool(prefix + name, value)
            for each in type(self).__mro__
            for name, value in vars(each).items()
            if getattr(value, "_is_toolkit_tool", False)
        ]

    def _tool(self, name: str, method: Callable[..., Any]) -> Tool[..., Any]:
        bound = method.__get__(self)

        if inspect.iscoroutinefunction(method):

            @functools.wraps(bound)
            async def run(*args: Any, **kwargs: Any) -> Any:
                return await bound(*args, **kwargs)

        else:

            @functools.wraps(bound)
            def run(*args: Any, **kwargs: Any) -> Any:
                return bound(*args, **kwargs)

        run.__doc__ = (inspect.getdoc(method) or "").replace("{self}", str(self))
        for field in type(self).model_fields:
            run.__doc__ = run.__doc__.replace(f"{{self.{field}}}", str(getattr(self, field)))
        return Tool(run, name)
