"""Types of arguments, for annotations. Not loaded at run time."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

from ._core import Message, Prompt

if TYPE_CHECKING:
    from ._client import Client
    from ._model import Model
    from ._share import Share

PromptLike: TypeAlias = str | Message | Prompt | Sequence[Message | tuple[str, str] | Mapping[str, Any]]
"""The input of a model: a text of the user, messages, or pairs of a role and a text."""


class RunOptions(TypedDict, total=False):
    """Options of each verb."""

    timeout: float | None
    tags: Sequence[str]
    metadata: Mapping[str, Any]
    priority: Literal["interactive", "batch"]
    session: str | None
    fresh: bool


class Parameters(TypedDict, total=False):
    """Parameters of a call."""

    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    stop: str | list[str] | None
    seed: int | None
    reasoning_effort: str | None
    reasoning_budget: int | None
    reasoning_summary: bool | None
    tool_choice: str | None
    extra: dict[str, Any] | None


class Config(TypedDict, total=False):
    """What a decorated function may return: its messages, and what holds for this call alone.

    >>> @fw.call(model="sim/writer")
    ... def greet(name: str) -> fw.Config:
    ...     return {"messages": f"Hello, {name}!", "parameters": {"max_tokens": 1}}
    >>> greet("Ada").finish_reason
    'length'
    """

    messages: PromptLike
    model: "str | Model"
    client: "Client"
    tools: Sequence[Callable[..., Any]]
    parameters: Parameters


class ConnectionSettings(TypedDict, total=False):
    """Settings of the connection and the account of a model."""

    base_url: str | None
    api_key: str | Callable[[], str | Awaitable[str]] | None
    timeout: float | None
    retries: int | None
    rpm: int | None
    tpm: int | None
    concurrency: int | None
    headers: dict[str, str] | None
    client: "Client | None"
    share: "str | Share | None"


class Settings(Parameters, ConnectionSettings, total=False):
    """Settings of a model: its connection, its limits, and parameters of its calls."""


class EmbedderSettings(ConnectionSettings, total=False):
    """Settings of an embedder."""

    dimensions: int | None
    max_inputs: int | None
