"""JSON schemas of Python types, and readers that make values of these types from JSON.

Types of the standard library are read here, also if pydantic is installed. pydantic reads its own.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import inspect
import json
import re
import sys
import types
import typing
import uuid
from collections.abc import Callable
from typing import Any

from ._errors import ConfigError

# Maximum length of a name. Source: OpenAI's limit.
MAX_NAME = 64

# Maximum length of a value in messages for the model.
MAX_SHOWN = 80


class Invalid(ValueError):
    """A JSON value that is not of the type. The message is for the model."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Reader:
    """The schema of a type, and its reader."""

    def __init__(self, type: Any) -> None:
        builder = _Builder()
        node = builder.node(type)
        self.name = _name(type)
        self.schema = builder.root(node)
        self.is_plain = node.is_plain
        self._node = node

    def read(self, value: Any) -> Any:
        """The value of a JSON value. Raises ``Invalid`` if it does not fit."""
        return self._node.read(value, "")


class ParametersReader:
    """The schema of the parameters of a function, and their reader."""

    def __init__(self, function: Callable[..., Any]) -> None:
        builder = _Builder()
        name = getattr(function, "__name__", type(function).__name__)
        described = parameter_docs(inspect.getdoc(function) or "")
        hints = _hints(function if inspect.isroutine(function) else type(function).__call__)
        fields = []
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise _config(f"the tool `{name}` must take its arguments by name (got `{parameter}`)")
            default = parameter.default
            is_required = default is parameter.empty
            fields.append(
                _Field(
                    parameter.name,
                    hints.get(parameter.name, Any),
                    is_required,
                    described.get(parameter.name),
                    None if is_required else default,
                )
            )
        self._node = builder.object(fields, lambda values: values, is_plain=True)
        self.schema = builder.root(self._node)

    def read(self, value: Any) -> dict[str, Any]:
        """The arguments of a call. Raises ``Invalid`` if they do not fit."""
        arguments: dict[str, Any] = self._node.read(value, "")
        return arguments


class _Node:
    """The schema of a type, and its reader: it takes a value and its place."""

    __slots__ = ("is_plain", "read", "schema")

    def __init__(
        self, schema: dict[str, Any], read: Callable[[Any, str], Any], is_plain: bool = True
    ) -> None:
        self.schema = schema
        self.read = read
        # Set if the value is one of JSON.
        self.is_plain = is_plain


@dataclasses.dataclass
class _Field:
    name: str
    type: Any
    is_required: bool
    description: str | None
    default: Any = None


def _config(message: str) -> ConfigError:
    return ConfigError(message, kind="config")


def _name(type: Any) -> str:
    name = getattr(type, "__name__", "answer") if not typing.get_args(type) else "answer"
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:MAX_NAME]


def _invalid(place: str, expected: str, value: Any) -> Invalid:
    shown = json.dumps(value, ensure_ascii=False, default=str)
    if len(shown) > MAX_SHOWN:
        shown = shown[:MAX_SHOWN] + ".."
    return Invalid([f"{place + ': ' if place else ''}must be {expected}, got {shown}"])


def _within(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _read_int(value: Any, place: str) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _invalid(place, "an integer", value)


def _read_float(value: Any, place: str) -> float:
    if _is_number(value):
        return float(value)
    raise _invalid(place, "a number", value)


def _read_decimal(value: Any, place: str) -> decimal.Decimal:
    try:
        if _is_number(value) or isinstance(value, str):
            return decimal.Decimal(str(value))
    except decimal.InvalidOperation:
        pass
    raise _invalid(place, "a decimal number", value)


def _exactly(cls: type, expected: str) -> Callable[[Any, str], Any]:
    def read(value: Any, place: str) -> Any:
        if isinstance(value, cls):
            return value
        raise _invalid(place, expected, value)

    return read


def _from_text(parse: Callable[[str], Any], expected: str) -> Callable[[Any, str], Any]:
    def read(value: Any, place: str) -> Any:
        if isinstance(value, str):
            try:
                return parse(value)
            except ValueError:
                pass
        raise _invalid(place, expected, value)

    return read


def _parse_time(text: str) -> datetime.datetime:
    # Python 3.10 does not read `Z`.
    return datetime.datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))


def _text(format: str) -> dict[str, Any]:
    return {"type": "string", "format": format}


