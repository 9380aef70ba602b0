"""Calls of Gemini."""

from __future__ import annotations

from typing import TypeAlias

from .._answers import AsyncStream, CallResponse, CallResponseChunk, Stream
from .._call import BaseDynamicConfig, CommonCallParams, Provider

call = Provider("google").call

GoogleCallParams: TypeAlias = CommonCallParams
GoogleCallResponse: TypeAlias = CallResponse
GoogleCallResponseChunk: TypeAlias = CallResponseChunk
GoogleStream: TypeAlias = Stream
AsyncGoogleStream: TypeAlias = AsyncStream
GoogleDynamicConfig: TypeAlias = BaseDynamicConfig
AsyncGoogleDynamicConfig: TypeAlias = BaseDynamicConfig

__all__ = [
    "AsyncGoogleDynamicConfig",
    "AsyncGoogleStream",
    "GoogleCallParams",
    "GoogleCallResponse",
    "GoogleCallResponseChunk",
    "GoogleDynamicConfig",
    "GoogleStream",
    "call",
]
