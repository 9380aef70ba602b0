"""Calls of a LiteLLM server."""

from __future__ import annotations

from typing import TypeAlias

from .._answers import AsyncStream, CallResponse, CallResponseChunk, Stream
from .._call import BaseDynamicConfig, CommonCallParams, Provider

call = Provider("litellm").call

LiteLLMCallParams: TypeAlias = CommonCallParams
LiteLLMCallResponse: TypeAlias = CallResponse
LiteLLMCallResponseChunk: TypeAlias = CallResponseChunk
LiteLLMStream: TypeAlias = Stream
AsyncLiteLLMStream: TypeAlias = AsyncStream
LiteLLMDynamicConfig: TypeAlias = BaseDynamicConfig
AsyncLiteLLMDynamicConfig: TypeAlias = BaseDynamicConfig

__all__ = [
    "AsyncLiteLLMDynamicConfig",
    "AsyncLiteLLMStream",
    "LiteLLMCallParams",
    "LiteLLMCallResponse",
    "LiteLLMCallResponseChunk",
    "LiteLLMDynamicConfig",
    "LiteLLMStream",
    "call",
]
