"""What all providers share. ``from fanweave.mirascope.core import openai`` has the calls of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._answers import AsyncStream, CallResponse, CallResponseChunk, Stream
from .._call import BaseDynamicConfig, CommonCallParams
from .._messages import BaseMessageParam, ImagePart, ImageURLPart, Messages, TextPart, prompt_template

BaseCallResponse = CallResponse
BaseCallResponseChunk = CallResponseChunk
BaseStream = Stream
BaseCallParams = CommonCallParams

if TYPE_CHECKING:
    from .._tools import BaseTool

__all__ = [
    "AsyncStream",
    "BaseCallParams",
    "BaseCallResponse",
    "BaseCallResponseChunk",
    "BaseDynamicConfig",
    "BaseMessageParam",
    "BaseStream",
    "BaseTool",
    "ImagePart",
    "ImageURLPart",
    "Messages",
    "TextPart",
    "prompt_template",
]


def __getattr__(name: str) -> Any:
    if name == "BaseTool":
        # Loads pydantic.
        from .._tools import BaseTool

        return BaseTool
    raise AttributeError(f"module `fanweave.mirascope.core` has no attribute `{name}`")