_SCALARS: dict[Any, _Node] = {
    str: _Node({"type": "string"}, _exactly(str, "a text")),
    int: _Node({"type": "integer"}, _read_int),
    float: _Node({"type": "number"}, _read_float),
    bool: _Node({"type": "boolean"}, _exactly(bool, "true or false")),
    None: _Node({"type": "null"}, _exactly(type(None), "null")),
    type(None): _Node({"type": "null"}, _exactly(type(None), "null")),
    Any: _Node({}, lambda value, _: value),
    object: _Node({}, lambda value, _: value),
    decimal.Decimal: _Node({"type": "number"}, _read_decimal, False),
    datetime.datetime: _Node(
        _text("date-time"), _from_text(_parse_time, "a date and time in ISO 8601"), False
    ),
    datetime.date: _Node(_text("date"), _from_text(datetime.date.fromisoformat, "a date in ISO 8601"), False),
    datetime.time: _Node(_text("time"), _from_text(datetime.time.fromisoformat, "a time in ISO 8601"), False),
    uuid.UUID: _Node(_text("uuid"), _from_text(uuid.UUID, "a UUID"), False),
}

_LISTS: dict[Any, Callable[[list[Any]], Any] | None] = {
    list: None,
    collections.abc.Sequence: None,
    collections.abc.Iterable: None,
    collections.abc.Collection: None,
    set: set,
    frozenset: frozenset,
    collections.abc.Set: set,
}

_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)

# Marks of TypedDicts. Not in Python 3.10.
_MARKS = ("Required", "NotRequired", "ReadOnly")


