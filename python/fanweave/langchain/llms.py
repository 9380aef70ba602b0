"""Models without chat: ``OpenAI`` and others. Their input and output are texts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from .._errors import ConfigError, DecodeError, StreamIncompleteError
from .._raw import raw_model
from ..openai._streaming import Events
from ._base import Settings, from_environment
from ._running import DEFAULT_ROWS, Run, blocking, permit, rows, run_of
from .chat_models import BaseChatModel, ChatAnthropic, ChatModel, ChatOpenAI, _total
from .runnables import Runnable
from .schema import Generation, LLMResult, text_of

# Modules below this one are found: see _modules.py.
__path__: list[str] = []

__all__ = [
    "LLM",
    "Anthropic",
    "AzureOpenAI",
    "BaseLLM",
    "Ollama",
    "OpenAI",
    "OpenAIChat",
    "PromptLayerOpenAI",
]


class BaseLLM(Runnable[Any, str]):
    """A model whose input and output are texts. Subclasses define ``_generated``."""

    async def _generated(
        self, prompts: Sequence[str], run: Run, stop: list[str] | None, kwargs: Mapping[str, Any]
    ) -> LLMResult:
        raise NotImplementedError

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> str:
        stop = kwargs.pop("stop", None)
        result = await self._generated([text_of(input)], run, stop, kwargs)
        text: str = result.generations[0][0].text
        return text

    async def agenerate(
        self, prompts: Sequence[str], stop: list[str] | None = None, **kwargs: Any
    ) -> LLMResult:
        """The answers to several prompts."""
        if isinstance(prompts, str):
            raise TypeError("generate needs a list of prompts, got a text: use invoke for one prompt")
        return await self._generated(list(prompts), run_of(None), stop, kwargs)

    def generate(self, prompts: Sequence[str], stop: list[str] | None = None, **kwargs: Any) -> LLMResult:
        """The answers to several prompts."""
        return blocking(lambda: self.agenerate(prompts, stop, **kwargs))

    async def agenerate_prompt(
        self, prompts: Sequence[Any], stop: list[str] | None = None, **kwargs: Any
    ) -> LLMResult:
        """The answers to several filled prompts."""
        return await self.agenerate([text_of(prompt) for prompt in prompts], stop, **kwargs)

    def generate_prompt(
        self, prompts: Sequence[Any], stop: list[str] | None = None, **kwargs: Any
    ) -> LLMResult:
        """The answers to several filled prompts."""
        return blocking(lambda: self.agenerate_prompt(prompts, stop, **kwargs))

    def __call__(self, prompt: str, stop: list[str] | None = None, **kwargs: Any) -> str:
        """The answer to a prompt."""
        if stop is not None:
            kwargs["stop"] = stop
        return self.invoke(prompt, **kwargs)

    def predict(self, text: str, *, stop: list[str] | None = None, **kwargs: Any) -> str:
        """The answer to a prompt."""
        return self(text, stop, **kwargs)

    async def apredict(self, text: str, *, stop: list[str] | None = None, **kwargs: Any) -> str:
        """The answer to a prompt."""
        if stop is not None:
            kwargs["stop"] = stop
        return await self.ainvoke(text, **kwargs)

    def get_num_tokens(self, text: str) -> int:
        """An estimate of the tokens of a text: four characters each."""
        return -(-len(text) // 4)


LLM = BaseLLM

# Parameters of completions that are sent as they are.
_COMPLETION = (
    "best_of",
    "echo",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "n",
    "presence_penalty",
    "seed",
    "suffix",
    "temperature",
    "top_p",
    "user",
)


class OpenAI(BaseLLM):
    """A model of OpenAI's completions. Settings are those of LangChain.

    ``batch_size`` is the maximum number of prompts in a request of ``generate``; ``n`` the number of answers to each,
    from ``best_of``. ``batch`` sends a request for each input.
    """

    def __init__(self, model: str | None = None, **settings: Any) -> None:
        kind = type(self).__name__
        read = Settings(kind, settings, ("openai_api_key",), ("openai_api_base",))
        left = read.left
        self.model_name: str = model or left.pop("model_name", None) or "gpt-3.5-turbo-instruct"
        left.pop("model_name", None)
        self.batch_size = int(left.pop("batch_size", 20))
        if self.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {self.batch_size}", kind="config")
        self.streaming = bool(left.pop("streaming", False))
        self.stop = _stops(left.pop("stop", None))
        self.parameters: dict[str, Any] = {"temperature": 0.7, "max_tokens": 256}
        for name in _COMPLETION:
            if name in left:
                value = left.pop(name)
                self.parameters.pop(name, None)
                # -1 means no limit in LangChain.
                if value is not None and not (name == "max_tokens" and value == -1):
                    self.parameters[name] = value
        self.parameters.update(read.extra)
        read.check()
        url = from_environment("OPENAI_BASE_URL") or from_environment("OPENAI_API_BASE")
        connection = {**({"base_url": url} if url else {}), **read.connection}
        self._engine = raw_model(f"{self._provider()}/{self.model_name}", **connection)

    def _provider(self) -> str:
        return "openai"

    @property
    def model(self) -> str:
        """The name of the model."""
        return self.model_name

    @property
    def temperature(self) -> float | None:
        """The temperature."""
        return self.parameters.get("temperature")

    @property
    def n(self) -> int:
        """The number of answers to each prompt."""
        return int(self.parameters.get("n") or 1)

    def _request(
        self, prompt: Any, stop: list[str] | None, kwargs: Mapping[str, Any], stream: bool
    ) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.model_name, "prompt": prompt, **self.parameters, **kwargs}
        stops = _stops(stop) or self.stop
        if stops:
            body["stop"] = stops
        if stream:
            body["stream"] = True
        limit = body.get("max_tokens")
        return {
            "path": "/completions",
            "body": json.dumps(body, ensure_ascii=False).encode(),
            "headers": {"content-type": "application/json"},
            "max_tokens": limit if isinstance(limit, int) and limit > 0 else None,
        }

    async def _complete(
        self, prompts: Sequence[str], run: Run, stop: list[str] | None, kwargs: Mapping[str, Any]
    ) -> dict[str, Any]:
        prompt = prompts[0] if len(prompts) == 1 else list(prompts)
        request = self._request(prompt, stop, kwargs, False)
        async with permit(run):
            answer = await self._engine.asend(**request, **run.options)
        try:
            value = json.loads(answer.body)
            if len(value["choices"]) >= len(prompts):
                return dict(value)
        except (ValueError, KeyError, TypeError):
            pass
        raise DecodeError(
            "the answer is not that of a completion with a choice for each prompt", kind="decode"
        )

    async def _generated(
        self, prompts: Sequence[str], run: Run, stop: list[str] | None, kwargs: Mapping[str, Any]
    ) -> LLMResult:
        groups = [
            prompts[start : start + self.batch_size] for start in range(0, len(prompts), self.batch_size)
        ]
        answers: list[Any] = [None] * len(groups)
        await rows(
            lambda i: self._complete(groups[i], run, stop, kwargs),
            len(groups),
            DEFAULT_ROWS,
            False,
            answers.__setitem__,
        )
        generations: list[list[Any]] = []
        usage: dict[str, int] = {}
        count = int(kwargs.get("n") or self.n)
        for group, answer in zip(groups, answers, strict=True):
            choices = sorted(answer["choices"], key=lambda choice: choice.get("index", 0))
            for i in range(len(group)):
                generations.append([_generation(choice) for choice in choices[i * count : (i + 1) * count]])
            for name, tokens in (answer.get("usage") or {}).items():
                if isinstance(tokens, int):
                    usage[name] = usage.get(name, 0) + tokens
        return LLMResult(generations, {"token_usage": usage, "model_name": self.model_name})

    async def _pieces(self, input: Any, run: Run, **kwargs: Any) -> AsyncIterator[str]:
        stop = kwargs.pop("stop", None)
        request = self._request(text_of(input), stop, kwargs, True)
        events = Events()
        has_finished = False
        async with permit(run), self._engine.astream(**request, **run.options) as chunks:
            async for chunk in chunks:
                for data in events.feed(chunk):
                    if data.startswith(b"[DONE]"):
                        return
                    for choice in json.loads(data).get("choices") or ():
                        has_finished = has_finished or bool(choice.get("finish_reason"))
                        if choice.get("text"):
                            yield choice["text"]
        if not has_finished:
            raise StreamIncompleteError(
                "the stream ended before the answer was complete", kind="stream_incomplete"
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model_name})"


def _stops(stop: Any) -> list[str] | None:
    return [stop] if isinstance(stop, str) else (list(stop) if stop else None)


def _generation(choice: Mapping[str, Any]) -> Generation:
    info = {"finish_reason": choice.get("finish_reason"), "logprobs": choice.get("logprobs")}
    return Generation(choice["text"], info)


class AzureOpenAI(OpenAI):
    """A model of OpenAI's completions at Azure."""

    def __init__(self, **settings: Any) -> None:
        endpoint = settings.pop("azure_endpoint", None) or from_environment("AZURE_OPENAI_ENDPOINT")
        version = settings.pop("api_version", None) or from_environment("OPENAI_API_VERSION")
        name = settings.pop("azure_deployment", None) or settings.pop("deployment_name", None)
        model = settings.pop("model", None) or settings.pop("model_name", None)
        if endpoint and "base_url" not in settings:
            url = f"{endpoint.rstrip('/')}/openai/deployments/{name or model}"
            settings["base_url"] = f"{url}?api-version={version}" if version else url
        super().__init__(name or model, **settings)

    def _provider(self) -> str:
        return "azure"


