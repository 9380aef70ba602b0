"""Messages."""

from .schema import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

__all__ = [
    "AIMessage",
    "AIMessageChunk",
    "BaseMessage",
    "ChatMessage",
    "HumanMessage",
    "SystemMessage",
    "ToolMessage",
]
