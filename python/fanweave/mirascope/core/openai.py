"""Calls of OpenAI."""

from __future__ import annotations

from typing import TypeAlias

from .._answers import AsyncStream, CallResponse, CallResponseChunk, Stream
from .._call import BaseDynamicConfig, CommonCallParams, Provider

call = Provider("openai").call

OpenAICallParams: TypeAlias = CommonCallParams
OpenAICallResponse: TypeAlias = CallResponse
OpenAICallResponseChunk: TypeAlias = CallResponseChunk
OpenAIStream: TypeAlias = Stream
AsyncOpenAIStream: TypeAlias = AsyncStream
OpenAIDynamicConfig: TypeAlias = BaseDynamicConfig
AsyncOpenAIDynamicConfig: TypeAlias = BaseDynamicConfig

__all__ = [
    "AsyncOpenAIDynamicConfig",
    "AsyncOpenAIStream",
    "OpenAICallParams",
    "OpenAICallResponse",
    "OpenAICallResponseChunk",
    "OpenAIDynamicConfig",
    "OpenAIStream",
    "call",
]
