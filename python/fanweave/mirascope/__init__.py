"""The interface of Mirascope 1: put ``fanweave.`` before its name in the import line.

from fanweave.mirascope import llm

Mirascope itself is not needed. Calls go through the limits, retries and connections of the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import llm
from ._call import BaseDynamicConfig
from ._messages import (
    MISSING,
    AudioPart,
    BaseMessageParam,
    DocumentPart,
    ImagePart,
    ImageURLPart,
    Messages,
    TextPart,
    prompt_template,
)

if TYPE_CHECKING:
    from ._tools import BaseTool, BaseToolKit, toolkit_tool

__all__ = [
    "AudioPart",
    "BaseDynamicConfig",
    "BaseMessageParam",
    "BaseTool",
    "BaseToolKit",
    "DocumentPart",
    "ImagePart",
    "ImageURLPart",
    "Messages",
    "TextPart",
    "llm",
    "prompt_template",
    "toolkit_tool",
]


def __getattr__(name: str) -> Any:
    if name in ("BaseTool", "BaseToolKit", "toolkit_tool"):
        # Loads pydantic.
        from . import _tools

        return getattr(_tools, name)
    if name in MISSING:
        # An `AttributeError` would lose the reason in an import.
        raise ImportError(f"`fanweave.mirascope` has no `{name}`: {MISSING[name]}")
    raise AttributeError(f"module `fanweave.mirascope` has no attribute `{name}`")
