"""Calls of Cohere."""

from __future__ import annotations

from typing import TypeAlias

from .._answers import AsyncStream, CallResponse, CallResponseChunk, Stream
from .._call import BaseDynamicConfig, CommonCallParams, Provider

call = Provider("cohere").call

CohereCallParams: TypeAlias = CommonCallParams
CohereCallResponse: TypeAlias = CallResponse
CohereCallResponseChunk: TypeAlias = CallResponseChunk
CohereStream: TypeAlias = Stream
AsyncCohereStream: TypeAlias = AsyncStream
CohereDynamicConfig: TypeAlias = BaseDynamicConfig
AsyncCohereDynamicConfig: TypeAlias = BaseDynamicConfig

__all__ = [
    "AsyncCohereDynamicConfig",
    "AsyncCohereStream",
    "CohereCallParams",
    "CohereCallResponse",
    "CohereCallResponseChunk",
    "CohereDynamicConfig",
    "CohereStream",
    "call",
]
