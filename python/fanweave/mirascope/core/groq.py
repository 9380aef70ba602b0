"""Calls of Groq."""

from __future__ import annotations

from typing import TypeAlias

from .._answers import AsyncStream, CallResponse, CallResponseChunk, Stream
from .._call import BaseDynamicConfig, CommonCallParams, Provider

call = Provider("groq").call

GroqCallParams: TypeAlias = CommonCallParams
GroqCallResponse: TypeAlias = CallResponse
GroqCallResponseChunk: TypeAlias = CallResponseChunk
GroqStream: TypeAlias = Stream
AsyncGroqStream: TypeAlias = AsyncStream
GroqDynamicConfig: TypeAlias = BaseDynamicConfig
AsyncGroqDynamicConfig: TypeAlias = BaseDynamicConfig

__all__ = [
    "AsyncGroqDynamicConfig",
    "AsyncGroqStream",
    "GroqCallParams",
    "GroqCallResponse",
    "GroqCallResponseChunk",
    "GroqDynamicConfig",
    "GroqStream",
    "call",
]