class _Builder:
    """Makes the nodes of a type. Types that contain themselves become definitions."""

    def __init__(self) -> None:
        self._open: dict[Any, str] = {}
        self._done: dict[Any, _Node] = {}
        self._definitions: dict[str, Any] = {}

    def root(self, node: _Node) -> dict[str, Any]:
        """The whole schema."""
        return {**node.schema, "$defs": self._definitions} if self._definitions else node.schema

    def node(self, type: Any) -> _Node:
        try:
            if type in _SCALARS:
                return _SCALARS[type]
        except TypeError:  # An unhashable type, such as a Literal with a list.
            pass
        origin, arguments = typing.get_origin(type), typing.get_args(type)
        if origin is typing.Annotated:
            return self._annotated(type)
        if origin is typing.Literal:
            return _choice(list(arguments), lambda value: value, True)
        if origin in (typing.Union, getattr(types, "UnionType", None)):
            return self._union(arguments)
        if origin is not None and getattr(origin, "_name", None) in _MARKS:
            return self.node(arguments[0])
        cls = origin or type
        if cls in _LISTS:
            return self._list(arguments[0] if arguments else Any, _LISTS[cls])
        if cls is tuple:
            return self._tuple(arguments)
        if cls in _MAPPINGS:
            return self._mapping(arguments)
        if hasattr(type, "__supertype__"):
            return self.node(type.__supertype__)
        if isinstance(type, typing.TypeVar):
            return self.node(type.__bound__ or Any)
        if hasattr(cls, "__pydantic_core_schema__") or hasattr(cls, "__get_pydantic_core_schema__"):
            return self._pydantic(type)
        if isinstance(cls, builtin_type):
            return self._class(cls)
        raise _config(f"`{type}` is not a type that a model can be asked for")

    def _annotated(self, type: Any) -> _Node:
        inner, *metadata = typing.get_args(type)
        ours = [note for note in metadata if isinstance(note, str)]
        others = [note for note in metadata if _is_pydantic(note)]
        node = self._pydantic(typing.Annotated[(inner, *others)]) if others else self.node(inner)
        if not ours:
            return node
        return _Node({**node.schema, "description": " ".join(ours)}, node.read, node.is_plain)

    def _union(self, types: tuple[Any, ...]) -> _Node:
        nodes = [self.node(each) for each in types]
        is_null = [node.schema == {"type": "null"} for node in nodes]
        others = [node for node, null in zip(nodes, is_null, strict=True) if not null]

        def read(value: Any, place: str) -> Any:
            if value is None and any(is_null):
                return None
            failures = []
            for node in others:
                try:
                    return node.read(value, place)
                except Invalid as error:
                    failures.append(error)
            if len(failures) == 1:
                raise failures[0]
            raise Invalid([" or ".join(str(failure) for failure in failures)])

        schemas = [node.schema for node in nodes]
        return _Node({"anyOf": schemas}, read, all(node.is_plain for node in nodes))

    def _list(self, item: Any, make: Callable[[list[Any]], Any] | None) -> _Node:
        node = self.node(item)

        def read(value: Any, place: str) -> Any:
            if not isinstance(value, list):
                raise _invalid(place, "a list", value)
            values = _read_all((node.read, each, f"{place}[{i}]") for i, each in enumerate(value))
            return values if make is None else make(values)

        return _Node({"type": "array", "items": node.schema}, read, make is None and node.is_plain)

    def _tuple(self, types: tuple[Any, ...]) -> _Node:
        if not types or types[-1] is Ellipsis:
            many = self._list(types[0] if types else Any, tuple)
            return many
        nodes = [self.node(each) for each in types]
        kinds: list[Any] = []
        for node in nodes:
            if node.schema not in kinds:
                kinds.append(node.schema)
        n = len(nodes)

        def read(value: Any, place: str) -> Any:
            if not isinstance(value, list) or len(value) != n:
                raise _invalid(place, f"a list of {n} items", value)
            return tuple(
                _read_all(
                    (node.read, each, f"{place}[{i}]")
                    for i, (node, each) in enumerate(zip(nodes, value, strict=True))
                )
            )

        schema = {
            "type": "array",
            "prefixItems": [node.schema for node in nodes],
            "items": kinds[0] if len(kinds) == 1 else {"anyOf": kinds},
            "minItems": n,
            "maxItems": n,
        }
        return _Node(schema, read, False)

    def _mapping(self, types: tuple[Any, ...]) -> _Node:
        if types and types[0] not in (str, Any):
            raise _config(f"keys of a dict in JSON are texts, got {types[0]}")
        node = self.node(types[1] if types else Any)

        def read(value: Any, place: str) -> Any:
            if not isinstance(value, dict):
                raise _invalid(place, "an object", value)
            values = _read_all((node.read, each, _within(place, name)) for name, each in value.items())
            return dict(zip(value, values, strict=True))

        schema = {"type": "object", "additionalProperties": node.schema or True}
        return _Node(schema, read, node.is_plain)

    def _class(self, cls: Any) -> _Node:
        if issubclass(cls, enum.Enum):
            return _choice([member.value for member in cls], cls, False)
        if cls in self._open:
            # The type contains itself.
            name = self._open[cls]
            self._definitions.setdefault(name, None)
            return _Node(
                {"$ref": f"#/$defs/{name}"}, lambda value, place: self._done[cls].read(value, place), False
            )
        if cls in self._done:
            return self._done[cls]
        self._open[cls] = _name(cls)
        if typing.is_typeddict(cls):
            node = self._typed_dict(cls)
        elif dataclasses.is_dataclass(cls):
            node = self._dataclass(cls)
        elif issubclass(cls, tuple) and hasattr(cls, "_fields"):
            node = self._named_tuple(cls)
        else:
            raise _config(
                f"`{cls.__name__}` is not a type that a model can be asked for: "
                "use a dataclass, a TypedDict or a pydantic model"
            )
        name = self._open.pop(cls)
        description = class_doc(cls)
        if description:
            node.schema = {"description": description, **node.schema}
        if name in self._definitions:
            self._definitions[name] = node.schema
            node = _Node({"$ref": f"#/$defs/{name}"}, node.read, node.is_plain)
        self._done[cls] = node
        return node

    def _typed_dict(self, cls: Any) -> _Node:
        docs = parameter_docs(inspect.getdoc(cls) or "")
        fields = [
            _Field(name, hint, name in cls.__required_keys__, docs.get(name))
            for name, hint in _hints(cls).items()
        ]
        return self.object(fields, lambda values: values, is_plain=True)

    def _dataclass(self, cls: Any) -> _Node:
        docs, hints = parameter_docs(cls.__doc__ or ""), _hints(cls)
        fields = []
        for field in dataclasses.fields(cls):
            if not field.init:
                continue
            is_required = (
                field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            )
            description = field.metadata.get("description") or docs.get(field.name)
            default = None if field.default is dataclasses.MISSING else field.default
            fields.append(_Field(field.name, hints[field.name], is_required, description, default))
        return self.object(fields, lambda values: cls(**values))

    def _named_tuple(self, cls: Any) -> _Node:
        docs, hints = parameter_docs(cls.__doc__ or ""), _hints(cls)
        fields = [
            _Field(
                name,
                hints.get(name, Any),
                name not in cls._field_defaults,
                docs.get(name),
                cls._field_defaults.get(name),
            )
            for name in cls._fields
        ]
        return self.object(fields, lambda values: cls(**values))

    def object(
        self, fields: list[_Field], make: Callable[[dict[str, Any]], Any], is_plain: bool = False
    ) -> _Node:
        nodes = {field.name: self.node(field.type) for field in fields}
        properties = {}
        for field in fields:
            schema = dict(nodes[field.name].schema)
            if field.description and "description" not in schema:
                schema["description"] = field.description
            if isinstance(field.default, (str, int, float)) and not isinstance(field.default, enum.Enum):
                schema["default"] = field.default
            properties[field.name] = schema
        required = [field.name for field in fields if field.is_required]
        optional = {field.name for field in fields if not field.is_required}

        def read(value: Any, place: str) -> Any:
            if not isinstance(value, dict):
                raise _invalid(place, "an object", value)
            values, problems = {}, []
            for name, node in nodes.items():
                if name not in value:
                    if name not in optional:
                        problems.append(f"{_within(place, name)}: missing")
                    continue
                try:
                    values[name] = node.read(value[name], _within(place, name))
                except Invalid as error:
                    # Models write null for what they leave to its default.
                    if value[name] is not None or name not in optional:
                        problems.extend(error.problems)
            unknown = value.keys() - nodes.keys()
            problems.extend(f"{_within(place, name)}: unknown field" for name in sorted(unknown))
            if problems:
                raise Invalid(problems)
            try:
                return make(values)
            except (ValueError, AssertionError) as error:
                # A check of the type itself, such as in `__post_init__`.
                raise Invalid([f"{place}: {error}" if place else str(error)])

        schema = {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }
        return _Node(schema, read, is_plain and all(node.is_plain for node in nodes.values()))

    def _pydantic(self, type: Any) -> _Node:
        from pydantic import TypeAdapter, ValidationError

        adapter = TypeAdapter(type)
        schema = _without_titles(adapter.json_schema())
        definitions = schema.pop("$defs", {})
        schema = _inlined(schema, definitions, ())
        for name in _references(schema):
            self._define(name, definitions)

        def read(value: Any, place: str) -> Any:
            try:
                return adapter.validate_python(value)
            except ValidationError as error:
                raise Invalid([_pydantic_problem(problem, place) for problem in error.errors()])

        return _Node(schema, read, False)

    def _define(self, name: str, definitions: dict[str, Any]) -> None:
        if name in self._definitions:
            return
        self._definitions[name] = None
        self._definitions[name] = _inlined(definitions[name], definitions, (name,))
        for other in _references(self._definitions[name]):
            self._define(other, definitions)


