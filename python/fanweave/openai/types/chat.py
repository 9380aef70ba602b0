"""The objects of chat completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from .._object import Object

ChatCompletionMessageParam: TypeAlias = Mapping[str, Any]
ChatCompletionSystemMessageParam: TypeAlias = Mapping[str, Any]
ChatCompletionDeveloperMessageParam: TypeAlias = Mapping[str, Any]
ChatCompletionUserMessageParam: TypeAlias = Mapping[str, Any]
ChatCompletionAssistantMessageParam: TypeAlias = Mapping[str, Any]
ChatCompletionToolMessageParam: TypeAlias = Mapping[str, Any]
ChatCompletionToolParam: TypeAlias = Mapping[str, Any]
ChatCompletionToolUnionParam: TypeAlias = Mapping[str, Any]

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class CompletionTokensDetails(Object):
    """What the tokens of an answer were used for."""

    accepted_prediction_tokens: int | None
    audio_tokens: int | None
    reasoning_tokens: int | None
    rejected_prediction_tokens: int | None
    text_tokens: int | None


class PromptTokensDetails(Object):
    """What the tokens of a prompt were."""

    audio_tokens: int | None
    cache_write_tokens: int | None
    cached_tokens: int | None
    image_tokens: int | None
    text_tokens: int | None


class CompletionUsage(Object):
    """The tokens of a call."""

    completion_tokens: int
    prompt_tokens: int
    total_tokens: int
    completion_tokens_details: CompletionTokensDetails | None
    prompt_tokens_details: PromptTokensDetails | None


class TopLogprob(Object):
    """A token that was likely in some place, and how likely."""

    token: str
    bytes: list[int] | None
    logprob: float


class ChatCompletionTokenLogprob(Object):
    """A token of an answer, and how likely it was."""

    token: str
    bytes: list[int] | None
    logprob: float
    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(Object):
    """The log probabilities of an answer."""

    content: list[ChatCompletionTokenLogprob] | None
    refusal: list[ChatCompletionTokenLogprob] | None


class Function(Object):
    """A function that the model calls, with its arguments as JSON."""

    arguments: str
    name: str


class Custom(Object):
    """A tool without a schema that the model calls."""

    input: str
    name: str


class ChatCompletionMessageToolCall(Object):
    """A call of a tool: of a ``function``, or ``custom``."""

    id: str
    function: Function
    custom: Custom
    type: Literal["function", "custom"]

    @classmethod
    def _name(cls) -> str:
        return "ChatCompletionMessageFunctionToolCall"


ChatCompletionMessageFunctionToolCall = ChatCompletionMessageToolCall
ChatCompletionMessageToolCallUnion = ChatCompletionMessageToolCall


class FunctionCall(Object):
    """A call of a function, in the older form."""

    arguments: str
    name: str


class AnnotationURLCitation(Object):
    """A page that an answer refers to."""

    end_index: int
    start_index: int
    title: str
    url: str


class Annotation(Object):
    """A reference of an answer."""

    type: Literal["url_citation"]
    url_citation: AnnotationURLCitation


class ChatCompletionAudio(Object):
    """An answer as sound."""

    id: str
    data: str
    expires_at: int
    transcript: str


class ChatCompletionMessage(Object):
    """The message of an answer."""

    content: str | None
    refusal: str | None
    role: Literal["assistant"]
    annotations: list[Annotation] | None
    audio: ChatCompletionAudio | None
    function_call: FunctionCall | None
    tool_calls: list[ChatCompletionMessageToolCall] | None


class Choice(Object):
    """One of the answers of a call."""

    finish_reason: FinishReason
    index: int
    logprobs: ChoiceLogprobs | None
    message: ChatCompletionMessage


class ChatCompletion(Object):
    """The answer of a chat model."""

    id: str
    choices: list[Choice]
    created: int
    model: str
    object: Literal["chat.completion"]
    metadata: dict[str, str] | None
    moderation: Any | None
    service_tier: str | None
    system_fingerprint: str | None
    usage: CompletionUsage | None


class ParsedFunction(Function):
    """A function that the model calls, with its arguments read."""

    parsed_arguments: Any | None


class ParsedFunctionToolCall(Object):
    """A call of a function, with its arguments read."""

    id: str
    function: ParsedFunction
    type: Literal["function"]


class ParsedChatCompletionMessage(Object):
    """The message of an answer, with its content read as ``response_format``."""

    content: str | None
    refusal: str | None
    role: Literal["assistant"]
    annotations: list[Annotation] | None
    audio: ChatCompletionAudio | None
    function_call: FunctionCall | None
    tool_calls: list[ParsedFunctionToolCall] | None
    parsed: Any | None


class ParsedChoice(Object):
    """One of the answers of a call."""

    finish_reason: FinishReason
    index: int
    logprobs: ChoiceLogprobs | None
    message: ParsedChatCompletionMessage


class ParsedChatCompletion(Object):
    """The answer of a chat model, with its content read as ``response_format``."""

    id: str
    choices: list[ParsedChoice]
    created: int
    model: str
    object: Literal["chat.completion"]
    metadata: dict[str, str] | None
    moderation: Any | None
    service_tier: str | None
    system_fingerprint: str | None
    usage: CompletionUsage | None


class ChoiceDeltaFunctionCall(Object):
    """A piece of a call of a function, in the older form."""

    arguments: str | None
    name: str | None


class ChoiceDeltaToolCallFunction(Object):
    """A piece of a function that the model calls."""

    arguments: str | None
    name: str | None


class ChoiceDeltaToolCall(Object):
    """A piece of a call of a tool."""

    index: int
    id: str | None
    function: ChoiceDeltaToolCallFunction | None
    type: Literal["function"] | None


class ChoiceDeltaAudio(Object):
    """A piece of an answer as sound."""

    id: str | None
    data: str | None
    expires_at: int | None
    transcript: str | None


class ChoiceDelta(Object):
    """A piece of an answer."""

    audio: ChoiceDeltaAudio | None
    content: str | None
    function_call: ChoiceDeltaFunctionCall | None
    refusal: str | None
    role: Literal["developer", "system", "user", "assistant", "tool"] | None
    tool_calls: list[ChoiceDeltaToolCall] | None


class ChunkChoice(Object):
    """A piece of one of the answers of a call."""

    _title = "Choice"

    delta: ChoiceDelta
    index: int
    finish_reason: FinishReason | None
    logprobs: ChoiceLogprobs | None


class ChatCompletionChunk(Object):
    """A chunk of the answer of a chat model."""

    id: str
    choices: list[ChunkChoice]
    created: int
    model: str
    object: Literal["chat.completion.chunk"]
    moderation: Any | None
    obfuscation: str | None
    service_tier: str | None
    system_fingerprint: str | None
    usage: CompletionUsage | None
