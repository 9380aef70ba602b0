"""Calls of Anthropic."""

from __future__ import annotations

from typing import TypeAlias

from .._answers import AsyncStream, CallResponse, CallResponseChunk, Stream
from .._call import BaseDynamicConfig, CommonCallParams, Provider

call = Provider("anthropic").call

AnthropicCallParams: TypeAlias = CommonCallParams
AnthropicCallResponse: TypeAlias = CallResponse
AnthropicCallResponseChunk: TypeAlias = CallResponseChunk
AnthropicStream: TypeAlias = Stream
AsyncAnthropicStream: TypeAlias = AsyncStream
AnthropicDynamicConfig: TypeAlias = BaseDynamicConfig
AsyncAnthropicDynamicConfig: TypeAlias = BaseDynamicConfig

__all__ = [
    "AnthropicCallParams",
    "AnthropicCallResponse",
    "AnthropicCallResponseChunk",
    "AnthropicDynamicConfig",
    "AnthropicStream",
    "AsyncAnthropicDynamicConfig",
    "AsyncAnthropicStream",
    "call",
]
