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
from ._errors import *  # noqa: F403
from ._errors import __all__ as _error_names
from ._model import Model, model
from ._stream import AsyncStream, Row, Stream

__version__ = _core.__version__

__all__ = [
    *_error_names,
    "AsyncStream",
    "Chain",
    "router",
    "regex",
    "pick",
    "chat",
    "branch",
    "assign",
    "Many",
    "Chat",
    "Delta",
    "Event",
    "Message",
    "Model",
    "Prompt",
    "Row",
    "Stream",
    "ToolCall",
    "Usage",
    "as_list",
    "choice",
    "fstring",
    "json",
    "model",
    "parallel",
    "passthrough",
    "prompt",
    "step",
    "text",
]