class PromptLayerOpenAI(OpenAI):
    """``OpenAI``. Nothing is sent to PromptLayer: ``pl_tags`` are tags of the calls, ``return_pl_id`` is refused."""

    def __init__(self, model: str | None = None, **settings: Any) -> None:
        self.pl_tags = list(settings.pop("pl_tags", None) or ())
        if settings.pop("return_pl_id", False):
            raise ConfigError(
                "return_pl_id is not supported: fanweave sends nothing to PromptLayer", kind="config"
            )
        super().__init__(model, **settings)

    async def _complete(
        self, prompts: Sequence[str], run: Run, stop: list[str] | None, kwargs: Mapping[str, Any]
    ) -> dict[str, Any]:
        tagged = Run({**run.config, "tags": [*(run.config.get("tags") or ()), *self.pl_tags]}, run.permits)
        return await super()._complete(prompts, tagged, stop, kwargs)


class _ChatText(BaseLLM):
    """A chat model with texts as its input and output."""

    _chat: BaseChatModel

    @property
    def model_name(self) -> str:
        """The name of the model."""
        return self._chat.model_name

    async def _generated(
        self, prompts: Sequence[str], run: Run, stop: list[str] | None, kwargs: Mapping[str, Any]
    ) -> LLMResult:
        given = {**kwargs, **({"stop": stop} if stop else {})}
        answers: list[Any] = [None] * len(prompts)
        await rows(
            lambda i: self._chat._run(prompts[i], run, **given),
            len(prompts),
            DEFAULT_ROWS,
            False,
            answers.__setitem__,
        )
        generations: list[list[Any]] = [
            [Generation(answer.text, {"finish_reason": answer.response_metadata["finish_reason"]})]
            for answer in answers
        ]
        return LLMResult(generations, {"token_usage": _total(answers), "model_name": self.model_name})

    async def _pieces(self, input: Any, run: Run, **kwargs: Any) -> AsyncIterator[str]:
        async for piece in self._chat._pieces(text_of(input), run, **kwargs):
            if piece.text:
                yield piece.text


class OpenAIChat(_ChatText):
    """A chat model of OpenAI with texts as its input and output."""

    def __init__(self, model: str | None = None, **settings: Any) -> None:
        self._chat = ChatOpenAI(model, **settings)


class Anthropic(_ChatText):
    """A model of Anthropic with texts as its input and output."""

    def __init__(self, model: str | None = None, **settings: Any) -> None:
        settings.setdefault("max_tokens_to_sample", settings.pop("max_tokens", None) or 1024)
        name = model or settings.pop("model_name", None)
        self._chat = ChatAnthropic(name, **settings)


class Ollama(_ChatText):
    """A model at Ollama with texts as its input and output."""

    def __init__(self, model: str = "llama3", **settings: Any) -> None:
        self._chat = ChatModel(f"ollama/{model}", **settings)
