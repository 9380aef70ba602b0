"""Calls of xAI."""

from __future__ import annotations

from typing import TypeAlias

from .._answers import AsyncStream, CallResponse, CallResponseChunk, Stream
from .._call import BaseDynamicConfig, CommonCallParams, Provider

call = Provider("xai").call

XAICallParams: TypeAlias = CommonCallParams
XAICallResponse: TypeAlias = CallResponse
XAICallResponseChunk: TypeAlias = CallResponseChunk
XAIStream: TypeAlias = Stream
AsyncXAIStream: TypeAlias = AsyncStream
XAIDynamicConfig: TypeAlias = BaseDynamicConfig
AsyncXAIDynamicConfig: TypeAlias = BaseDynamicConfig

__all__ = [
    "AsyncXAIDynamicConfig",
    "AsyncXAIStream",
    "XAICallParams",
    "XAICallResponse",
    "XAICallResponseChunk",
    "XAIDynamicConfig",
    "XAIStream",
    "call",
]
