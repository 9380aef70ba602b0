from typing import Any

from typing_extensions import Unpack

from ._chain import Chain
from ._core import Delta, Message
from ._types import Parameters, PromptLike, Settings

class Model(Chain[PromptLike, Message, Delta]):
    name: str
    def __init__(self, name: str, settings: dict[str, Any]) -> None: ...
    def bind(self, *, model: str | None = None, **parameters: Unpack[Parameters]) -> Model: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

def model(name: str, /, **settings: Unpack[Settings]) -> Model: ...
