"""JSON objects with attributes, which are read when they are first needed."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

# Classes of objects, by name, for the annotations of the others.
_classes: dict[str, type[Object]] = {}


class Field:
    """A documented field of an object."""

    __slots__ = ("cls", "is_optional")

    def __init__(self, annotation: str) -> None:
        self.is_optional = "None" in annotation
        names = re.findall(r"[A-Za-z_]+", annotation)
        self.cls = next((_classes[name] for name in names if name in _classes), None)


class Object:
    """An object of an answer. Its fields are attributes, also those that the provider has added.

    A documented field that is missing is None if it is optional. Nothing is checked: values are those of the provider.
    """

    # The name in the official package, if another class of this one has it.
    _title: ClassVar[str | None] = None
    # The bytes of the answer until a field is read, then its value.
    _content: bytes | dict[str, Any]
    _request_id: str | None

    def __init_subclass__(cls) -> None:
        _classes[cls.__name__] = cls

    def __init__(self, **fields: Any) -> None:
        own = self.__dict__
        own["_content"] = {name: _plain(value) for name, value in fields.items()}
        own["_request_id"] = None

    @classmethod
    def construct(cls, **fields: Any) -> Any:
        """An object of these fields. Nothing is checked."""
        return cls(**fields)

    @classmethod
    def _read(cls, content: bytes | dict[str, Any], request_id: str | None = None) -> Any:
        made = cls.__new__(cls)
        made.__dict__["_content"] = content
        made.__dict__["_request_id"] = request_id
        return made

    def _value(self) -> dict[str, Any]:
        content = self._content
        if isinstance(content, bytes):
            content = json.loads(content)
            if not isinstance(content, dict):
                raise ValueError(f"expected a JSON object, got {type(content).__name__}")
            self.__dict__["_content"] = content
        return content

    @classmethod
    def _known(cls) -> dict[str, Field]:
        known: dict[str, Field] | None = cls.__dict__.get("_fields")
        if known is None:
            known = {}
            for each in reversed(cls.__mro__):
                if each is not Object and issubclass(each, Object):
                    for name, annotation in inspect.get_annotations(each).items():
                        if not name.startswith("_"):
                            known[name] = Field(annotation)
            cls._fields = known  # type: ignore[attr-defined]
        return known

    def __getattr__(self, name: str) -> Any:
        # Called for names that are not among the values that were read before.
        if name.startswith("__") or name in ("_content", "_request_id"):
            raise AttributeError(name)
        field = self._known().get(name)
        data = self._value()
        if name not in data:
            if field is not None and field.is_optional:
                return None
            raise AttributeError(f"`{self._name()}` has no attribute `{name}`")
        value = data[name]
        if field is not None and field.cls is not None:
            value = _wrapped(field.cls, value)
            self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        self._value()[name] = _plain(value)
        self.__dict__.pop(name, None)
        if isinstance(value, (Object, list)):
            self.__dict__[name] = value

    def __getitem__(self, name: str) -> Any:
        raise TypeError(f"`{self._name()}` is not a dict: use the attribute `.{name}`, or to_dict()")

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Pairs of names and values, so that ``dict(answer)`` works."""
        return iter([(name, getattr(self, name)) for name in self._names()])

    def _names(self) -> list[str]:
        """The documented fields that have a value or may be missing, then all others."""
        data = self._value()
        known = self._known()
        names = [name for name, field in known.items() if name in data or field.is_optional]
        return names + [name for name in data if name not in known]

    @property
    def model_extra(self) -> dict[str, Any]:
        """The fields that are not documented."""
        return {name: value for name, value in self._value().items() if name not in self._known()}

    @property
    def model_fields_set(self) -> set[str]:
        """The names of the fields that the provider sent."""
        return set(self._value())

    def model_dump(
        self,
        *,
        mode: str = "python",
        include: Any = None,
        exclude: Any = None,
        exclude_unset: bool = False,
        exclude_defaults: bool = False,
        exclude_none: bool = False,
    ) -> dict[str, Any]:
        """The object as a dict. ``include`` and ``exclude`` are sets of names; ``mode`` is ``python`` or ``json``.

        Missing fields are None, unless ``exclude_unset``, ``exclude_defaults`` or ``exclude_none``.
        """
        if mode not in ("python", "json"):
            raise ValueError(f"mode must be `python` or `json`, got `{mode}`")
        data = self._value()
        skips = exclude_none, exclude_defaults
        dumped: dict[str, Any] = {}
        for name in self._names():
            if (include is not None and name not in include) or (exclude is not None and name in exclude):
                continue
            if exclude_unset and name not in data:
                continue
            value = getattr(self, name)
            if value is None and any(skips):
                continue
            dumped[name] = _dumped(
                value,
                mode=mode,
                exclude_unset=exclude_unset,
                exclude_defaults=exclude_defaults,
                exclude_none=exclude_none,
            )
        return dumped

    def model_dump_json(self, *, indent: int | None = None, **choices: Any) -> str:
        """The object as JSON. The other arguments are those of ``model_dump``."""
        separators = (",", ":") if indent is None else None
        dumped = self.model_dump(mode="json", **choices)
        return json.dumps(dumped, indent=indent, separators=separators, ensure_ascii=False)

    def to_dict(self, *, exclude_unset: bool = True, exclude_none: bool = False) -> dict[str, Any]:
        """The object as a dict, by default with the fields that the provider sent."""
        return self.model_dump(exclude_unset=exclude_unset, exclude_none=exclude_none)

    def to_json(
        self, *, indent: int | None = 2, exclude_unset: bool = True, exclude_none: bool = False
    ) -> str:
        """The object as JSON, by default with the fields that the provider sent."""
        return self.model_dump_json(indent=indent, exclude_unset=exclude_unset, exclude_none=exclude_none)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Any:
        """A copy, with the fields of ``update``. Nested objects are shared, unless it is ``deep``."""
        data = self._value()
        copied = type(self)._read(json.loads(json.dumps(data)) if deep else dict(data), self._request_id)
        for name, value in (update or {}).items():
            setattr(copied, name, value)
        return copied

    @classmethod
    def model_validate(cls, value: Any) -> Any:
        """The object of a dict. Nothing is checked."""
        return value if isinstance(value, cls) else cls._read(dict(value))

    @classmethod
    def model_validate_json(cls, text: str | bytes) -> Any:
        """The object of a JSON text. Nothing is checked."""
        return cls._read(json.loads(text))

    @classmethod
    def _name(cls) -> str:
        return cls._title or cls.__name__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return self.model_dump(exclude_unset=True) == other.model_dump(exclude_unset=True)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._names())
        return f"{self._name()}({fields})"

    def __str__(self) -> str:
        return repr(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.to_dict(), self._request_id)


def _restored(cls: type[Object], data: dict[str, Any], request_id: str | None) -> Any:
    return cls._read(data, request_id)


def _wrapped(cls: type[Object], value: Any) -> Any:
    if isinstance(value, dict):
        return cls._read(value)
    if isinstance(value, list):
        return [_wrapped(cls, each) for each in value]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Object):
        return value._value()
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value


def _dumped(value: Any, **choices: Any) -> Any:
    if isinstance(value, Object):
        return value.model_dump(**choices)
    if isinstance(value, list):
        return [_dumped(each, **choices) for each in value]
    if hasattr(value, "model_dump"):
        return value.model_dump(mode=choices["mode"])
    return value
