"""``llm.call`` and what it returns."""

from typing import TypeAlias

from ._answers import AsyncStream, CallResponse, CallResponseChunk, Stream
from ._call import CommonCallParams, call, context, override

Provider: TypeAlias = str

__all__ = [
    "AsyncStream",
    "CallResponse",
    "CallResponseChunk",
    "CommonCallParams",
    "Provider",
    "Stream",
    "call",
    "context",
    "override",
]
