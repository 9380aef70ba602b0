from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Generic, Literal, TypeVar, overload

from typing_extensions import ParamSpec, Self, Unpack

from . import _core
from ._chain import Chain
from ._client import Client
from ._core import Delta
from ._model import Model
from ._stream import AsyncStream, Stream
from ._tool import Tool
from ._types import Config, Parameters, PromptLike

_A = ParamSpec("_A")
_R = TypeVar("_R")

class Response(_core.Message):
    latency: float | None
    def __new__(cls, message: _core.Message, *_: Any, **__: Any) -> Response: ...
    def __init__(
        self,
        message: _core.Message,
        tools: Sequence[Tool[..., Any]] = (),
        models: Sequence[str] = (),
        latency: float | None = None,
    ) -> None: ...
    @property
    def content(self) -> str: ...
    @property
    def tools(self) -> list[Any]: ...
    @property
    def tool(self) -> Any: ...
    @property
    def cost_usd(self) -> float | None: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

class _Settings: ...

class _Call(Generic[_A, _R]):
    __name__: str
    __qualname__: str
    def __init__(self, function: Callable[_A, Any], settings: _Settings) -> None: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any: ...
    def __reduce__(self) -> str: ...
    def bind(self, *, model: str | Model | None = None, **parameters: Unpack[Parameters]) -> Self: ...
    def chain(self) -> Chain[Any, Any, Any]: ...

class Call(_Call[_A, _R]):
    def __call__(self, *args: _A.args, **kwargs: _A.kwargs) -> _R: ...
    def stream(self, *args: _A.args, **kwargs: _A.kwargs) -> Stream[Delta, _R]: ...
    @overload
    def batch(
        self, arguments: Iterable[Any], /, *, concurrency: int = 64, errors: Literal["raise"] = "raise"
    ) -> list[_R]: ...
    @overload
    def batch(
        self, arguments: Iterable[Any], /, *, concurrency: int = 64, errors: Literal["return"]
    ) -> list[_R | BaseException]: ...

class AsyncCall(_Call[_A, _R]):
    async def __call__(self, *args: _A.args, **kwargs: _A.kwargs) -> _R: ...
    def stream(self, *args: _A.args, **kwargs: _A.kwargs) -> AsyncStream[Delta, _R]: ...
    @overload
    async def batch(
        self, arguments: Iterable[Any], /, *, concurrency: int = 64, errors: Literal["raise"] = "raise"
    ) -> list[_R]: ...
    @overload
    async def batch(
        self, arguments: Iterable[Any], /, *, concurrency: int = 64, errors: Literal["return"]
    ) -> list[_R | BaseException]: ...

class CallOf(Generic[_R]):
    def __init__(self, settings: _Settings) -> None: ...
    @overload
    def __call__(
        self, function: Callable[_A, Coroutine[Any, Any, PromptLike | Config]]
    ) -> AsyncCall[_A, _R]: ...
    @overload
    def __call__(self, function: Callable[_A, PromptLike | Config]) -> Call[_A, _R]: ...

@overload
def call(
    *,
    model: str | Model,
    response: type[_R],
    tools: Sequence[Callable[..., Any]] = (),
    run_tools: int | None = None,
    fallback: Sequence[str | Model] = (),
    timeout: float | None = None,
    client: Client | None = None,
    **parameters: Unpack[Parameters],
) -> CallOf[_R]: ...
@overload
def call(
    *,
    model: str | Model,
    response: None = None,
    tools: Sequence[Callable[..., Any]] = (),
    run_tools: int | None = None,
    fallback: Sequence[str | Model] = (),
    timeout: float | None = None,
    client: Client | None = None,
    **parameters: Unpack[Parameters],
) -> CallOf[Response]: ...
