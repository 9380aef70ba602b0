"""Calls of Gemini."""

from __future__ import annotations

from typing import TypeAlias

from .._answers import AsyncStream, CallResponse, CallResponseChunk, Stream
from .._call import BaseDynamicConfig, CommonCallParams, Provider

call = Provider("gemini").call

GeminiCallParams: TypeAlias = CommonCallParams
GeminiCallResponse: TypeAlias = CallResponse
GeminiCallResponseChunk: TypeAlias = CallResponseChunk
GeminiStream: TypeAlias = Stream
AsyncGeminiStream: TypeAlias = AsyncStream
GeminiDynamicConfig: TypeAlias = BaseDynamicConfig
AsyncGeminiDynamicConfig: TypeAlias = BaseDynamicConfig

__all__ = [
    "AsyncGeminiDynamicConfig",
    "AsyncGeminiStream",
    "GeminiCallParams",
    "GeminiCallResponse",
    "GeminiCallResponseChunk",
    "GeminiDynamicConfig",
    "GeminiStream",
    "call",
]
