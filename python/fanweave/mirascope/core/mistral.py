"""Calls of Mistral."""

from __future__ import annotations

from typing import TypeAlias

from .._answers import AsyncStream, CallResponse, CallResponseChunk, Stream
from .._call import BaseDynamicConfig, CommonCallParams, Provider

call = Provider("mistral").call

MistralCallParams: TypeAlias = CommonCallParams
MistralCallResponse: TypeAlias = CallResponse
MistralCallResponseChunk: TypeAlias = CallResponseChunk
MistralStream: TypeAlias = Stream
AsyncMistralStream: TypeAlias = AsyncStream
MistralDynamicConfig: TypeAlias = BaseDynamicConfig
AsyncMistralDynamicConfig: TypeAlias = BaseDynamicConfig

__all__ = [
    "AsyncMistralDynamicConfig",
    "AsyncMistralStream",
    "MistralCallParams",
    "MistralCallResponse",
    "MistralCallResponseChunk",
    "MistralDynamicConfig",
    "MistralStream",
    "call",
]
