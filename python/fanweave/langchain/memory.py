"""Memories of conversations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .schema import AIMessage, HumanMessage, get_buffer_string

__all__ = ["ConversationBufferMemory", "ConversationBufferWindowMemory"]


class ConversationBufferMemory:
    """All messages of a conversation. A chain reads them from the variable ``memory_key``."""

    def __init__(
        self,
        *,
        memory_key: str = "history",
        return_messages: bool = False,
        input_key: str | None = None,
        output_key: str | None = None,
        human_prefix: str = "Human",
        ai_prefix: str = "AI",
    ) -> None:
        self.memory_key = memory_key
        self.return_messages = return_messages
        self.input_key = input_key
        self.output_key = output_key
        self.human_prefix = human_prefix
        self.ai_prefix = ai_prefix
        self.messages: list[Any] = []

    @property
    def memory_variables(self) -> list[str]:
        """The variables that the memory fills."""
        return [self.memory_key]

    @property
    def buffer(self) -> Any:
        """The messages, or their text."""
        return self._shown(self.messages)

    def _shown(self, messages: list[Any]) -> Any:
        return (
            messages
            if self.return_messages
            else get_buffer_string(messages, self.human_prefix, self.ai_prefix)
        )

    def load_memory_variables(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The variables for a run with these inputs."""
        return {self.memory_key: self.buffer}

    def save_context(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Adds a question and its answer."""
        self.messages += [
            HumanMessage(_only(inputs, self.input_key, self.memory_key)),
            AIMessage(_only(outputs, self.output_key, None)),
        ]

    def clear(self) -> None:
        """Removes all messages."""
        self.messages = []


class ConversationBufferWindowMemory(ConversationBufferMemory):
    """The last ``k`` questions and answers of a conversation."""

    def __init__(self, k: int = 5, **settings: Any) -> None:
        super().__init__(**settings)
        self.k = k

    @property
    def buffer(self) -> Any:
        return self._shown(self.messages[-2 * self.k :] if self.k else [])


def _only(values: Mapping[str, Any], key: str | None, memory_key: str | None) -> Any:
    if key is not None:
        return values[key]
    names = [name for name in values if name != memory_key]
    if len(names) != 1:
        raise ValueError(f"the memory needs input_key or output_key to choose one of {sorted(names)}")
    return values[names[0]]
