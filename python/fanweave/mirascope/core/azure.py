"""Calls of OpenAI at Azure."""

from __future__ import annotations

from typing import TypeAlias

from .._answers import AsyncStream, CallResponse, CallResponseChunk, Stream
from .._call import BaseDynamicConfig, CommonCallParams, Provider

call = Provider("azure").call

AzureCallParams: TypeAlias = CommonCallParams
AzureCallResponse: TypeAlias = CallResponse
AzureCallResponseChunk: TypeAlias = CallResponseChunk
AzureStream: TypeAlias = Stream
AsyncAzureStream: TypeAlias = AsyncStream
AzureDynamicConfig: TypeAlias = BaseDynamicConfig
AsyncAzureDynamicConfig: TypeAlias = BaseDynamicConfig

__all__ = [
    "AsyncAzureDynamicConfig",
    "AsyncAzureStream",
    "AzureCallParams",
    "AzureCallResponse",
    "AzureCallResponseChunk",
    "AzureDynamicConfig",
    "AzureStream",
    "call",
]
