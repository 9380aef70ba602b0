"""What all providers share. ``from fanweave.mirascope.core import openai`` has the calls of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._answers import AsyncStream, CallResponse, CallResponseChunk, Stream
from .._call import BaseDynamicConfig, CommonCallParams
from .._messages import (
    AudioPart,
    BaseMessageParam,
    DocumentPart,
    ImagePart,
    ImageURLPart,
    Messages,
    TextPart,
    late,
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
    return late(__name__, name)
