"""The exceptions of the official package: names, classes and arguments."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import fanweave as fw

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "ConflictError",
    "ContentFilterFinishReasonError",
    "InternalServerError",
    "LengthFinishReasonError",
    "NotFoundError",
    "OpenAIError",
    "PermissionDeniedError",
    "RateLimitError",
    "UnprocessableEntityError",
]


class Headers(Mapping[str, str]):
    """Headers of an answer. Names have no case; a name that occurs several times has its last value."""

    def __init__(self, pairs: Any = ()) -> None:
        self._pairs: list[tuple[str, str]] = list(pairs.items() if isinstance(pairs, Mapping) else pairs)
        self._values = {name.lower(): value for name, value in self._pairs}

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def multi_items(self) -> list[tuple[str, str]]:
        """All pairs of a name and a value, in order."""
        return list(self._pairs)

    def __repr__(self) -> str:
        return f"Headers({self._values})"


class Request:
    """A request, without its key."""

    def __init__(self, method: str, url: str, content: bytes = b"") -> None:
        self.method = method
        self.url = url
        self.content = content

    def __repr__(self) -> str:
        return f"<Request({self.method!r}, {self.url!r})>"


class Response:
    """An answer of the provider."""

    def __init__(
        self, status_code: int, *, headers: Any = (), content: bytes = b"", request: Request | None = None
    ) -> None:
        self.status_code = status_code
        self.headers = Headers(headers)
        self.content = content
        self.request = request if request is not None else Request("POST", "")

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode(errors="replace")

    @property
    def url(self) -> str:
        """The URL of the request."""
        return self.request.url

    @property
    def is_success(self) -> bool:
        """True for a status from 200 to 299."""
        return 200 <= self.status_code < 300

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.content)

    def __repr__(self) -> str:
        return f"<Response [{self.status_code}]>"


class OpenAIError(Exception):
    """Any failure. Like all exceptions of this package it can be pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.args), self.__dict__


def _rebuilt(cls: type[OpenAIError], args: tuple[Any, ...]) -> OpenAIError:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


class APIError(OpenAIError):
    """A failure of a call."""

    message: str
    request: Any
    body: object | None
    code: str | None = None
    param: str | None = None
    type: str | None

    def __init__(self, message: str, request: Any, *, body: object | None) -> None:
        super().__init__(message)
        self.message = message
        self.request = request
        self.body = body
        fields = body if isinstance(body, Mapping) else {}
        code = fields.get("code")
        self.code = None if code is None else str(code)
        self.param = fields.get("param")
        self.type = fields.get("type")


class APIResponseValidationError(APIError):
    """The answer is not in the documented format."""

    def __init__(self, response: Any, body: object | None, *, message: str | None = None) -> None:
        super().__init__(
            message or "The answer is not in the documented format.", response.request, body=body
        )
        self.response = response
        self.status_code: int = response.status_code


class APIStatusError(APIError):
    """The provider answered with an error status."""

    response: Any
    status_code: int
    request_id: str | None

    def __init__(self, message: str, *, response: Any, body: object | None) -> None:
        super().__init__(message, response.request, body=body)
        self.response = response
        self.status_code = response.status_code
        self.request_id = response.headers.get("x-request-id")


class APIConnectionError(APIError):
    """The provider could not be reached, or the connection broke."""

    def __init__(self, *, message: str = "Connection error.", request: Any) -> None:
        super().__init__(message, request, body=None)


class APITimeoutError(APIConnectionError):
    """The call took longer than its time-out."""

    def __init__(self, request: Any) -> None:
        super().__init__(message="Request timed out.", request=request)


class BadRequestError(APIStatusError):
    """Status 400."""


class AuthenticationError(APIStatusError):
    """Status 401."""


class PermissionDeniedError(APIStatusError):
    """Status 403."""


class NotFoundError(APIStatusError):
    """Status 404."""


class ConflictError(APIStatusError):
    """Status 409."""


class UnprocessableEntityError(APIStatusError):
    """Status 422."""


class RateLimitError(APIStatusError):
    """Status 429."""


class InternalServerError(APIStatusError):
    """A status of 500 or above."""


class LengthFinishReasonError(OpenAIError):
    """An answer of ``parse`` was cut at the maximum number of tokens. ``completion`` is the answer."""

    def __init__(self, *, completion: Any) -> None:
        message = "Could not parse the answer: it ended at the maximum number of tokens"
        if completion.usage:
            message += f" - {completion.usage}"
        super().__init__(message)
        self.completion = completion


class ContentFilterFinishReasonError(OpenAIError):
    """An answer of ``parse`` was stopped by a content filter. ``completion`` is the answer."""

    def __init__(self, *, completion: Any = None) -> None:
        super().__init__("Could not parse the answer: a content filter stopped it")
        self.completion = completion


_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}


def status_error(response: Response) -> APIStatusError:
    """The exception of an answer with an error status."""
    body: Any = response.text.strip()
    message = f"Error code: {response.status_code}"
    try:
        body = json.loads(body)
    except ValueError:
        pass
    if isinstance(body, dict):
        body = body.get("error", body)
    said = body.get("message") if isinstance(body, dict) else None
    if isinstance(said, str) and said:
        message = f"{message} - {said}"
    default = InternalServerError if response.status_code >= 500 else APIStatusError
    cls = _BY_STATUS.get(response.status_code, default)
    return cls(message, response=response, body=body)


def failure(error: fw.Error, request: Request) -> OpenAIError:
    """The official exception for one of the engine. That of an outage has the class of its last failure."""
    made: OpenAIError
    shown = str(error)
    if isinstance(error, fw.UnavailableError) and isinstance(error.__cause__, fw.Error):
        error = error.__cause__
    state = vars(error)
    status: int | None = state["status"]
    if status is not None and status >= 400:
        body = state["body"] if isinstance(state["body"], str) else ""
        response = Response(status, headers=state["headers"], content=body.encode(), request=request)
        made = status_error(response)
    elif isinstance(error, fw.TimeoutError):
        made = APITimeoutError(request)
    elif isinstance(error, (fw.ConfigError, fw.InputError)):
        made = OpenAIError(str(error))
    else:
        made = APIConnectionError(message=f"Connection error: {shown}", request=request)
    made.__cause__ = error
    return made
