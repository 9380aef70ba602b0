from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, overload

from typing_extensions import Unpack

from . import _core
from ._chain import Chain
from ._core import Message, Prompt
from ._errors import Error
from ._model import Model
from ._progress import Snapshot
from ._stream import Row
from ._types import Parameters

_T = TypeVar("_T")

_Rows: TypeAlias = Iterable[str | Mapping[str, Any] | Message | Prompt | Sequence[Message | tuple[str, str]]]

class _Frame(Protocol):
    # A frame of pandas or polars, or a table of Arrow.
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def columns(self) -> Any: ...

_F = TypeVar("_F", bound=_Frame)
_F_co = TypeVar("_F_co", bound=_Frame, covariant=True)

class _LazyFrame(Protocol[_F_co]):
    def collect(self) -> _F_co: ...

class _ArrowStream(Protocol):
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

class _Settings(Parameters, total=False):
    prompt: str | None
    system: str | None
    journal: str | PathLike[str] | None
    into: str
    concurrency: int
    limit: int | None
    budget_usd: float | None
    dedupe: bool
    retry_failed: bool
    fresh: bool
    errors: Literal["keep", "raise"]
    batch_api: bool
    progress: bool | Callable[[Snapshot], object] | None

class Summary:
    rows: int
    ok: int
    failed: int
    resumed: int
    left: int | None
    retries: int
    interrupted: bool
    over_budget: bool
    refused: Error | None
    cost_usd: float | None
    wall: float
    usage: _core.Usage
    failures: list[str]
    notes: list[str]
    output: str
    def __init__(self, **fields: Any) -> None: ...

_Model: TypeAlias = str | Model | Chain[Any, Any, Any]

@overload
def batch(
    rows: str | PathLike[str],
    /,
    *,
    model: _Model,
    output: str | PathLike[str],
    response: type[Any] | None = None,
    **settings: Unpack[_Settings],
) -> Summary: ...
@overload
def batch(
    rows: _F, /, *, model: _Model, response: type[Any] | None = None, **settings: Unpack[_Settings]
) -> _F: ...
@overload
def batch(
    rows: _LazyFrame[_F],
    /,
    *,
    model: _Model,
    response: type[Any] | None = None,
    **settings: Unpack[_Settings],
) -> _F: ...
@overload
def batch(
    rows: _ArrowStream, /, *, model: _Model, response: type[Any] | None = None, **settings: Unpack[_Settings]
) -> Any: ...
@overload
def batch(
    rows: _Rows, /, *, model: _Model, response: type[_T], **settings: Unpack[_Settings]
) -> list[Row[_T]]: ...
@overload
def batch(
    rows: _Rows, /, *, model: _Model, response: None = None, **settings: Unpack[_Settings]
) -> list[Row[Any]]: ...
@overload
async def abatch(
    rows: str | PathLike[str],
    /,
    *,
    model: _Model,
    output: str | PathLike[str],
    response: type[Any] | None = None,
    **settings: Unpack[_Settings],
) -> Summary: ...
@overload
async def abatch(
    rows: _F, /, *, model: _Model, response: type[Any] | None = None, **settings: Unpack[_Settings]
) -> _F: ...
@overload
async def abatch(
    rows: _LazyFrame[_F],
    /,
    *,
    model: _Model,
    response: type[Any] | None = None,
    **settings: Unpack[_Settings],
) -> _F: ...
@overload
async def abatch(
    rows: _ArrowStream, /, *, model: _Model, response: type[Any] | None = None, **settings: Unpack[_Settings]
) -> Any: ...
@overload
async def abatch(
    rows: _Rows, /, *, model: _Model, response: type[_T], **settings: Unpack[_Settings]
) -> list[Row[_T]]: ...
@overload
async def abatch(
    rows: _Rows, /, *, model: _Model, response: None = None, **settings: Unpack[_Settings]
) -> list[Row[Any]]: ...
