"""Tools as pydantic models. Loaded with the first use, since it needs pydantic."""

from __future__ import annotations

from typing import Any

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
