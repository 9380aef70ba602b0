from collections.abc import Callable
from os import PathLike
from typing import Any, Literal, TypeVar

from typing_extensions import Unpack

from ._chain import Chain
from ._core import Delta, Message
from ._types import Parameters, PromptLike, Settings

_T = TypeVar("_T")

class Model(Chain[PromptLike, Message, Delta]):
    name: str
    _settings: dict[str, Any]
    def __init__(self, name: str, settings: dict[str, Any], cache: str | None = None) -> None: ...
    def bind(self, *, model: str | None = None, **parameters: Unpack[Parameters]) -> Model: ...
    def with_tools(
        self,
        *tools: Callable[..., Any],
        run: int | None = None,
        on_error: Literal["tell", "raise"] = "tell",
        timeout: float | None = None,
        concurrency: int = 8,
    ) -> Chain[PromptLike, Message, Delta]: ...
    def structured(self, type: type[_T], *, retries: int = 1) -> Chain[PromptLike, _T, Any]: ...
    def cached(self, path: str | PathLike[str] | None = None) -> Model: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

def model(name: str, /, **settings: Unpack[Settings]) -> Model: ...

class AccountState:
    base_url: str
    model: str
    status: str
    rpm: float | None
    rpm_limit: float | None
    tpm: float | None
    tpm_limit: float | None
    in_flight: int
    waiting: int
    capacity: int | None
    closed_for: float | None
    requests: int
    refused: int
    def __init__(self, **fields: Any) -> None: ...

def limits() -> list[AccountState]: ...

class Adaptation:
    model: str
    base_url: str
    changes: list[str]
    refused: int
    changed: int
    def __init__(self, **fields: Any) -> None: ...

def adaptations() -> list[Adaptation]: ...
