"""What all providers share. ``from fanweave.mirascope.core import openai`` has the calls of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._answers import AsyncStream, CallResponse, CallResponseChunk, Stream
from .._call import BaseDynamicConfig, CommonCallParams
from .._messages import (
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

BaseCallResponse = CallResponse
BaseCallResponseChunk = CallResponseChunk
BaseStream = Stream
BaseCallParams = CommonCallParams

if TYPE_CHECKING:
    from .._tools import BaseTool, BaseToolKit, toolkit_tool

__all__ = [
    "AsyncStream",
    "AudioPart",
    "BaseCallParams",
    "BaseCallResponse",
    "BaseCallResponseChunk",
    "BaseDynamicConfig",
    "BaseMessageParam",
    "BaseStream",
    "BaseTool",
    "BaseToolKit",
    "DocumentPart",
    "ImagePart",
    "ImageURLPart",
    "Messages",
    "TextPart",
    "prompt_template",
    "toolkit_tool",
]


def __getattr__(name: str) -> Any:
    if name in ("BaseTool", "BaseToolKit", "toolkit_tool"):
        # Loads pydantic.
        from .. import _tools

        return getattr(_tools, name)
    if name in MISSING:
        # An `AttributeError` would lose the reason in an import.
        raise ImportError(f"`fanweave.mirascope.core` has no `{name}`: {MISSING[name]}")
    raise AttributeError(f"module `fanweave.mirascope.core` has no attribute `{name}`")
