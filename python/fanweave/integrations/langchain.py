"""Models for LangChain, which keep its callbacks, agents and tools, over the engine. Needs ``langchain-core``.

from fanweave.integrations.langchain import ChatFanweave

chat = ChatFanweave(model="openai/gpt-5-mini", temperature=0)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

try:
    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import BaseChatModel, LanguageModelInput
    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
    from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
    from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
    from langchain_core.utils.pydantic import is_basemodel_subclass
except ImportError as error:
    raise ImportError(
        "fanweave.integrations.langchain needs langchain-core: pip install langchain-core"
    ) from error

from pydantic import ConfigDict, PrivateAttr, SecretStr

import fanweave as fw

from .. import _core
from .._chain import Chain
from .._foreign_messages import (
    Pieces,
    answer_fields,
    enforced_tools,
    tool_choice,
    tool_parts,
    wire_messages,
)
from .._foreign_messages import strict as strict_schema

__all__ = ["ChatFanweave", "FanweaveEmbeddings"]

# Names of parameters of the engine, by those that LangChain has for them.
_PARAMETERS = {
    "temperature": "temperature",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "top_p": "top_p",
    "seed": "seed",
    "stop": "stop",
}


class ChatFanweave(BaseChatModel):  # type: ignore[misc, unused-ignore]
    """A chat model of any provider: ``model`` is ``provider/model``, such as ``openai/gpt-5-mini``.

    ``rpm`` and ``tpm`` limit the account, ``timeout`` is that of a request in seconds, ``max_retries`` bounds its retries, and
    ``model_kwargs`` are parameters that are sent as they are. Models with the same key, base URL and name share one limiter.
    """

    # Errors do not show the arguments, of which one is the key.
    model_config = ConfigDict(hide_input_in_errors=True)

    model: str
    base_url: str | None = None
    api_key: SecretStr | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    timeout: float | None = None
    stop: list[str] | str | None = None
    max_retries: int | None = None
    rpm: int | None = None
    tpm: int | None = None
    model_kwargs: dict[str, Any] = {}

    _models: dict[str, fw.Model] = PrivateAttr(default_factory=dict)
    _chains: dict[Any, Any] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        """Makes the model, so that errors of its settings are raised here."""
        super().model_post_init(context)
        self._engine(self.model)

    @property
    def _llm_type(self) -> str:
        return "fanweave"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model, "temperature": self.temperature, "max_tokens": self.max_tokens}

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """False: LangChain loads only classes of its own list."""
        return False

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        params = super()._get_ls_params(stop=stop, **kwargs)
        name = kwargs.get("model") or self.model
        provider, _, model = name.rpartition("/")
        params["ls_provider"] = provider or self.model.partition("/")[0]
        params["ls_model_name"] = model
        temperature = kwargs.get("temperature", self.temperature)
        if temperature is not None:
            params["ls_temperature"] = temperature
        max_tokens = kwargs.get("max_tokens", self.max_tokens)
        if max_tokens is not None:
            params["ls_max_tokens"] = max_tokens
        return params

    def _engine(self, name: str) -> fw.Model:
        if "/" not in name:
            name = f"{self.model.partition('/')[0]}/{name}"
        found = self._models.get(name)
        if found is None:
            settings: dict[str, Any] = {
                "base_url": self.base_url,
                "api_key": None if self.api_key is None else self.api_key.get_secret_value(),
                "timeout": self.timeout,
                "retries": self.max_retries,
                "rpm": self.rpm,
                "tpm": self.tpm,
            }
            given = {name: value for name, value in settings.items() if value is not None}
            found = self._models[name] = fw.model(name, **given)
        return found

    def _asked(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]
    ) -> tuple[Chain[Any, Any, Any], Any]:
        """The chain and the prompt of a call."""
        left = dict(kwargs)
        parameters: dict[str, Any] = {}
        extra = dict(self.model_kwargs)
        for name in ("temperature", "max_tokens"):
            parameters[name] = getattr(self, name)
        parameters["stop"] = stop if stop is not None else self.stop
        chain: Chain[Any, Any, Any] = self._engine(left.pop("model", None) or self.model)
        tools = left.pop("tools", None)
        choice = tool_choice(left.pop("tool_choice", None))
        # An entry for tracers of LangChain alone.
        left.pop("ls_structured_output_format", None)
        if tools:
            chain = self._with_tools(chain, tools)
            parameters["tool_choice"] = choice
            enforced = enforced_tools(tools, self.model.partition("/")[0])
            if enforced is not None:
                extra["tools"] = enforced
        for name, value in left.items():
            if name in _PARAMETERS:
                if value is not None:
                    parameters[_PARAMETERS[name]] = value
            else:
                extra[name] = value
        if extra:
            parameters["extra"] = extra
        given = {name: value for name, value in parameters.items() if value is not None}
        return chain, _core.prompt_of(wire_messages(messages), given)

    def _with_tools(self, chain: Chain[Any, Any, Any], tools: Any) -> Chain[Any, Any, Any]:
        key = (id(chain), id(tools))
        known = self._chains.get(key)
        if known is None or known[0] is not tools:
            made: Chain[Any, Any, Any] = Chain(
                _core.with_tools(chain._engine, tool_parts(tools), None, False, None, 8)
            )
            if len(self._chains) >= 64:
                self._chains.clear()
            # The tools are kept, so that no others get their id.
            known = self._chains[key] = tools, made
        found: Chain[Any, Any, Any] = known[1]
        return found

    def _result(self, message: _core.Message) -> ChatResult:
        fields = answer_fields(message)
        fields["response_metadata"]["model_provider"] = self.model.partition("/")[0]
        info = {"finish_reason": message.finish_reason}
        generation = ChatGeneration(message=AIMessage(**fields), generation_info=info)
        return ChatResult(generations=[generation], llm_output={"model_name": message.model})

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        chain, prompt = self._asked(messages, stop, kwargs)
        return self._result(chain.invoke(prompt))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        chain, prompt = self._asked(messages, stop, kwargs)
        return self._result(await chain.ainvoke(prompt))

    def _chunk(self, fields: dict[str, Any]) -> ChatGenerationChunk:
        metadata = fields.get("response_metadata")
        if metadata is not None:
            metadata["model_provider"] = self.model.partition("/")[0]
        chunk = AIMessageChunk(**fields)
        info = None if metadata is None else {"finish_reason": metadata["finish_reason"]}
        return ChatGenerationChunk(message=chunk, generation_info=info)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        chain, prompt = self._asked(messages, stop, kwargs)
        pieces = Pieces()
        with chain.stream(prompt) as deltas:
            for delta in deltas:
                fields = pieces.fields(delta)
                if fields is not None:
                    chunk = self._chunk(fields)
                    if run_manager is not None:
                        run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        chain, prompt = self._asked(messages, stop, kwargs)
        pieces = Pieces()
        async with chain.astream(prompt) as deltas:
            async for delta in deltas:
                fields = pieces.fields(delta)
                if fields is not None:
                    chunk = self._chunk(fields)
                    if run_manager is not None:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: Any = None, strict: bool | None = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools: functions, tools of LangChain, pydantic models, or dicts with a JSON schema.

        With ``strict``, the provider is asked to enforce the schemas, or not to.
        """
        formatted = [convert_to_openai_tool(tool, strict=strict) for tool in tools]
        bound: dict[str, Any] = {"tools": formatted, **kwargs}
        if tool_choice is not None and tool_choice is not False:
            bound["tool_choice"] = tool_choice
        return super().bind(**bound)

    def with_structured_output(
        self,
        schema: Any = None,
        *,
        method: str = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """The model with answers of a type: a pydantic model, a TypedDict, or a JSON schema.

        ``method`` is ``json_schema``, ``function_calling`` or ``json_mode``. With ``include_raw`` the output is a dict of ``raw``,
        ``parsed`` and ``parsing_error``.
        """
        from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
        from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser

        if kwargs:
            raise ValueError(f"`{sorted(kwargs)[0]}` is not an argument of with_structured_output")
        # Models of pydantic 1 are read by the parsers of LangChain, too.
        is_pydantic = isinstance(schema, type) and is_basemodel_subclass(schema)
        parser: Any
        if method == "function_calling":
            tool = convert_to_openai_tool(schema)
            name = tool["function"]["name"]
            format = {"kwargs": {"method": method}, "schema": tool}
            model = self.bind_tools(
                [schema], tool_choice=name, strict=strict, ls_structured_output_format=format
            )
            if is_pydantic:
                parser = PydanticToolsParser(tools=[schema], first_tool_only=True)
            else:
                parser = JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)
        elif method in ("json_schema", "json_mode"):
            wanted: dict[str, Any] = {"type": "json_object"}
            format = {"kwargs": {"method": method}}
            if method == "json_schema":
                json_schema = convert_to_json_schema(schema)
                name = json_schema.get("title", "answer")
                format["schema"] = json_schema
                enforced = json_schema if strict is False else strict_schema(json_schema)
                wanted = {
                    "type": "json_schema",
                    "json_schema": {"name": name, "strict": strict is not False, "schema": enforced},
                }
            model = super().bind(response_format=wanted, ls_structured_output_format=format)
            parser = PydanticOutputParser(pydantic_object=schema) if is_pydantic else JsonOutputParser()
        else:
            raise ValueError(f"method must be json_schema, function_calling or json_mode, got {method!r}")
        if not include_raw:
            whole: Runnable[LanguageModelInput, Any] = model | parser
            return whole
        parsed = RunnablePassthrough.assign(
            parsed=(lambda output: output["raw"]) | parser, parsing_error=lambda _: None
        )
        failed = RunnablePassthrough.assign(parsed=lambda _: None)
        read: Runnable[Any, Any] = parsed.with_fallbacks([failed], exception_key="parsing_error")
        return RunnableMap(raw=model) | read


class FanweaveEmbeddings(Embeddings):  # type: ignore[misc, unused-ignore]
    """Embeddings of any provider: ``model`` is ``provider/model``. Settings are those of ``fanweave.embedder``."""

    def __init__(self, model: str, **settings: Any) -> None:
        self._embedder = fw.embedder(model, **settings)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of several texts."""
        return [list(vector) for vector in self._embedder.embed(texts)]

    def embed_query(self, text: str) -> list[float]:
        """The vector of a text."""
        return self.embed_documents([text])[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of several texts."""
        return [list(vector) for vector in await self._embedder.aembed(texts)]

    async def aembed_query(self, text: str) -> list[float]:
        """The vector of a text."""
        return (await self.aembed_documents([text]))[0]
