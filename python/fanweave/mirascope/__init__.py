"""The interface of Mirascope 1: put ``fanweave.`` before its name in the import line.

from fanweave.mirascope import llm

Mirascope itself is not needed. Calls go through the limits, retries and connections of the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import llm
from ._call import BaseDynamicConfig
from ._messages import (
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
    return late(__name__, name)
