"""What models with and without chat share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from .._errors import ConfigError


def first(*values: Any) -> Any:
    """The first value that is not None."""
    return next((value for value in values if value is not None), None)


class Settings:
    """Settings by the names that LangChain has for them, in the words of the engine."""

    def __init__(
        self, kind: str, given: Mapping[str, Any], key_names: tuple[str, ...], url_names: tuple[str, ...]
    ) -> None:
        left = dict(given)

        def take(*names: str) -> Any:
            return first(*[left.pop(name, None) for name in names])

        self.connection: dict[str, Any] = {}
        for name, value in (
            ("api_key", _secret(take("api_key", *key_names))),
            ("base_url", take("base_url", *url_names)),
            ("timeout", take("timeout", "request_timeout", "default_request_timeout")),
            ("retries", take("max_retries")),
            ("headers", take("default_headers")),
            ("rpm", take("rpm")),
            ("tpm", take("tpm")),
        ):
            if value is not None:
                self.connection[name] = value
        organization = take("organization", "openai_organization")
        if organization is not None:
            headers = self.connection.get("headers") or {}
            self.connection["headers"] = {**headers, "openai-organization": organization}
        self.extra: dict[str, Any] = dict(take("model_kwargs") or {})
        self.extra.update(take("extra_body") or {})
        self.left = left
        self._kind = kind

    def check(self) -> None:
        """Raises an error for settings that nobody has taken."""
        for name in ("callbacks", "callback_manager", "cache", "rate_limiter"):
            value = self.left.pop(name, None)
            if value:
                raise ConfigError(
                    f"`{name}` of {self._kind} is not supported by fanweave.langchain", kind="config"
                )
        self.left.pop("verbose", None)
        if self.left:
            name = sorted(self.left)[0]
            message = (
                f"`{name}` is not a setting of {self._kind}: use model_kwargs for parameters of the provider"
            )
            raise ConfigError(message, kind="config")


def _secret(value: Any) -> Any:
    """The text of a secret of pydantic, or the value."""
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


def from_environment(name: str, default: str | None = None) -> str | None:
    """An environment variable, unless it is empty."""
    return os.environ.get(name) or default
