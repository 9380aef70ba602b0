"""Exceptions: one class for each kind of failure of the engine."""

from __future__ import annotations

import builtins

# `typing` takes longer to load than all of this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "AuthenticationError",
    "BadRequestError",
    "BatchError",
    "CancelledError",
    "ConfigError",
    "ConnectionError",
    "ContentFilterError",
    "ContextLengthError",
    "DecodeError",
    "EmptyError",
    "Error",
    "InputError",
    "NotFoundError",
    "OverloadedError",
    "ParseError",
    "PermissionDeniedError",
    "QuotaExhaustedError",
    "RateLimitError",
    "RecursionLimitError",
    "ServerError",
    "StreamIncompleteError",
    "TimeoutError",
    "UnavailableError",
]

# Attributes of an error, with their defaults.
_STATE: dict[str, Any] = {
    "kind": "step",
    "status": None,
    "provider": None,
    "code": None,
    "request_id": None,
    "retry_after": None,
    "attempts": 0,
    "body": None,
    "path": [],
    "partial": None,
    "is_retryable": False,
    "headers": [],
}


class Error(Exception):
    """A failure of a call or a chain. ``str(error)`` is the message; the attributes say what is known of it.

    >>> try:
    ...     fw.model("openai/gpt-5-mini", api_key="any", base_url="http://127.0.0.1:1/v1", temprature=0)
    ... except fw.Error as error:
    ...     print(error.kind, "-", error)
    config - `temprature` is not a parameter of a model: did you mean `temperature`?
    """

    def __init__(self, message: str = "", /, **state: Any) -> None:
        super().__init__(message)
        self.__dict__.update(_STATE, **state)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args), self.__dict__


def _rebuild(cls: type[Error], args: tuple[Any, ...]) -> Error:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


class AuthenticationError(Error):
    """The provider rejected the API key, or no key is set."""


class PermissionDeniedError(Error):
    """The key is valid but lacks permission."""


class NotFoundError(Error):
    """The model, endpoint or resource does not exist."""


class BadRequestError(Error):
    """The provider rejected the request as malformed."""


class ContextLengthError(BadRequestError):
    """The prompt and the answer exceed the context window of the model."""


class ContentFilterError(BadRequestError):
    """A content filter rejected the prompt or the answer."""


class RateLimitError(Error):
    """The rate limit for requests or tokens is exceeded."""


class QuotaExhaustedError(RateLimitError):
    """The account has run out of credit or of its daily quota: waiting does not help."""


class OverloadedError(Error):
    """The provider is temporarily out of capacity."""


class ServerError(Error):
    """The provider failed with an internal error."""


class TimeoutError(Error, builtins.TimeoutError):
    """A deadline passed."""


class ConnectionError(Error, builtins.ConnectionError):
    """The network failed: name resolution, connect, TLS, reset."""


class UnavailableError(Error):
    """The provider has been failing for longer than calls wait for the end of an outage."""


class DecodeError(Error):
    """The answer is not in the documented format of the provider."""


class StreamIncompleteError(Error):
    """The stream was cut before its end. ``partial`` is what had arrived."""


class CancelledError(Error):
    """The run was cancelled, or its event loop or interpreter has ended."""


class ConfigError(Error, ValueError):
    """A setting is invalid."""


class InputError(Error, ValueError):
    """The input of a step is invalid: a missing variable, a value of the wrong type."""


class ParseError(Error, ValueError):
    """A parser could not parse the answer of a model."""


class EmptyError(Error):
    """A stream ended without a piece."""


class RecursionLimitError(Error):
    """Dynamic steps or the tool loop exceeded their limit."""


class BatchError(Error):
    """Rows of a batch failed. All rows have ended."""

    results: list[Any]
    """The output of each row, or its exception."""

    @property
    def failures(self) -> list[tuple[int, BaseException]]:
        """Index and exception of each failed row."""
        return [(i, result) for i, result in enumerate(self.results) if isinstance(result, BaseException)]


_CLASSES: dict[str, type[Error]] = {
    "authentication": AuthenticationError,
    "permission": PermissionDeniedError,
    "not_found": NotFoundError,
    "bad_request": BadRequestError,
    "context_length": ContextLengthError,
    "content_filter": ContentFilterError,
    "rate_limited": RateLimitError,
    "quota_exhausted": QuotaExhaustedError,
    "overloaded": OverloadedError,
    "server": ServerError,
    "timeout": TimeoutError,
    "connection": ConnectionError,
    "unavailable": UnavailableError,
    "decode": DecodeError,
    "stream_incomplete": StreamIncompleteError,
    "cancelled": CancelledError,
    "config": ConfigError,
    "input": InputError,
    "parse": ParseError,
    "empty": EmptyError,
    "recursion_limit": RecursionLimitError,
}


def exception_of(message: str, state: dict[str, Any]) -> Error:
    """The exception of an error of the engine."""
    return _CLASSES.get(state["kind"], Error)(message, **state)
