"""Prompt templates."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

from .. import _core
from .._errors import ConfigError, InputError
from ._running import Run, call
from .runnables import Runnable
from .schema import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    ChatPromptValue,
    HumanMessage,
    PromptValue,
    StringPromptValue,
    SystemMessage,
    message_of,
    messages_of,
)

# Modules below this one are found: see _modules.py.
__path__: list[str] = []

__all__ = [
    "AIMessagePromptTemplate",
    "BasePromptTemplate",
    "ChatMessagePromptTemplate",
    "ChatPromptTemplate",
    "FewShotChatMessagePromptTemplate",
    "FewShotPromptTemplate",
    "HumanMessagePromptTemplate",
    "MessagesPlaceholder",
    "PromptTemplate",
    "SystemMessagePromptTemplate",
]


class _Template:
    """A text with variables, in the syntax of f-strings or of Jinja."""

    def __init__(self, text: str, format: str) -> None:
        self.text = text
        self.format = format
        if format == "f-string":
            self._parts = list(_parts(text))
            self.variables = list(dict.fromkeys(name for _, name in self._parts if name is not None))
        elif format == "jinja2":
            from .._chain import prompt

            self._chain = prompt(text)
            self.variables = list(_core.variables(text))
        else:
            raise ConfigError(
                f"template_format must be `f-string` or `jinja2`, got `{format}`", kind="config"
            )

    def fill(self, values: Mapping[str, Any]) -> str:
        missing = [name for name in self.variables if name not in values]
        if missing:
            names = ", ".join(f"`{name}`" for name in missing)
            message = f"the variables {names} of the prompt are missing: the input has {sorted(values)}"
            raise InputError(message, kind="input")
        if self.format == "f-string":
            return "".join(
                text + (str(values[name]) if name is not None else "") for text, name in self._parts
            )
        filled: str = self._chain.invoke({name: values[name] for name in self.variables}).messages[0].text
        return filled


def _parts(text: str) -> Any:
    """Pairs of a text and the variable after it."""
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ConfigError(
            f"the template is invalid: {error}; write {{{{ for a brace", kind="config"
        ) from None
    for literal, name, specification, conversion in parsed:
        if name is not None and (specification or conversion or not name.isidentifier()):
            shown = (
                name
                + (f"!{conversion}" if conversion else "")
                + (f":{specification}" if specification else "")
            )
            message = f"`{{{shown}}}` is not a variable: use a name, or {{{{ and }}}} for braces"
            raise ConfigError(message, kind="config")
        yield literal, name


class BasePromptTemplate(Runnable[Any, PromptValue]):
    """A template. Its input is a dict of the variables, or the value of the only one."""

    input_variables: list[str]
    partial_variables: dict[str, Any]

    def _fill(self, values: Mapping[str, Any]) -> PromptValue:
        raise NotImplementedError

    def _values(self, input: Any) -> dict[str, Any]:
        if not isinstance(input, Mapping):
            if len(self.input_variables) != 1:
                names = ", ".join(self.input_variables) or "none"
                message = f"the prompt needs a dict of its variables ({names}), got {type(input).__name__}"
                raise InputError(message, kind="input")
            input = {self.input_variables[0]: input}
        partial = {
            name: value() if callable(value) else value for name, value in self.partial_variables.items()
        }
        return {**partial, **input}

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> PromptValue:
        if any(callable(value) for value in self.partial_variables.values()):
            filled: PromptValue = await call(lambda: self._fill(self._values(input)), run)
            return filled
        return self._fill(self._values(input))

    def format_prompt(self, **values: Any) -> PromptValue:
        """The filled prompt."""
        return self._fill(self._values(values))

    async def aformat_prompt(self, **values: Any) -> PromptValue:
        """The filled prompt."""
        return self.format_prompt(**values)

    def format(self, **values: Any) -> str:
        """The filled prompt as a text."""
        return self.format_prompt(**values).to_string()

    async def aformat(self, **values: Any) -> str:
        """The filled prompt as a text."""
        return self.format(**values)

    def _with_partial(self, values: dict[str, Any]) -> Any:
        raise NotImplementedError

    def partial(self, **values: Any) -> Any:
        """The same template with values, or functions that return them, for some variables."""
        return self._with_partial({**self.partial_variables, **values})


def _input_variables(
    found: Sequence[str], given: Sequence[str] | None, partial: Mapping[str, Any]
) -> list[str]:
    """The variables of a template, checked against those that the caller names."""
    names = [name for name in found if name not in partial]
    if given is not None:
        unknown = sorted(set(given) - set(found))
        if unknown:
            message = (
                f"`{unknown[0]}` of input_variables is not a variable of the template: it has {sorted(found)}"
            )
            raise ConfigError(message, kind="config")
    return names


class PromptTemplate(BasePromptTemplate):
    """A text with variables, such as ``{product}``."""

    def __init__(
        self,
        template: str,
        input_variables: Sequence[str] | None = None,
        *,
        template_format: str = "f-string",
        partial_variables: Mapping[str, Any] | None = None,
    ) -> None:
        self.template = template
        self.template_format = template_format
        self.partial_variables = dict(partial_variables or {})
        self._template = _Template(template, template_format)
        self.input_variables = _input_variables(
            self._template.variables, input_variables, self.partial_variables
        )

    @classmethod
    def from_template(cls, template: str, **settings: Any) -> PromptTemplate:
        """A prompt of this text."""
        return cls(template, **settings)

    @classmethod
    def from_file(cls, template_file: Any, **settings: Any) -> PromptTemplate:
        """A prompt of the text of a file."""
        with open(template_file, encoding="utf-8") as file:
            return cls(file.read(), **settings)

    def _fill(self, values: Mapping[str, Any]) -> PromptValue:
        return StringPromptValue(self._template.fill(values))

    def _with_partial(self, values: dict[str, Any]) -> PromptTemplate:
        return PromptTemplate(self.template, template_format=self.template_format, partial_variables=values)

    def __add__(self, other: str | PromptTemplate) -> PromptTemplate:
        text = other if isinstance(other, str) else other.template
        partial = {} if isinstance(other, str) else other.partial_variables
        return PromptTemplate(
            self.template + text,
            template_format=self.template_format,
            partial_variables={**self.partial_variables, **partial},
        )

    def __repr__(self) -> str:
        return f"PromptTemplate({self.template!r})"


class FewShotPromptTemplate(BasePromptTemplate):
    """A prompt with examples between its prefix and its suffix."""

    def __init__(
        self,
        *,
        examples: Sequence[Mapping[str, Any]],
        example_prompt: PromptTemplate,
        suffix: str,
        prefix: str = "",
        input_variables: Sequence[str] | None = None,
        example_separator: str = "\n\n",
        template_format: str = "f-string",
        partial_variables: Mapping[str, Any] | None = None,
    ) -> None:
        self.examples = list(examples)
        self.example_prompt = example_prompt
        self.partial_variables = dict(partial_variables or {})
        self._separator = example_separator
        self._prefix = _Template(prefix, template_format)
        self._suffix = _Template(suffix, template_format)
        self._given: dict[str, Any] = {
            "examples": self.examples,
            "example_prompt": example_prompt,
            "suffix": suffix,
            "prefix": prefix,
            "example_separator": example_separator,
            "template_format": template_format,
        }
        found = list(dict.fromkeys([*self._prefix.variables, *self._suffix.variables]))
        self.input_variables = _input_variables(found, input_variables, self.partial_variables)

    def _fill(self, values: Mapping[str, Any]) -> PromptValue:
        prefix = self._prefix.fill(values)
        parts = [self.example_prompt.format(**example) for example in self.examples]
        filled = [*([prefix] if prefix else []), *parts, self._suffix.fill(values)]
        return StringPromptValue(self._separator.join(filled))

    def _with_partial(self, values: dict[str, Any]) -> FewShotPromptTemplate:
        return FewShotPromptTemplate(**self._given, partial_variables=values)


class _MessageTemplate:
    """A message with variables in its content."""

    role: Any = HumanMessage

    def __init__(self, prompt: PromptTemplate | Sequence[Any], make: Any = None) -> None:
        self.prompt = prompt
        self._make = make or self.role
        self._templates = _templates_of(prompt)

    @classmethod
    def from_template(cls, template: Any, template_format: str = "f-string", **settings: Any) -> Any:
        """A message with this text, or a list of parts with texts."""
        if isinstance(template, str):
            return cls(PromptTemplate(template, template_format=template_format, **settings))
        return cls(_part_templates(template, template_format))

    @property
    def input_variables(self) -> list[str]:
        """The variables of the message."""
        return list(dict.fromkeys(name for each in self._templates for name in each.input_variables))

    def fill(self, values: Mapping[str, Any]) -> list[Any]:
        """The message."""
        if isinstance(self.prompt, PromptTemplate):
            return [self._make(self.prompt.format(**values))]
        return [self._make(_filled(self.prompt, values))]

    def format(self, **values: Any) -> Any:
        """The message."""
        return self.fill(values)[0]


def _part_templates(parts: Any, format: str) -> Any:
    """The parts of a content, with templates for their texts."""
    if isinstance(parts, str):
        return PromptTemplate(parts, template_format=format)
    if isinstance(parts, Mapping):
        return {
            name: value if name == "type" else _part_templates(value, format) for name, value in parts.items()
        }
    if isinstance(parts, Sequence):
        return [
            {"type": "text", "text": PromptTemplate(part, template_format=format)}
            if isinstance(part, str)
            else _part_templates(part, format)
            for part in parts
        ]
    return parts


def _templates_of(prompt: Any) -> list[PromptTemplate]:
    if isinstance(prompt, PromptTemplate):
        return [prompt]
    if isinstance(prompt, Mapping):
        return [each for value in prompt.values() for each in _templates_of(value)]
    if isinstance(prompt, list):
        return [each for value in prompt for each in _templates_of(value)]
    return []


def _filled(prompt: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(prompt, PromptTemplate):
        return prompt.format(**values)
    if isinstance(prompt, Mapping):
        return {name: _filled(value, values) for name, value in prompt.items()}
    if isinstance(prompt, list):
        return [_filled(value, values) for value in prompt]
    return prompt


class HumanMessagePromptTemplate(_MessageTemplate):
    """A message of the user with variables."""


class SystemMessagePromptTemplate(_MessageTemplate):
    """Instructions with variables."""

    role = SystemMessage


class AIMessagePromptTemplate(_MessageTemplate):
    """An answer with variables, as an example."""

    role = AIMessage


class ChatMessagePromptTemplate(_MessageTemplate):
    """A message of any role with variables."""

    def __init__(self, prompt: PromptTemplate, role: str = "user") -> None:
        super().__init__(prompt, lambda content: ChatMessage(content, role))

    @classmethod
    def from_template(
        cls, template: Any, template_format: str = "f-string", role: str = "user", **settings: Any
    ) -> Any:
        """A message with this text and role."""
        return cls(PromptTemplate(template, template_format=template_format, **settings), role)


class MessagesPlaceholder:
    """The place of the messages of a variable."""

    def __init__(self, variable_name: str, *, optional: bool = False, n_messages: int | None = None) -> None:
        self.variable_name = variable_name
        self.optional = optional
        self.n_messages = n_messages

    @property
    def input_variables(self) -> list[str]:
        """The variable, unless it is optional."""
        return [] if self.optional else [self.variable_name]

    def fill(self, values: Mapping[str, Any]) -> list[Any]:
        """The messages of the variable."""
        if self.variable_name not in values and not self.optional:
            message = (
                f"the variable `{self.variable_name}` of the prompt is missing: it is a list of messages"
            )
            raise InputError(message, kind="input")
        messages = messages_of(values.get(self.variable_name) or [])
        return messages if self.n_messages is None else messages[-self.n_messages :]


class _Fixed:
    """A message without variables."""

    input_variables: list[str] = []

    def __init__(self, message: Any) -> None:
        self._message = message

    def fill(self, values: Mapping[str, Any]) -> list[Any]:
        return [self._message]


_TEMPLATES: dict[str, type[_MessageTemplate]] = {
    "human": HumanMessagePromptTemplate,
    "user": HumanMessagePromptTemplate,
    "system": SystemMessagePromptTemplate,
    "ai": AIMessagePromptTemplate,
    "assistant": AIMessagePromptTemplate,
}


def _message_template(value: Any, format: str) -> Any:
    if isinstance(value, (_MessageTemplate, MessagesPlaceholder)):
        return value
    if isinstance(value, (ChatPromptTemplate, FewShotChatMessagePromptTemplate)):
        return value
    if isinstance(value, BaseMessage):
        return _Fixed(value)
    if isinstance(value, str):
        return HumanMessagePromptTemplate.from_template(value, format)
    if isinstance(value, Mapping):
        value = value["role"], value["content"]
    if isinstance(value, Sequence) and len(value) == 2:
        role, content = value
        if role == "placeholder":
            name = content if isinstance(content, str) else content[0]
            optional = True if isinstance(content, str) else bool(content[1])
            return MessagesPlaceholder(name.strip("{}"), optional=optional)
        if isinstance(role, type) and issubclass(role, BaseMessage):
            role = role.type
        if role not in _TEMPLATES:
            message = f"`{role}` is not a role of a message: use {', '.join(_TEMPLATES)} or placeholder"
            raise ConfigError(message, kind="config")
        return _TEMPLATES[role].from_template(content, format)
    return _Fixed(message_of(value))


class ChatPromptTemplate(BasePromptTemplate):
    """Messages with variables."""

    def __init__(
        self,
        messages: Sequence[Any],
        *,
        template_format: str = "f-string",
        partial_variables: Mapping[str, Any] | None = None,
        input_variables: Sequence[str] | None = None,
    ) -> None:
        self.messages = [_message_template(each, template_format) for each in messages]
        self.partial_variables = dict(partial_variables or {})
        found = list(dict.fromkeys(name for each in self.messages for name in each.input_variables))
        self.input_variables = _input_variables(found, input_variables, self.partial_variables)

    @classmethod
    def from_messages(cls, messages: Sequence[Any], template_format: str = "f-string") -> ChatPromptTemplate:
        """A prompt of messages: pairs of a role and a text, templates, messages, or placeholders."""
        return cls(messages, template_format=template_format)

    @classmethod
    def from_template(cls, template: str, **settings: Any) -> ChatPromptTemplate:
        """A prompt of one message of the user."""
        return cls([("human", template)], **settings)

    def _fill(self, values: Mapping[str, Any]) -> PromptValue:
        messages: list[Any] = []
        for each in self.messages:
            filled = (
                each._fill(values).to_messages()
                if isinstance(each, BasePromptTemplate)
                else each.fill(values)
            )
            messages.extend(filled)
        return ChatPromptValue(messages)

    def format_messages(self, **values: Any) -> list[Any]:
        """The messages."""
        return self.format_prompt(**values).to_messages()

    def _with_partial(self, values: dict[str, Any]) -> ChatPromptTemplate:
        return ChatPromptTemplate(self.messages, partial_variables=values)

    def append(self, message: Any) -> None:
        """Adds a message."""
        self.extend([message])

    def extend(self, messages: Sequence[Any]) -> None:
        """Adds messages."""
        self.messages.extend(_message_template(each, "f-string") for each in messages)
        found = dict.fromkeys(name for each in self.messages for name in each.input_variables)
        self.input_variables = [name for name in found if name not in self.partial_variables]

    def __add__(self, other: Any) -> ChatPromptTemplate:
        added = other.messages if isinstance(other, ChatPromptTemplate) else other
        added = added if isinstance(added, list) else [added]
        return ChatPromptTemplate([*self.messages, *added], partial_variables=self.partial_variables)

    def __len__(self) -> int:
        return len(self.messages)


class FewShotChatMessagePromptTemplate(BasePromptTemplate):
    """Examples as messages, for a prompt of messages."""

    def __init__(
        self,
        *,
        examples: Sequence[Mapping[str, Any]],
        example_prompt: ChatPromptTemplate,
        input_variables: Sequence[str] = (),
    ) -> None:
        self.examples = list(examples)
        self.example_prompt = example_prompt
        self.input_variables = list(input_variables)
        self.partial_variables: dict[str, Any] = {}

    def _fill(self, values: Mapping[str, Any]) -> PromptValue:
        return ChatPromptValue(
            [message for each in self.examples for message in self.example_prompt.format_messages(**each)]
        )

    def format_messages(self, **values: Any) -> list[Any]:
        """The messages."""
        return self.format_prompt(**values).to_messages()
