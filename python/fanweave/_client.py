"""Clients, which are connection pools with settings of their own, and the settings of the whole process."""

from __future__ import annotations

from . import _core, _loops
from ._errors import ConfigError

# `typing` takes longer to load than all of this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ._share import Share


class Client:
    """A connection pool with settings of its own, for models that are made with ``client=``.

    ``timeout`` is that of a request with its answer, ``connect`` that of a connection, ``first_byte`` that of the
    beginning of an answer and ``idle`` that of a pause in it, all in seconds. ``proxy`` is the URL of a proxy for all
    requests, or ``False`` for none; by default, the variables ``https_proxy``, ``http_proxy``, ``all_proxy`` and
    ``no_proxy`` of the environment apply. ``root_certificates``, in PEM, are trusted besides those of the system.
    ``headers`` are sent with each request.

    Raises ``ConfigError`` for an invalid setting.

    >>> client = fw.Client(timeout=30, headers={"x-team": "search"})
    >>> model = fw.model("openai/gpt-5-mini", api_key="..", client=client)
    """

    __slots__ = ("_engine", "_settings")

    def __init__(
        self,
        *,
        timeout: float | None = None,
        connect: float | None = None,
        first_byte: float | None = None,
        idle: float | None = None,
        proxy: str | bool | None = None,
        root_certificates: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = {
            "timeout": timeout,
            "connect": connect,
            "first_byte": first_byte,
            "idle": idle,
            "proxy": proxy,
            "root_certificates": root_certificates,
            "headers": None if headers is None else dict(headers),
        }
        self._engine = _core.client(self._settings)

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self._settings,)

    def __repr__(self) -> str:
        # Headers and proxies may contain keys.
        return "Client()"


def _made(settings: dict[str, Any]) -> Client:
    return Client(**settings)


_default: Client | None = None
_default_share: str | Share | None = None


def configure(
    *, client: Client | None = None, threads: int | None = None, share: str | Share | None = None
) -> None:
    """Sets what holds for the whole process. What is not given stays as it is.

    ``client`` is the client of all models, embedders and raw models that are made later without one, and ``share`` the
    broker at which their limits are shared. ``threads`` is the
    number of threads of the engine, 1 by default, which is enough for thousands of calls at once; it can be set only before
    the first call, else a ``ConfigError`` is raised.

    >>> fw.configure(client=fw.Client(timeout=120))
    """
    global _default, _default_share
    if client is not None:
        check_client(client)
        _default = client
    if share is not None:
        from ._share import engine

        engine(share)
        _default_share = share
    if threads is not None:
        _core.configure(threads)


def check_client(client: Any) -> None:
    """Raises ``ConfigError`` unless it is a ``Client``."""
    if not isinstance(client, Client):
        raise ConfigError(f"client must be a fanweave.Client, got {type(client).__name__}", kind="config")


def prepared(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a model for the engine."""
    client = settings.get("client")
    if client is not None:
        check_client(client)
    if client is None and not name.startswith("sim/"):
        client = _default
    if client is not None:
        settings = {**settings, "client": client._engine}
    share = settings.get("share")
    if share is None and not name.startswith("sim/"):
        share = _default_share
    if share is not None:
        from ._share import engine

        settings = {**settings, "share": engine(share)}
    if callable(settings.get("api_key")):
        _loops.serve_keys()
    return settings
