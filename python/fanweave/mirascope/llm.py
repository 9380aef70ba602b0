"""``llm.call`` and what it returns."""

from ._answers import AsyncStream, CallResponse, CallResponseChunk, Stream
from ._call import CommonCallParams, call, context, override

__all__ = [
    "AsyncStream",
    "CallResponse",
    "CallResponseChunk",
    "CommonCallParams",
    "Stream",
    "call",
    "context",
    "override",
]
