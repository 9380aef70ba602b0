"""What all clients share: settings, requests, and what is made of answers."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from .._raw import RawModel, raw_model
from ._exceptions import APIResponseValidationError, OpenAIError, Request, Response, status_error
from ._object import Object


class NotGiven:
    """A parameter that is not sent."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "NOT_GIVEN"


class Omit(NotGiven):
    """A parameter or header that is not sent."""


NOT_GIVEN: Final = NotGiven()
not_given: Final = NOT_GIVEN
omit: Final = Omit()

# Seconds for a request and its answer. Source: the default of the official package.
DEFAULT_TIMEOUT: Final = 600.0

# Maximum retries, as of all models here. With the 2 of the official package, one call of 1,000 is lost
# where a tenth of the requests fails.
DEFAULT_MAX_RETRIES: Final = 5

# For `timeout=None`, which means no limit.
_NO_LIMIT: Final = 7 * 24 * 3600.0

# Maximum models of a client that are kept: each name, key and time-out is one.
_MAX_MODELS: Final = 256

Key = str | Callable[[], Any]


class Call:
    """A request."""

    __slots__ = (
        "body",
        "cls",
        "headers",
        "is_raw",
        "is_stream",
        "method",
        "parse",
        "path",
        "query",
        "timeout",
    )

    def __init__(
        self,
        method: str,
        path: str,
        cls: type[Object],
        parameters: Mapping[str, Any],
        *,
        is_raw: bool = False,
    ) -> None:
        body = {name: value for name, value in parameters.items() if not isinstance(value, NotGiven)}
        self.method = method
        self.path = path
        self.cls = cls
        self.headers: Mapping[str, Any] = body.pop("extra_headers", None) or {}
        self.query: Mapping[str, Any] = body.pop("extra_query", None) or {}
        self.timeout: Any = body.pop("timeout", NOT_GIVEN)
        body.update(body.pop("extra_body", None) or {})
        self.body: dict[str, Any] = body
        self.is_stream = bool(body.get("stream"))
        self.is_raw = is_raw
        # Makes the value of an answer another one.
        self.parse: Callable[[Any], Any] | None = None


class APIResponse:
    """An answer with its status and headers, as ``with_raw_response`` returns it."""

    def __init__(
        self, response: Response, call: Call, attempts: int, elapsed: float, value: Any = None
    ) -> None:
        self.http_response = response
        self.retries_taken = attempts - 1
        self.elapsed = elapsed
        self._call = call
        self._value = value

    @property
    def status_code(self) -> int:
        """The status."""
        return self.http_response.status_code

    @property
    def headers(self) -> Any:
        """The headers, whose names have no case."""
        return self.http_response.headers

    @property
    def request_id(self) -> str | None:
        """The id that the provider gave the request."""
        value: str | None = self.headers.get("x-request-id")
        return value

    @property
    def content(self) -> bytes:
        """The body."""
        return self.http_response.content

    @property
    def text(self) -> str:
        """The body as text."""
        return self.http_response.text

    def json(self) -> Any:
        """The body as JSON."""
        return self.http_response.json()

    def parse(self) -> Any:
        """What the same call returns without ``with_raw_response``."""
        if self._value is None:
            self._value = value_of(self._call, self.http_response)
        return self._value

    def __repr__(self) -> str:
        return f"<APIResponse [{self.status_code}]>"


def value_of(call: Call, response: Response) -> Any:
    """The object of an answer."""
    content = response.content
    if not content.lstrip().startswith(b"{"):
        message = f"expected a JSON object, got {response.text[:200]!r}"
        raise APIResponseValidationError(response, response.text, message=message)
    value = call.cls._read(content, response.headers.get("x-request-id"))
    return value if call.parse is None else call.parse(value)


