"""Histories of conversations, for ``RunnableWithMessageHistory``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .schema import AIMessage, HumanMessage, get_buffer_string

__all__ = ["BaseChatMessageHistory", "InMemoryChatMessageHistory"]


class BaseChatMessageHistory:
    """The messages of a conversation. A subclass that stores them defines ``messages``, ``add_messages`` and ``clear``."""

    messages: list[Any]

    def add_message(self, message: Any) -> None:
        """Adds a message."""
        self.add_messages([message])

    def add_messages(self, messages: Sequence[Any]) -> None:
        """Adds messages."""
        raise NotImplementedError(f"{type(self).__name__} has no `add_messages`")

    async def aget_messages(self) -> list[Any]:
        """The messages."""
        return self.messages

    async def aadd_messages(self, messages: Sequence[Any]) -> None:
        """Adds messages."""
        self.add_messages(messages)

    def add_user_message(self, message: Any) -> None:
        """Adds a message of the user."""
        self.add_message(HumanMessage(message) if isinstance(message, str) else message)

    def add_ai_message(self, message: Any) -> None:
        """Adds an answer."""
        self.add_message(AIMessage(message) if isinstance(message, str) else message)

    def clear(self) -> None:
        """Removes all messages."""
        raise NotImplementedError(f"{type(self).__name__} has no `clear`")

    def __str__(self) -> str:
        return get_buffer_string(self.messages)


class InMemoryChatMessageHistory(BaseChatMessageHistory):
    """Messages in memory."""

    def __init__(self, messages: Sequence[Any] = ()) -> None:
        self.messages = list(messages)

    def add_messages(self, messages: Sequence[Any]) -> None:
        """Adds messages."""
        self.messages.extend(messages)

    def clear(self) -> None:
        """Removes all messages."""
        self.messages = []
