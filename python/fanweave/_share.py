"""Limits of accounts that processes share through a broker."""

from __future__ import annotations

from . import _core
from ._errors import ConfigError

# `typing` takes longer to load than all of this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike
    from typing import Any


class Share:
    """A broker at which processes share the limits of their accounts: a NATS server that ``fanweave broker init`` prepared.

    ``rpm`` and ``tpm`` of models that are made with ``share=`` hold for all processes together, on any number of machines.
    Limits that a provider names in its answers to one process hold for the others as well, at 90 %, for a minute. Processes
    lease requests for a fraction of a second, so that idle ones leave their share to the others. While the broker is
    unreachable, each keeps to less than its equal share. The broker has a hash of the key, and never the key.

    ``url`` is such as ``nats://HOST:4222`` or ``tls://HOST:4222``, or several separated by commas; ``@FILE`` reads it from a
    file, and by default it is that of the variable ``FANWEAVE_ON``. ``ca`` is the file with the certificates of its
    authority, ``certificate`` the files of a certificate of this client and of its key, ``creds`` and ``nkey`` are files with
    a user. ``plaintext=True`` allows a connection to another machine that is not encrypted.

    The first call connects. It raises ``ConfigError`` if the broker cannot be reached or is not prepared, and
    ``PermissionDeniedError`` if it does not permit it. Raises ``ConfigError`` for an invalid URL, and if the package was
    built without the feature ``workers``.

    >>> share = fw.Share("nats://127.0.0.1:4222")
    >>> model = fw.model("openai/gpt-5-mini", api_key="..", rpm=3000, share=share)
    """

    __slots__ = ("_engine", "_given", "_settings")

    def __init__(
        self,
        url: str | None = None,
        *,
        ca: str | PathLike[str] | None = None,
        creds: str | PathLike[str] | None = None,
        nkey: str | PathLike[str] | None = None,
        certificate: tuple[str | PathLike[str], str | PathLike[str]] | None = None,
        plaintext: bool = False,
    ) -> None:
        from os import fspath

        def path(value: str | PathLike[str] | None) -> str | None:
            return None if value is None else fspath(value)

        self._given = url
        url = _url(url)
        self._settings: dict[str, Any] = {
            "ca": path(ca),
            "creds": path(creds),
            "nkey": path(nkey),
            "certificate": certificate and tuple(fspath(each) for each in certificate),
            "plaintext": plaintext or None,
        }
        known = (url, *self._settings.values())
        # Models that name the same broker share one connection.
        if known not in _engines:
            _engines[known] = _core.share(url, self._settings)
        self._engine = _engines[known]

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process reads the variable or the file itself: the URL may have a password.
        return _made, (self._given, self._settings)

    def __repr__(self) -> str:
        # The URL may have a password.
        return "Share()"


_engines: dict[tuple[Any, ...], _core.Share] = {}


def _made(url: str | None, settings: dict[str, Any]) -> Share:
    return Share(url, **{name: value for name, value in settings.items() if value is not None})


def _url(url: str | None) -> str:
    if url is None:
        from os import environ

        url = environ.get("FANWEAVE_ON", "").strip()
        if not url:
            raise ConfigError("share: no broker given: pass its URL, or set FANWEAVE_ON", kind="config")
    if url.startswith("@"):
        try:
            with open(url[1:], encoding="utf-8") as file:
                url = file.read().strip()
        except OSError as error:
            raise ConfigError(
                f"share: cannot read the URL in {url[1:]}: {error.strerror}", kind="config"
            ) from error
    return url


def engine(share: str | Share) -> _core.Share:
    """The engine's part of a broker that is named by its URL, or given."""
    if isinstance(share, Share):
        return share._engine
    if not isinstance(share, str):
        raise ConfigError(
            f"share must be a URL such as nats://HOST:4222 or a fanweave.Share, got {type(share).__name__}",
            kind="config",
        )
    return Share(share)._engine
