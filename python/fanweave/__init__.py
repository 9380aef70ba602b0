"""Many LLM calls at once: chains, batches and streams over one engine.

import fanweave as fw

joke = fw.prompt("Tell a joke about {{ topic }}.") | fw.model("sim/writer") | fw.text()
joke.invoke({"topic": "bears"})
"""

from . import _core
from ._chain import (
    Chain,
    Chat,
    Many,
    as_list,
    assign,
    branch,
    chat,
    choice,
    fstring,
    json,
    parallel,
    passthrough,
    pick,
    prompt,
    regex,
    router,
    step,
    text,
)
from ._core import Delta, Event, Message, Prompt, ToolCall, Usage
from ._errors import (
    AuthenticationError,
    BadRequestError,
    BatchError,
    CancelledError,
    ConfigError,
    ConnectionError,
    ContentFilterError,
    ContextLengthError,
    DecodeError,
    EmptyError,
    Error,
    InputError,
    NotFoundError,
    OverloadedError,
    ParseError,
    PermissionDeniedError,
    QuotaExhaustedError,
    RateLimitError,
    RecursionLimitError,
    ServerError,
    StreamIncompleteError,
    TimeoutError,
    UnavailableError,
)
from ._model import AccountState, Model, limits, model
from ._stream import AsyncStream, Row, Stream

__version__ = _core.__version__

# Loaded when they are used: with them, the import would take several times as long.
_LAZY = {
    "AsyncCall": "_call",
    "Call": "_call",
    "CallOf": "_call",
    "Config": "_types",
    "Response": "_call",
    "Snapshot": "_progress",
    "Summary": "_batch",
    "Tool": "_tool",
    "ToolUse": "_tool",
    "abatch": "_batch",
    "batch": "_batch",
    "call": "_call",
    "tool": "_tool",
}

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._batch import Summary, abatch, batch
    from ._call import AsyncCall, Call, CallOf, Response, call
    from ._progress import Snapshot
    from ._tool import Tool, ToolUse, tool
    from ._types import Config


def __getattr__(name: str) -> object:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module `fanweave` has no attribute `{name}`")
    from importlib import import_module

    value = getattr(import_module(f"fanweave.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


__all__ = [
    "AccountState",
    "AsyncCall",
    "AsyncStream",
    "AuthenticationError",
    "BadRequestError",
    "BatchError",
    "Call",
    "CallOf",
    "CancelledError",
    "Chain",
    "Chat",
    "Config",
    "ConfigError",
    "ConnectionError",
    "ContentFilterError",
    "ContextLengthError",
    "DecodeError",
    "Delta",
    "EmptyError",
    "Error",
    "Event",
    "InputError",
    "Many",
    "Message",
    "Model",
    "NotFoundError",
    "OverloadedError",
    "ParseError",
    "PermissionDeniedError",
    "Prompt",
    "QuotaExhaustedError",
    "RateLimitError",
    "RecursionLimitError",
    "Response",
    "Row",
    "ServerError",
    "Snapshot",
    "Stream",
    "StreamIncompleteError",
    "Summary",
    "TimeoutError",
    "Tool",
    "ToolCall",
    "ToolUse",
    "UnavailableError",
    "Usage",
    "abatch",
    "as_list",
    "assign",
    "batch",
    "branch",
    "call",
    "chat",
    "choice",
    "fstring",
    "json",
    "limits",
    "model",
    "parallel",
    "passthrough",
    "pick",
    "prompt",
    "regex",
    "router",
    "step",
    "text",
    "tool",
]
