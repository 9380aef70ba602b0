"""The interface of Mirascope 1: put ``fanweave.`` before its name in the import line.

from fanweave.mirascope import llm

Mirascope itself is not needed. Calls go through the limits, retries and connections of the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import llm
from ._call import BaseDynamicConfig
from ._messages import BaseMessageParam, ImagePart, ImageURLPart, Messages, TextPart, prompt_template

if TYPE_CHECKING:
    from ._tools import BaseTool

__all__ = [
    "BaseDynamicConfig",
    "BaseMessageParam",
    "BaseTool",
    "ImagePart",
    "ImageURLPart",
    "Messages",
    "TextPart",
    "llm",
    "prompt_template",
]


def __getattr__(name: str) -> Any:
    if name == "BaseTool":
        # Loads pydantic.
        from ._tools import BaseTool

        return BaseTool
    raise AttributeError(f"module `fanweave.mirascope` has no attribute `{name}`")
