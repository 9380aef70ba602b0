"""Models."""

from __future__ import annotations

from . import _core
from ._chain import Chain
from ._client import prepared

# `typing` takes longer to load than all of this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike
    from typing import Any

    from ._client import Client


class Model(Chain):
    """A model of a provider. It belongs to no event loop: one model works in all loops, threads and processes.

    >>> model = fw.model("sim/writer").bind(max_tokens=2)
    >>> model.invoke("A poem about bears.").finish_reason
    'length'
    """

    __slots__ = ("_cache", "_settings", "name")

    def __init__(self, name: str, settings: dict[str, Any], cache: str | None = None) -> None:
        if not isinstance(name, str):
            raise TypeError(
                f"a model is named by a text such as openai/gpt-5-mini, got {type(name).__name__}"
            )
        super().__init__(_core.model(name, prepared(name, settings), cache))
        self.name = name
        self._settings = settings
        self._cache = cache

    def bind(self, *, model: str | None = None, **parameters: Any) -> Model:
        """The same model with other parameters, or another one with the same settings."""
        return Model(model or self.name, {**self._settings, **parameters}, self._cache)

    def _with_client(self, client: Client) -> Model:
        return Model(self.name, {**self._settings, "client": client}, self._cache)

    def with_tools(
        self,
        *tools: Any,
        run: int | None = None,
        on_error: str = "tell",
        timeout: float | None = None,
        concurrency: int = 8,
    ) -> Chain:
        """The model with tools: functions, classes with a method ``call``, or what ``fanweave.tool`` makes.

        Without ``run``, the answer contains the calls of tools that the model asks for, in ``tool_calls``. With it,
        they are run, at most ``concurrency`` at once, and the model reads their results, in at most ``run`` rounds;
        a model that still calls tools then raises ``RecursionLimitError``. ``timeout`` is that of one call of a tool in
        seconds. A tool that fails is reported to the model, or with ``on_error="raise"`` ends the run with its
        exception; invalid arguments are always reported to the model.
        """
        from ._tool import with_tools

        return with_tools(self, tools, run, on_error, timeout, concurrency)

    def structured(self, type: Any, *, retries: int = 1) -> Chain:
        """The model with answers of a type: a dataclass, a TypedDict, a pydantic model, a list of these, or others.

        The provider enforces the schema of the type, if it can. An answer that does not fit goes back to the model with
        the reason, at most ``retries`` times, then raises ``ParseError``. A stream yields the JSON value so far.

        Raises ``ConfigError`` for a type that JSON cannot express.
        """
        from ._tool import structured

        return structured(self, type, retries)

    def cached(self, path: str | PathLike[str] | None = None) -> Model:
        """The same model, which answers a prompt that it has answered before from a cache, at no cost.

        The cache is in memory, or with ``path`` in a file that several processes may share. ``fresh=True`` of a verb
        ignores it.
        """
        from os import fspath

        return Model(self.name, self._settings, "" if path is None else fspath(path))

    def __reduce__(self) -> tuple[Any, ...]:
        return Model, (self.name, self._settings, self._cache)

    def __repr__(self) -> str:
        return f"Model({self.name})"


def model(name: str, /, **settings: Any) -> Model:
    """The model called ``name``: ``provider/model``, such as ``openai/gpt-5-mini``.

    Key and base URL are read from the environment variables of the provider, unless ``api_key`` and ``base_url`` are given.
    ``sim/writer`` and ``sim/echo`` need no key. ``api_key`` may be a function without arguments, also an async one, that
    returns the key. It is called before each request, so it should keep a key while it is valid; a plain function runs on a
    thread, an async one on a loop that all such functions share. What it raises is raised by the call.

    ``timeout`` is that of one request in seconds, ``retries`` the number of retries of a request; ``rpm``, ``tpm`` and
    ``concurrency`` limit requests and tokens per minute and requests at once of the account. ``headers`` are sent with each
    request, and ``client`` is a ``Client``. With ``share``, the URL of a broker or a ``Share``, ``rpm`` and ``tpm`` hold for
    all processes together that name it. Other settings are parameters of each call.

    Raises ``ConfigError`` for an unknown provider or setting, ``AuthenticationError`` for a missing key.

    >>> fw.model("openai/gpt-5-mini", api_key=lambda: "a key of the day")
    Model(openai/gpt-5-mini)
    """
    return Model(name, settings)


class AccountState:
    """The state of an account: a base URL, a key and a model.

    >>> isinstance(fw.limits(), list)
    True
    """

    __slots__ = (
        "base_url",
        "capacity",
        "closed_for",
        "in_flight",
        "model",
        "refused",
        "requests",
        "rpm",
        "rpm_limit",
        "status",
        "tpm",
        "tpm_limit",
        "waiting",
    )

    def __init__(self, **fields: Any) -> None:
        for name, value in fields.items():
            setattr(self, name, value)

    def __repr__(self) -> str:
        return (
            f"AccountState({self.model}, {self.status}, {self.in_flight} in flight, {self.waiting} waiting)"
        )


def limits() -> list[AccountState]:
    """The state of each account that calls of this process have used.

    >>> from fanweave.testing import sim
    >>> with sim() as provider:
    ...     _ = fw.model("openai/gpt-5-mini", base_url=provider.url, api_key="any", rpm=600).invoke("hello")
    ...     [(state.model, state.rpm_limit) for state in fw.limits() if state.base_url == provider.url]
    [('gpt-5-mini', 600.0)]
    """
    return [AccountState(**fields) for fields in _core.limits()]


class Adaptation:
    """What was changed in the requests for a model because its server had refused them: ``changes``, one sentence each, the
    number of requests that were ``refused``, and of those that were sent with changes (``changed``).

    >>> isinstance(fw.adaptations(), list)
    True
    """

    __slots__ = ("base_url", "changed", "changes", "model", "refused")

    def __init__(self, **fields: Any) -> None:
        for name, value in fields.items():
            setattr(self, name, value)

    def __repr__(self) -> str:
        return f"Adaptation({self.model}, {', '.join(self.changes)})"


def adaptations() -> list[Adaptation]:
    """The changes to requests that servers have refused in this process, one object for each model of a server.

    A field that Fanweave adds by itself, such as the spelling of ``max_tokens``, is changed once and remembered. The parameters
    of the caller are sent as they are.

    >>> all(adaptation.changes for adaptation in fw.adaptations())
    True
    """
    return [Adaptation(**fields) for fields in _core.adaptations()]
