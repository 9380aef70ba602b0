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
from ._client import Client, configure
from ._core import Delta, Document, Event, Hit, Message, Prompt, RawResponse, ToolCall, Usage
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
from ._model import AccountState, Adaptation, Model, adaptations, limits, model
from ._stream import AsyncStream, Row, Stream

__version__ = _core.__version__

# Loaded when they are used: with them, the import would take several times as long.
_LAZY = {
    "AsyncCall": "_call",
    "AsyncRawStream": "_raw",
    "Call": "_call",
    "CallOf": "_call",
    "Config": "_types",
    "Embedder": "_embedder",
    "FileChain": "_chain_file",
    "RawModel": "_raw",
    "RawStream": "_raw",
    "Response": "_call",
    "Share": "_share",
    "Snapshot": "_progress",
    "Store": "_store",
    "Summary": "_batch",
    "Tool": "_tool",
    "ToolUse": "_tool",
    "abatch": "_batch",
    "batch": "_batch",
    "call": "_call",
    "chroma_store": "_store",
    "embedder": "_embedder",
    "load": "_chain_file",
    "memory_store": "_store",
    "raw_model": "_raw",
    "sqlite_store": "_store",
    "tool": "_tool",
}

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._batch import Summary, abatch, batch
    from ._call import AsyncCall, Call, CallOf, Response, call
    from ._chain_file import FileChain, load
    from ._embedder import Embedder, embedder
    from ._progress import Snapshot
    from ._raw import AsyncRawStream, RawModel, RawStream, raw_model
    from ._share import Share
    from ._store import Store, chroma_store, memory_store, sqlite_store
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
    "Adaptation",
    "AsyncCall",
    "AsyncRawStream",
    "AsyncStream",
    "AuthenticationError",
    "BadRequestError",
    "BatchError",
    "Call",
    "CallOf",
    "CancelledError",
    "Chain",
    "Chat",
    "Client",
    "Config",
    "ConfigError",
    "ConnectionError",
    "ContentFilterError",
    "ContextLengthError",
    "DecodeError",
    "Delta",
    "Document",
    "Embedder",
    "EmptyError",
    "Error",
    "Event",
    "FileChain",
    "Hit",
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
    "RawModel",
    "RawResponse",
    "RawStream",
    "RecursionLimitError",
    "Response",
    "Row",
    "ServerError",
    "Share",
    "Snapshot",
    "Store",
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
    "adaptations",
    "as_list",
    "assign",
    "batch",
    "branch",
    "call",
    "chat",
    "choice",
    "chroma_store",
    "configure",
    "embedder",
    "fstring",
    "json",
    "limits",
    "load",
    "memory_store",
    "model",
    "parallel",
    "passthrough",
    "pick",
    "prompt",
    "raw_model",
    "regex",
    "router",
    "sqlite_store",
    "step",
    "text",
    "tool",
]
