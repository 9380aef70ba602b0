"""A step that reads and continues the history of a conversation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from ._runnable import Runnable, coerced
from ._running import Run
from .schema import AIMessage, BaseMessage, HumanMessage, messages_of


class RunnableWithMessageHistory(Runnable[Any, Any]):
    """A step that gets the messages of a conversation before its input, and adds the input and the output to them.

    ``config={"configurable": {"session_id": ..}}`` names the conversation. Without ``input_messages_key`` the input is a
    text or messages; ``history_messages_key`` is the variable of a prompt for the earlier messages.
    """

    def __init__(
        self,
        runnable: Any,
        get_session_history: Callable[..., Any],
        *,
        input_messages_key: str | None = None,
        output_messages_key: str | None = None,
        history_messages_key: str | None = None,
    ) -> None:
        self.runnable = coerced(runnable)
        self.get_session_history = get_session_history
        self.input_messages_key = input_messages_key
        self.output_messages_key = output_messages_key
        self.history_messages_key = history_messages_key

    def _history(self, run: Run) -> Any:
        configurable = dict(run.config.get("configurable") or {})
        if not configurable:
            raise ValueError('name the conversation: config={"configurable": {"session_id": ".."}}')
        if set(configurable) == {"session_id"}:
            return self.get_session_history(configurable["session_id"])
        return self.get_session_history(**configurable)

    async def _prepared(self, input: Any, run: Run) -> tuple[Any, list[Any], Any]:
        """The history, the new messages, and the input of the step."""
        history = self._history(run)
        known = list(await history.aget_messages())
        asked = input
        if isinstance(input, Mapping):
            key = self.input_messages_key or next(name for name in input if name != self.history_messages_key)
            asked = input[key]
        new = [HumanMessage(asked)] if isinstance(asked, str) else list(messages_of(asked))
        if self.history_messages_key is not None:
            return history, new, {**input, self.history_messages_key: known}
        if isinstance(input, Mapping):
            return history, new, {**input, key: [*known, *new]}
        return history, new, [*known, *new]

    async def _keep(self, history: Any, new: list[Any], output: Any) -> None:
        if isinstance(output, Mapping):
            output = output[self.output_messages_key or next(iter(output))]
        if isinstance(output, str):
            output = AIMessage(output)
        added = [output] if isinstance(output, BaseMessage) else list(output)
        await history.aadd_messages([*new, *added])

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> Any:
        history, new, prepared = await self._prepared(input, run)
        output = await self.runnable._run(prepared, run, **kwargs)
        await self._keep(history, new, output)
        return output

    async def _pieces(self, input: Any, run: Run, **kwargs: Any) -> AsyncIterator[Any]:
        history, new, prepared = await self._prepared(input, run)
        whole: Any = None
        async for piece in self.runnable._pieces(prepared, run, **kwargs):
            whole = piece if whole is None else whole + piece
            yield piece
        await self._keep(history, new, whole)
