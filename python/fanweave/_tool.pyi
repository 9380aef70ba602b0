from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, overload

from typing_extensions import ParamSpec

from . import _core
from ._chain import Chain
from ._schema import Reader

_A = ParamSpec("_A")
_R = TypeVar("_R")
_T = TypeVar("_T")

class Tool(Generic[_A, _R]):
    name: str
    description: str
    parameters: dict[str, Any]
    is_async: bool
    def __init__(self, target: Callable[_A, _R], name: str | None = None) -> None: ...
    def __call__(self, *args: _A.args, **kwargs: _A.kwargs) -> _R: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any: ...
    def read(self, call: _core.ToolCall) -> Any: ...

class ToolUse:
    tool: Tool[..., Any]
    id: str
    arguments: dict[str, Any]
    def __init__(self, tool: Tool[..., Any], id: str, arguments: dict[str, Any]) -> None: ...
    @property
    def name(self) -> str: ...
    def call(self) -> Any: ...

@overload
def tool(target: Callable[_A, _R], /, *, name: str | None = None) -> Tool[_A, _R]: ...
@overload
def tool(
    target: None = None, /, *, name: str | None = None
) -> Callable[[Callable[_A, _R]], Tool[_A, _R]]: ...
def as_tools(tools: Sequence[Callable[..., Any]]) -> list[Tool[..., Any]]: ...
def as_text(result: Any) -> str: ...
def with_tools(
    chain: Chain[Any, Any, Any],
    tools: Sequence[Callable[..., Any]],
    run: int | None,
    on_error: str = "tell",
    timeout: float | None = None,
    concurrency: int = 8,
) -> Chain[Any, Any, Any]: ...
def reading(type: type[_T]) -> Chain[Any, _T, Any]: ...
def structured(
    chain: Chain[Any, Any, Any],
    type: type[_T],
    retries: int,
    refused: Callable[[Exception], None] | None = None,
) -> Chain[Any, _T, Any]: ...
def structured_json(chain: Chain[Any, Any, Any], reader: Reader) -> Chain[Any, Any, Any]: ...
def read_tool(message: _core.Message, type: type[_T] | Callable[..., Any]) -> Any: ...