class BaseClient:
    """The settings of a client and its requests."""

    api_key: str
    organization: str | None
    project: str | None

    def __init__(
        self,
        *,
        api_key: Any = None,
        organization: str | None = None,
        project: str | None = None,
        base_url: Any = None,
        timeout: Any = NOT_GIVEN,
        max_retries: int = DEFAULT_MAX_RETRIES,
        default_headers: Mapping[str, str] | None = None,
        default_query: Mapping[str, Any] | None = None,
        http_client: Any = None,
    ) -> None:
        if http_client is not None:
            raise TypeError(
                "fanweave.openai has connections of its own and takes no http_client: to keep the official "
                "client, give it one with the transport of fanweave.integrations.httpx"
            )
        self._key: Key = api_key if api_key is not None else os.environ.get("OPENAI_API_KEY", "")
        if not self._key:
            raise OpenAIError("no API key: pass api_key, or set the environment variable OPENAI_API_KEY")
        self.api_key = self._key if isinstance(self._key, str) else ""
        self.organization = organization if organization is not None else os.environ.get("OPENAI_ORG_ID")
        self.project = project if project is not None else os.environ.get("OPENAI_PROJECT_ID")
        url = base_url if base_url is not None else os.environ.get("OPENAI_BASE_URL")
        self._url = str(url or "https://api.openai.com/v1").rstrip("/")
        if max_retries < 0:
            raise ValueError(f"max_retries must be at least 0, got {max_retries}")
        self.max_retries = max_retries
        self.timeout = timeout
        self._headers = dict(default_headers or {})
        self._query = dict(default_query or {})
        self._models: dict[Any, RawModel] = {}

    @property
    def base_url(self) -> str:
        """The base URL, with a slash at its end."""
        return f"{self._url}/"

    def _settings(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            "api_key": self._key,
            "organization": self.organization,
            "project": self.project,
            "base_url": self._url,
            "timeout": self.timeout,
            "max_retries": self.max_retries,
            "default_headers": self._headers,
            "default_query": self._query,
        }

    def copy(self, *, set_default_headers: Any = None, set_default_query: Any = None, **settings: Any) -> Any:
        """The same client with other settings. ``default_headers`` and ``default_query`` are added to those it has."""
        own = self._settings()
        for name, replaced in (
            ("default_headers", set_default_headers),
            ("default_query", set_default_query),
        ):
            added = settings.pop(name, None)
            if added is not None and replaced is not None:
                raise ValueError(f"`{name}` and `set_{name}` exclude each other")
            own[name] = replaced if replaced is not None else {**own[name], **(added or {})}
        own.update({name: value for name, value in settings.items() if not isinstance(value, NotGiven)})
        return type(self)(**own)

    with_options = copy

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"`{type(self).__name__}` has no attribute `{name}`")
        raise AttributeError(
            f"fanweave.openai has no `{name}`: use the official package with the transport of "
            "fanweave.integrations.httpx, which sends all its requests through the same limits"
        )

    # -- requests ------------------------------------------------------------------------------------------

    def _provider(self) -> str:
        return "openai"

    def _address(self, call: Call) -> tuple[str, str]:
        """The base URL and the path of a request."""
        return self._url, call.path

    def _model(self, url: str, name: str, key: str, timeout: Any) -> RawModel:
        """The model with the limits, retries and time-outs of a request."""
        seconds = _seconds(self.timeout if isinstance(timeout, NotGiven) else timeout)
        known = (url, name, key, seconds)
        found = self._models.get(known)
        if found is None:
            if len(self._models) >= _MAX_MODELS:
                self._models.clear()
            found = self._models[known] = raw_model(
                f"{self._provider()}/{name}",
                base_url=url,
                api_key=key,
                timeout=seconds,
                retries=self.max_retries,
            )
        return found

    def _prepared(self, call: Call, key: str) -> tuple[RawModel, dict[str, Any], Request]:
        """The model of a request, the arguments of its method, and what exceptions show of the request."""
        headers = {"content-type": "application/json", "accept": "application/json"}
        if self.organization:
            headers["openai-organization"] = self.organization
        if self.project:
            headers["openai-project"] = self.project
        for name, value in (*self._headers.items(), *call.headers.items()):
            if isinstance(value, NotGiven):
                headers.pop(name.lower(), None)
            else:
                headers[name.lower()] = str(value)
        own_key = headers.pop("authorization", "")
        if own_key.lower().startswith("bearer "):
            key = own_key[7:]
        url, path = self._address(call)
        query = {**self._query, **call.query}
        if query:
            path = f"{path}?{urlencode(query, doseq=True)}"
        body = None if call.method == "GET" else _encoded(call.body)
        model = self._model(url, str(call.body.get("model") or "default"), key, call.timeout)
        limit = call.body.get("max_completion_tokens") or call.body.get("max_tokens")
        arguments = {
            "path": path,
            "body": body,
            "method": call.method,
            "headers": headers,
            "max_tokens": limit if isinstance(limit, int) and limit > 0 else None,
            "return_errors": True,
        }
        return model, arguments, Request(call.method, f"{url}{path}", body or b"")

    def _answered(self, call: Call, request: Request, answer: Any, body: bytes, began: float) -> Any:
        """What a call returns whose answer is complete."""
        response = Response(answer.status, headers=answer.headers, content=body, request=request)
        if not response.is_success:
            raise status_error(response)
        if call.is_raw:
            return APIResponse(response, call, answer.attempts, time.perf_counter() - began)
        return value_of(call, response)


def _seconds(timeout: Any) -> float:
    """Seconds of a time-out: a number, None, or a ``Timeout`` of httpx, whose longest part counts."""
    if isinstance(timeout, NotGiven):
        return DEFAULT_TIMEOUT
    if timeout is None:
        return _NO_LIMIT
    if isinstance(timeout, (int, float)):
        return float(timeout)
    parts = [getattr(timeout, name, None) for name in ("connect", "read", "write", "pool")]
    given = [float(part) for part in parts if part is not None]
    return max(given) if len(given) == len(parts) else _NO_LIMIT


def _encoded(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), default=_plain).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Object):
        return value.to_dict()
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", exclude_unset=True, by_alias=True)
    if hasattr(value, "__iter__"):
        return list(value)
    raise OpenAIError(f"a value of the type {type(value).__name__} cannot be sent as JSON")
