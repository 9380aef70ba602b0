"""Chat models: ``ChatOpenAI``, ``ChatAnthropic`` and others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from .. import _core
from .._chain import Chain
from .._errors import ConfigError
from .._foreign_messages import (
    Pieces,
    answer_fields,
    enforced_tools,
    strict_tool,
    tool_choice,
    tool_parts,
    wire_messages,
)
from .._model import Model
from ._base import Settings
from ._running import DEFAULT_ROWS, Run, blocking, permit, rows, run_of
from .runnables import Runnable, RunnableLambda, RunnableParallel
from .schema import AIMessage, AIMessageChunk, ChatGeneration, LLMResult, messages_of

# Modules below this one are found: see _modules.py.
__path__: list[str] = []

__all__ = [
    "AzureChatOpenAI",
    "BaseChatModel",
    "ChatAnthropic",
    "ChatGoogleGenerativeAI",
    "ChatGroq",
    "ChatMistralAI",
    "ChatModel",
    "ChatOllama",
    "ChatOpenAI",
    "init_chat_model",
]


class BaseChatModel(Runnable[Any, AIMessage]):
    """A chat model. Its input is a text, messages or a filled prompt, its output an ``AIMessage``.

    Settings are those of LangChain: ``model``, ``temperature``, ``max_tokens``, ``api_key``, ``base_url``, ``timeout``,
    ``max_retries``, ``stop``, ``model_kwargs``. ``rpm`` and ``tpm`` limit the account.
    """

    provider = ""
    default_model: str | None = None
    _keys: tuple[str, ...] = ()
    _urls: tuple[str, ...] = ()

    def __init__(self, model: str | None = None, **settings: Any) -> None:
        kind = type(self).__name__
        read = Settings(kind, settings, self._keys, self._urls)
        left = read.left
        name = model or left.pop("model_name", None) or self.default_model
        if not name:
            raise ConfigError(f"{kind} needs a model", kind="config")
        self.model_name: str = name
        self.model: str = name
        self.parameters: dict[str, Any] = {}
        for parameter, names in _PARAMETERS.items():
            value = next((left.pop(each) for each in names if left.get(each) is not None), None)
            if value is not None:
                self.parameters[parameter] = value
            for each in names:
                left.pop(each, None)
        for each in _SENT_AS_THEY_ARE:
            value = left.pop(each, None)
            if value is not None:
                read.extra[each] = value
        self.streaming = bool(left.pop("streaming", False))
        left.pop("stream_usage", None)
        if read.extra:
            self.parameters["extra"] = read.extra
        read.check()
        self._connection = read.connection
        self._model = Model(f"{self.provider}/{name}", self._connection)
        # The model with the tools that are bound, and the schemas.
        self._chains: dict[int, tuple[Any, Chain[Any, Any, Any]]] = {}

    @property
    def temperature(self) -> float | None:
        """The temperature, if it is set."""
        return self.parameters.get("temperature")

    @property
    def max_tokens(self) -> int | None:
        """Maximum tokens of an answer, if it is set."""
        return self.parameters.get("max_tokens")

    # -- one call ------------------------------------------------------------------------------------------

    def _asked(self, input: Any, kwargs: Mapping[str, Any]) -> tuple[Chain[Any, Any, Any], Any]:
        """The chain and the prompt of a call."""
        left = dict(kwargs)
        parameters = dict(self.parameters)
        tools = left.pop("tools", None)
        choice = tool_choice(left.pop("tool_choice", None))
        if choice is not None:
            parameters["tool_choice"] = choice
        extra = dict(parameters.get("extra") or {})
        enforced = enforced_tools(tools, self.provider) if tools else None
        if enforced is not None:
            extra["tools"] = enforced
        for name, value in left.items():
            parameter = next((known for known, names in _PARAMETERS.items() if name in names), None)
            if parameter is not None:
                if value is not None:
                    parameters[parameter] = value
            else:
                extra[name] = value
        if extra:
            parameters["extra"] = extra
        messages = wire_messages(messages_of(input))
        return self._chain(tools), _core.prompt_of(messages, parameters)

    def _chain(self, tools: Any) -> Chain[Any, Any, Any]:
        if not tools:
            return self._model
        known = self._chains.get(id(tools))
        if known is None or known[0] is not tools:
            made: Chain[Any, Any, Any] = Chain(
                _core.with_tools(self._model._engine, tool_parts(tools), None, False, None, 8)
            )
            if len(self._chains) >= 64:
                self._chains.clear()
            # The tools are kept, so that no others get their id.
            known = self._chains[id(tools)] = tools, made
        return known[1]

    async def _message(self, input: Any, run: Run, kwargs: Mapping[str, Any]) -> _core.Message:
        chain, prompt = self._asked(input, kwargs)
        async with permit(run):
            message: _core.Message = await chain.ainvoke(prompt, **run.options)
        return message

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> AIMessage:
        fields = answer_fields(await self._message(input, run, kwargs))
        fields.pop("invalid_tool_calls", None)
        return AIMessage(**fields)

    async def _pieces(self, input: Any, run: Run, **kwargs: Any) -> AsyncIterator[AIMessageChunk]:
        chain, prompt = self._asked(input, kwargs)
        pieces = Pieces()
        async with permit(run), chain.astream(prompt, **run.options) as deltas:
            async for delta in deltas:
                fields = pieces.fields(delta)
                if fields is not None:
                    yield AIMessageChunk(**fields)

    # -- the verbs of before runnables -----------------------------------------------------------------------

    async def agenerate(
        self, messages: Sequence[Any], stop: list[str] | None = None, **kwargs: Any
    ) -> LLMResult:
        """The answers to several lists of messages."""
        outputs: list[Any] = [None] * len(messages)
        run = run_of(None)
        if stop is not None:
            kwargs["stop"] = stop
        await rows(
            lambda i: self._run(messages[i], run, **kwargs),
            len(outputs),
            DEFAULT_ROWS,
            False,
            outputs.__setitem__,
        )
        generations = [
            [ChatGeneration(output, {"finish_reason": output.response_metadata["finish_reason"]})]
            for output in outputs
        ]
        return LLMResult(generations, {"token_usage": _total(outputs), "model_name": self.model_name})

    def generate(self, messages: Sequence[Any], stop: list[str] | None = None, **kwargs: Any) -> LLMResult:
        """The answers to several lists of messages."""
        return blocking(lambda: self.agenerate(messages, stop, **kwargs))

    async def agenerate_prompt(
        self, prompts: Sequence[Any], stop: list[str] | None = None, **kwargs: Any
    ) -> LLMResult:
        """The answers to several filled prompts."""
        return await self.agenerate([messages_of(prompt) for prompt in prompts], stop, **kwargs)

    def generate_prompt(
        self, prompts: Sequence[Any], stop: list[str] | None = None, **kwargs: Any
    ) -> LLMResult:
        """The answers to several filled prompts."""
        return blocking(lambda: self.agenerate_prompt(prompts, stop, **kwargs))

    def __call__(self, messages: Any, stop: list[str] | None = None, **kwargs: Any) -> AIMessage:
        """The answer to messages."""
        if stop is not None:
            kwargs["stop"] = stop
        return self.invoke(messages, **kwargs)

    def predict(self, text: str, *, stop: list[str] | None = None, **kwargs: Any) -> str:
        """The text of the answer to a text."""
        return str(self(text, stop, **kwargs).content)

    async def apredict(self, text: str, *, stop: list[str] | None = None, **kwargs: Any) -> str:
        """The text of the answer to a text."""
        if stop is not None:
            kwargs["stop"] = stop
        return str((await self.ainvoke(text, **kwargs)).content)

    def predict_messages(self, messages: Sequence[Any], **kwargs: Any) -> AIMessage:
        """The answer to messages."""
        return self(messages, **kwargs)

    async def apredict_messages(self, messages: Sequence[Any], **kwargs: Any) -> AIMessage:
        """The answer to messages."""
        return await self.ainvoke(messages, **kwargs)

    # -- tools and types -------------------------------------------------------------------------------------

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: Any = None, strict: bool | None = None, **kwargs: Any
    ) -> Runnable[Any, AIMessage]:
        """The model with tools: functions, pydantic models, or dicts with a JSON schema. The answer has ``tool_calls``.

        With ``strict``, the provider is asked to enforce the schemas, or not to.
        """
        chosen = list(tools) if strict is None else [strict_tool(each, strict) for each in tools]
        bound: dict[str, Any] = {"tools": chosen, **kwargs}
        # Errors of types are raised here.
        tool_parts(chosen)
        if tool_choice is not None:
            bound["tool_choice"] = tool_choice
        return self.bind(**bound)

    def with_structured_output(
        self,
        schema: Any,
        *,
        method: str = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
    ) -> Runnable[Any, Any]:
        """The model with answers of a type: a pydantic model, a TypedDict, a dataclass, or a JSON schema, for dicts.

        ``method`` is ``json_schema``, ``function_calling`` or ``json_mode``. With ``include_raw`` the output is a dict
        of ``raw``, ``parsed`` and ``parsing_error``.
        """
        from .output_parsers import StructuredAnswer, structured_parser

        # The schema of a request is strict wherever its provider supports that.
        if strict is False and method == "json_schema":
            method = "function_calling"
        if method == "json_schema" and not include_raw:
            return StructuredAnswer(self, schema)
        model, parser = structured_parser(
            self, schema, "function_calling" if method == "json_schema" else method
        )
        if not include_raw:
            return model | parser
        return RunnableParallel(raw=model) | RunnableLambda(_parsed_of(parser))

    def get_num_tokens(self, text: str) -> int:
        """An estimate of the tokens of a text: four characters each."""
        return -(-len(text) // 4)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model_name})"


def _parsed_of(parser: Any) -> Any:
    async def attempt(output: dict[str, Any]) -> dict[str, Any]:
        try:
            return {**output, "parsed": await parser.ainvoke(output["raw"]), "parsing_error": None}
        except Exception as error:
            return {**output, "parsed": None, "parsing_error": error}

    return attempt


# Parameters of the engine, and their names in LangChain.
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "temperature": ("temperature",),
    "max_tokens": (
        "max_tokens",
        "max_completion_tokens",
        "max_tokens_to_sample",
        "max_output_tokens",
        "num_predict",
    ),
    "top_p": ("top_p",),
    "seed": ("seed",),
    "stop": ("stop", "stop_sequences"),
}

# Parameters that the engine has no name for.
_SENT_AS_THEY_ARE = (
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "top_k",
    "reasoning_effort",
    "reasoning",
    "service_tier",
    "user",
    "thinking",
)


def _total(messages: Sequence[AIMessage]) -> dict[str, int]:
    usages = [message.usage_metadata or {} for message in messages]
    names = {
        "prompt_tokens": "input_tokens",
        "completion_tokens": "output_tokens",
        "total_tokens": "total_tokens",
    }
    return {name: sum(usage.get(own, 0) for usage in usages) for name, own in names.items()}


class ChatOpenAI(BaseChatModel):
    """A chat model of OpenAI, or of a server with its API at ``base_url``."""

    provider = "openai"
    default_model = "gpt-3.5-turbo"
    _keys = ("openai_api_key",)
    _urls = ("openai_api_base",)


class AzureChatOpenAI(BaseChatModel):
    """A chat model of OpenAI at Azure."""

    provider = "azure"
    _keys = ("openai_api_key",)

    def __init__(self, **settings: Any) -> None:
        endpoint = settings.pop("azure_endpoint", None)
        version = settings.pop("api_version", None) or settings.pop("openai_api_version", None)
        name = settings.pop("azure_deployment", None) or settings.pop("deployment_name", None)
        model = settings.pop("model", None) or settings.pop("model_name", None)
        if endpoint:
            url = f"{endpoint.rstrip('/')}/openai/deployments/{name or model}"
            settings["base_url"] = f"{url}?api-version={version}" if version else url
        super().__init__(name or model, **settings)


class ChatAnthropic(BaseChatModel):
    """A chat model of Anthropic."""

    provider = "anthropic"
    _keys = ("anthropic_api_key",)
    _urls = ("anthropic_api_url",)


class ChatGoogleGenerativeAI(BaseChatModel):
    """A Gemini model."""

    provider = "gemini"
    _keys = ("google_api_key",)


class ChatMistralAI(BaseChatModel):
    """A chat model of Mistral."""

    provider = "mistral"
    _keys = ("mistral_api_key",)
    _urls = ("endpoint",)


class ChatGroq(BaseChatModel):
    """A chat model at Groq."""

    provider = "groq"
    _keys = ("groq_api_key",)
    _urls = ("groq_api_base",)


class ChatOllama(BaseChatModel):
    """A chat model at Ollama."""

    provider = "ollama"


class ChatModel(BaseChatModel):
    """A chat model of any provider of fanweave: ``ChatModel("openrouter/..")``."""

    def __init__(self, model: str, **settings: Any) -> None:
        self.provider, _, name = model.partition("/")
        super().__init__(name, **settings)


_PROVIDERS = {"google_genai": "gemini", "mistralai": "mistral", "azure_openai": "azure"}


def init_chat_model(model: str, *, model_provider: str | None = None, **settings: Any) -> BaseChatModel:
    """The chat model of a name such as ``openai:gpt-5-mini``, or a name and a provider."""
    provider, separator, name = model.partition(":")
    if model_provider is not None:
        provider, name = model_provider, model
    elif not separator:
        prefixes = {
            "gpt": "openai",
            "o1": "openai",
            "o3": "openai",
            "claude": "anthropic",
            "gemini": "gemini",
        }
        provider = next((each for prefix, each in prefixes.items() if model.startswith(prefix)), "")
        name = model
        if not provider:
            raise ConfigError(f"no provider is known for `{model}`: write provider:model", kind="config")
    return ChatModel(f"{_PROVIDERS.get(provider, provider)}/{name}", **settings)