builtin_type = type


def _is_pydantic(note: Any) -> bool:
    module = type(note).__module__.partition(".")[0]
    return module in ("pydantic", "pydantic_core", "annotated_types") and "pydantic" in sys.modules


def _pydantic_problem(problem: Any, place: str) -> str:
    for part in problem["loc"]:
        place = f"{place}[{part}]" if isinstance(part, int) else _within(place, str(part))
    return f"{place}: {problem['msg']}" if place else problem["msg"]


def _without_titles(schema: Any, is_names: bool = False) -> Any:
    """A schema without the titles that pydantic makes of names."""
    if isinstance(schema, list):
        return [_without_titles(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _without_titles(value, not is_names and name in ("properties", "$defs"))
        for name, value in schema.items()
        if is_names or name != "title" or not isinstance(value, str)
    }


def _references(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [name for each in schema for name in _references(each)]
    if not isinstance(schema, dict):
        return []
    own = schema.get("$ref")
    found = [own.removeprefix("#/$defs/")] if isinstance(own, str) else []
    return found + [name for each in schema.values() for name in _references(each)]


def _inlined(schema: Any, definitions: dict[str, Any], around: tuple[str, ...]) -> Any:
    """A schema with definitions in place of references, but for those of types that contain themselves."""
    if isinstance(schema, list):
        return [_inlined(each, definitions, around) for each in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str):
        name = reference.removeprefix("#/$defs/")
        if name in definitions and not _is_recursive(name, definitions):
            others = {key: value for key, value in schema.items() if key != "$ref"}
            return {**_inlined(definitions[name], definitions, (*around, name)), **others}
        return schema
    return {key: _inlined(value, definitions, around) for key, value in schema.items()}


def _is_recursive(name: str, definitions: dict[str, Any]) -> bool:
    seen: set[str] = set()
    left = _references(definitions[name])
    while left:
        other = left.pop()
        if other == name:
            return True
        if other not in seen and other in definitions:
            seen.add(other)
            left.extend(_references(definitions[other]))
    return False


def _choice(values: list[Any], make: Callable[[Any], Any], is_plain: bool) -> _Node:
    for value in values:
        if not isinstance(value, (str, int, float, bool, type(None))):
            raise _config(f"a choice must be a text, a number, a boolean or None, got {value!r}")
    schema: dict[str, Any] = {"enum": values}
    kinds = {type(value) for value in values}
    if len(kinds) == 1:
        schema = {**_SCALARS[kinds.pop()].schema, **schema}
    words = ", ".join(json.dumps(value, ensure_ascii=False) for value in values)

    def read(value: Any, place: str) -> Any:
        for option in values:
            if option == value and isinstance(option, bool) == isinstance(value, bool):
                return make(option)
        raise _invalid(place, f"one of {words}", value)

    return _Node(schema, read, is_plain)


def _read_all(reads: Any) -> list[Any]:
    """What all readers return, or all their problems."""
    values, problems = [], []
    for read, value, place in reads:
        try:
            values.append(read(value, place))
        except Invalid as error:
            problems.extend(error.problems)
    if problems:
        raise Invalid(problems)
    return values


def _hints(target: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target, include_extras=True)
    except NameError as error:
        raise _config(
            f"the annotations of `{getattr(target, '__qualname__', target)}` cannot be resolved: {error}. "
            "Define the types at the top of a module, or without `from __future__ import annotations`"
        )


def class_doc(cls: Any) -> str | None:
    """The first part of the docstring of a class, unless it is that of a base class or generated."""
    doc = cls.__dict__.get("__doc__")
    if not doc or doc.startswith(f"{cls.__name__}("):
        return None
    return summary(inspect.cleandoc(doc)) or None


# -- docstrings -----------------------------------------------------------------------------------------------

_SECTION = re.compile(
    r"^(Args|Arguments|Parameters|Params|Attributes|Returns|Return|Raises|Yields|Example|Examples|Notes?)"
    r"(?::\s*$|\s*\n-{3,}\s*$)",
    re.M,
)
_FIELDS = ("Args", "Arguments", "Parameters", "Params", "Attributes")
_SPHINX = re.compile(r"^\s*:(?:param|parameter|arg|argument|ivar)\s+(?:[^:\s]+\s+)?(\w+):\s*", re.M)


def summary(doc: str) -> str:
    """A docstring without its sections, in the styles of Google, numpy and Sphinx."""
    ends = [match.start() for match in (_SECTION.search(doc), re.search(r"^\s*:\w+", doc, re.M)) if match]
    return doc[: min(ends, default=len(doc))].strip()


def parameter_docs(doc: str) -> dict[str, str]:
    """The descriptions of parameters in a docstring, in the styles of Google, numpy and Sphinx."""
    doc = inspect.cleandoc(doc)
    found = {}
    sphinx = list(_SPHINX.finditer(doc))
    for match in sphinx:
        rest = doc[match.end() :]
        next_field = re.search(r"^\s*:|^\s*$", rest, re.M)
        found[match[1]] = _one_line(rest[: next_field.start()] if next_field else rest)
    sections = list(_SECTION.finditer(doc))
    for i, match in enumerate(sections):
        if match[1] in _FIELDS:
            end = sections[i + 1].start() if i + 1 < len(sections) else len(doc)
            is_numpy = "---" in match[0]
            found.update(_section_docs(doc[match.end() : end], is_numpy))
    return found


def _section_docs(section: str, is_numpy: bool) -> dict[str, str]:
    lines = section.strip("\n").rstrip().split("\n")
    margin = len(lines[0]) - len(lines[0].lstrip())
    found: dict[str, str] = {}
    name = None
    for line in lines:
        is_head = line.strip() and len(line) - len(line.lstrip()) <= margin
        if is_head:
            head = re.match(r"\s*\*{0,2}(\w+)\s*(\([^)]*\))?\s*(:?)\s*(.*)$", line)
            if head is None or (not is_numpy and not head[3]):
                name = None
                continue
            name = head[1]
            found[name] = "" if is_numpy else head[4]
        elif name is not None:
            found[name] += f"\n{line}"
    return {name: _one_line(text) for name, text in found.items() if text.strip()}


def _one_line(text: str) -> str:
    return " ".join(text.split())
