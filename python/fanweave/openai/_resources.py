"""The methods of clients. All parameters of the API are sent as they are, also those that are not named here."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, overload

from ._base import NOT_GIVEN, Call, NotGiven
from ._object import Object
from .types import Completion, CreateEmbeddingResponse, Model, ModelPage
from .types.chat import ChatCompletion, ChatCompletionChunk, ParsedChatCompletion

if TYPE_CHECKING:
    from ._base import APIResponse
    from ._client import AsyncOpenAI, OpenAI
    from ._streaming import AsyncStream, Stream

    Messages = Iterable[Any]


def _call(
    path: str, cls: type[Object], chunk: type[Object], parameters: dict[str, Any], is_raw: bool
) -> Call:
    call = Call("POST", path, cls, parameters, is_raw=is_raw)
    if call.is_stream:
        call.cls = chunk
    return call


def _chat(parameters: dict[str, Any], is_raw: bool = False) -> Call:
    return _call("/chat/completions", ChatCompletion, ChatCompletionChunk, parameters, is_raw)


def _completion(parameters: dict[str, Any], is_raw: bool = False) -> Call:
    return _call("/completions", Completion, Completion, parameters, is_raw)


def _embedding(parameters: dict[str, Any], is_raw: bool = False) -> Call:
    return Call("POST", "/embeddings", CreateEmbeddingResponse, parameters, is_raw=is_raw)


def _parsed(parameters: dict[str, Any], is_raw: bool = False) -> Call:
    from ._parsing import reader_of, request_of

    if parameters.get("stream"):
        raise TypeError("parse does not stream: use create")
    read = reader_of(parameters)
    call = Call("POST", "/chat/completions", ParsedChatCompletion, request_of(parameters), is_raw=is_raw)
    call.parse = read
    return call


def _listed(parameters: dict[str, Any], is_raw: bool = False) -> Call:
    return Call("GET", "/models", ModelPage, parameters, is_raw=is_raw)


def _retrieved(parameters: dict[str, Any], is_raw: bool = False) -> Call:
    from urllib.parse import quote

    name = parameters.pop("model")
    return Call("GET", f"/models/{quote(name)}", Model, parameters, is_raw=is_raw)


class _Raw:
    """Methods whose calls return an ``APIResponse``: the answer with its status and headers."""

    def __init__(self, client: Any, methods: dict[str, Any]) -> None:
        self._client = client
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        methods = self.__dict__.get("_methods", {})
        if name not in methods:
            raise AttributeError(f"there is no method `{name}`")
        make = methods[name]

        def call(*args: Any, **parameters: Any) -> APIResponse | Any:
            if args:
                parameters["model"] = args[0]
            return self._client._run(make(parameters, True))

        return call


_CHAT = {"create": _chat, "parse": _parsed}


class RawResponses:
    """A client whose calls return an ``APIResponse``."""

    def __init__(self, client: Any) -> None:
        self.completions = _Raw(client, {"create": _completion})
        self.embeddings = _Raw(client, {"create": _embedding})
        self.models = _Raw(client, {"list": _listed, "retrieve": _retrieved})
        self.chat = _RawChat(client)


class _RawChat:
    def __init__(self, client: Any) -> None:
        self.completions = _Raw(client, _CHAT)


class _Resource:
    """The methods for one kind of request."""

    _methods: dict[str, Any] = {}

    def __init__(self, client: Any) -> None:
        self._client = client

    @functools.cached_property
    def with_raw_response(self) -> Any:
        """The same methods, which return an ``APIResponse``: the answer with its status and headers."""
        return _Raw(self._client, self._methods)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(
            f"fanweave.openai has no `{name}` here: use the official package with the transport of "
            "fanweave.integrations.httpx, which sends all its requests through the same limits"
        )


class ChatCompletions(_Resource):
    """``client.chat.completions``."""

    _methods = _CHAT

    @overload
    def create(
        self, *, messages: Messages, model: str, stream: Literal[True], **parameters: Any
    ) -> Stream[ChatCompletionChunk]: ...
    @overload
    def create(
        self,
        *,
        messages: Messages,
        model: str,
        stream: Literal[False] | NotGiven | None = ...,
        **parameters: Any,
    ) -> ChatCompletion: ...
    def create(
        self, *, messages: Any, model: str, stream: Any = NOT_GIVEN, **parameters: Any
    ) -> ChatCompletion | Stream[ChatCompletionChunk]:
        """Asks a chat model. With ``stream=True``, returns its answer in chunks.

        ``extra_headers``, ``extra_query``, ``extra_body`` and ``timeout`` hold for this call alone.
        """
        asked = {"messages": messages, "model": model, "stream": stream, **parameters}
        made: ChatCompletion = self._client._run(_chat(asked))
        return made

    def parse(self, *, messages: Messages, model: str, **parameters: Any) -> ParsedChatCompletion:
        """Asks for an answer of the type ``response_format``, a pydantic model, which is ``message.parsed``."""
        asked = {"messages": messages, "model": model, **parameters}
        made: ParsedChatCompletion = self._client._run(_parsed(asked))
        return made


class AsyncChatCompletions(_Resource):
    """``client.chat.completions``, awaited."""

    _methods = _CHAT

    @overload
    async def create(
        self, *, messages: Messages, model: str, stream: Literal[True], **parameters: Any
    ) -> AsyncStream[ChatCompletionChunk]: ...
    @overload
    async def create(
        self,
        *,
        messages: Messages,
        model: str,
        stream: Literal[False] | NotGiven | None = ...,
        **parameters: Any,
    ) -> ChatCompletion: ...
    async def create(
        self, *, messages: Any, model: str, stream: Any = NOT_GIVEN, **parameters: Any
    ) -> ChatCompletion | AsyncStream[ChatCompletionChunk]:
        """Asks a chat model. With ``stream=True``, returns its answer in chunks.

        ``extra_headers``, ``extra_query``, ``extra_body`` and ``timeout`` hold for this call alone.
        """
        asked = {"messages": messages, "model": model, "stream": stream, **parameters}
        made: ChatCompletion = await self._client._run(_chat(asked))
        return made

    async def parse(self, *, messages: Messages, model: str, **parameters: Any) -> ParsedChatCompletion:
        """Asks for an answer of the type ``response_format``, a pydantic model, which is ``message.parsed``."""
        asked = {"messages": messages, "model": model, **parameters}
        made: ParsedChatCompletion = await self._client._run(_parsed(asked))
        return made


class Chat:
    """``client.chat``."""

    def __init__(self, client: OpenAI) -> None:
        self.completions = ChatCompletions(client)
        self.with_raw_response = _RawChat(client)


class AsyncChat:
    """``client.chat``, awaited."""

    def __init__(self, client: AsyncOpenAI) -> None:
        self.completions = AsyncChatCompletions(client)
        self.with_raw_response = _RawChat(client)


class Beta(_Resource):
    """``client.beta``, of which ``chat`` is that of the client."""

    @functools.cached_property
    def chat(self) -> Any:
        """The same as ``client.chat``."""
        return self._client.chat


class Completions(_Resource):
    """``client.completions``."""

    _methods = {"create": _completion}

    @overload
    def create(
        self, *, model: str, prompt: Any, stream: Literal[True], **parameters: Any
    ) -> Stream[Completion]: ...
    @overload
    def create(
        self, *, model: str, prompt: Any, stream: Literal[False] | NotGiven | None = ..., **parameters: Any
    ) -> Completion: ...
    def create(
        self, *, model: str, prompt: Any, stream: Any = NOT_GIVEN, **parameters: Any
    ) -> Completion | Stream[Completion]:
        """Asks a model without chat to continue ``prompt``, a text or several."""
        asked = {"model": model, "prompt": prompt, "stream": stream, **parameters}
        made: Completion = self._client._run(_completion(asked))
        return made


class AsyncCompletions(_Resource):
    """``client.completions``, awaited."""

    _methods = {"create": _completion}

    @overload
    async def create(
        self, *, model: str, prompt: Any, stream: Literal[True], **parameters: Any
    ) -> AsyncStream[Completion]: ...
    @overload
    async def create(
        self, *, model: str, prompt: Any, stream: Literal[False] | NotGiven | None = ..., **parameters: Any
    ) -> Completion: ...
    async def create(
        self, *, model: str, prompt: Any, stream: Any = NOT_GIVEN, **parameters: Any
    ) -> Completion | AsyncStream[Completion]:
        """Asks a model without chat to continue ``prompt``, a text or several."""
        asked = {"model": model, "prompt": prompt, "stream": stream, **parameters}
        made: Completion = await self._client._run(_completion(asked))
        return made


class Embeddings(_Resource):
    """``client.embeddings``."""

    _methods = {"create": _embedding}

    def create(self, *, input: Any, model: str, **parameters: Any) -> CreateEmbeddingResponse:
        """The vectors of a text or several. Texts are sent as they are, in one request."""
        asked = {"input": input, "model": model, **parameters}
        made: CreateEmbeddingResponse = self._client._run(_embedding(asked))
        return made


class AsyncEmbeddings(_Resource):
    """``client.embeddings``, awaited."""

    _methods = {"create": _embedding}

    async def create(self, *, input: Any, model: str, **parameters: Any) -> CreateEmbeddingResponse:
        """The vectors of a text or several. Texts are sent as they are, in one request."""
        asked = {"input": input, "model": model, **parameters}
        made: CreateEmbeddingResponse = await self._client._run(_embedding(asked))
        return made


class Models(_Resource):
    """``client.models``."""

    _methods = {"list": _listed, "retrieve": _retrieved}

    def list(self, **options: Any) -> ModelPage:
        """The models that the key may use."""
        made: ModelPage = self._client._run(_listed(options))
        return made

    def retrieve(self, model: str, **options: Any) -> Model:
        """A model by name."""
        made: Model = self._client._run(_retrieved({"model": model, **options}))
        return made


class AsyncModels(_Resource):
    """``client.models``, awaited."""

    _methods = {"list": _listed, "retrieve": _retrieved}

    async def list(self, **options: Any) -> ModelPage:
        """The models that the key may use."""
        made: ModelPage = await self._client._run(_listed(options))
        return made

    async def retrieve(self, model: str, **options: Any) -> Model:
        """A model by name."""
        made: Model = await self._client._run(_retrieved({"model": model, **options}))
        return made
