"""Tools: functions that a model may call."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from .._tool import Tool, as_text
from ._runnable import Runnable
from ._running import Run, call
from .schema import ToolMessage

__all__ = ["BaseTool", "StructuredTool", "tool"]


class StructuredTool(Runnable[Any, Any]):
    """A function as a tool. It runs on a dict of arguments, or on an entry of ``tool_calls``, for a ``ToolMessage``."""

    def __init__(
        self,
        func: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        return_direct: bool = False,
    ) -> None:
        self.func = func
        self.return_direct = return_direct
        self._tool: Tool[..., Any] = Tool(func, name)
        self.name: str = self._tool.name
        self.description: str = self._tool.description if description is None else description
        # A JSON schema.
        self.args_schema: dict[str, Any] = dict(self._tool.parameters)

    @classmethod
    def from_function(cls, func: Callable[..., Any] | None = None, **settings: Any) -> StructuredTool:
        """A tool of a function, or of ``coroutine``, an async one."""
        function = settings.pop("coroutine", None) or func
        if function is None:
            raise TypeError("from_function takes a function, or `coroutine`")
        return cls(function, **settings)

    @property
    def args(self) -> dict[str, Any]:
        """The schemas of the arguments."""
        return dict(self.args_schema.get("properties") or {})

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> Any:
        is_call = isinstance(input, Mapping) and input.get("type") == "tool_call"
        arguments = input["args"] if is_call else input
        if not isinstance(arguments, Mapping):
            if len(self.args) != 1:
                raise TypeError(f"the tool `{self.name}` takes a dict of {sorted(self.args)}")
            arguments = {next(iter(self.args)): arguments}
        call_of: Any = _Call(json.dumps(dict(arguments)))
        read = self._tool.read(call_of)
        output = await call(self.func, run, **read.arguments)
        return ToolMessage(as_text(output), input["id"], name=self.name) if is_call else output

    def run(self, tool_input: Any) -> Any:
        """Runs the function and waits for its result."""
        return self.invoke(tool_input)

    async def arun(self, tool_input: Any) -> Any:
        """Runs the function."""
        return await self.ainvoke(tool_input)

    def __repr__(self) -> str:
        return f"StructuredTool({self.name})"


BaseTool = StructuredTool


class _Call:
    """Arguments, as tools are read."""

    id = ""

    def __init__(self, arguments: str) -> None:
        self.arguments = arguments


def tool(target: Any = None, /, **settings: Any) -> Any:
    """Makes a tool of a function. ``@tool`` takes its name and docstring, ``@tool("name")`` gives another name."""
    if callable(target):
        return StructuredTool(target, **settings)
    if target is not None:
        settings["name"] = target
    return lambda function: StructuredTool(function, **settings)
