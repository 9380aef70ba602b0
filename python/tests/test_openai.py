"""`fanweave.openai`: clients with the interface of the official package."""

import asyncio
import copy
import json
import pickle
from concurrent.futures import ProcessPoolExecutor

import pytest
from bodies import BODIES
from conftest import eventually

import fanweave as fw
from fanweave import openai
from fanweave.openai import AsyncOpenAI, OpenAI
from fanweave.testing import Sim, sim

HELLO = [{"role": "user", "content": "Hello, are you well?"}]


def client(provider: Sim, **settings) -> OpenAI:
    return OpenAI(base_url=provider.url, api_key="simulated", **settings)


def aclient(provider: Sim, **settings) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=provider.url, api_key="simulated", **settings)


@pytest.fixture
def echo():
    """A server that answers each request with its path, headers and body."""
    import http.server
    import threading

    class Handler(http.server.BaseHTTPRequestHandler):
        answers: list = []

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            self.server.seen.append((self.path, dict(self.headers), json.loads(body)))
            status, answer = self.server.answer
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.send_header("x-request-id", "req_1")
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen = []
    server.answer = 200, b'{"id": "1", "choices": []}'
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_answer_has_the_official_attributes(provider):
    answer = client(provider).chat.completions.create(model="gpt-5-mini", messages=HELLO)
    assert answer.choices[0].message.content == "Hello! I am doing well, thank you. How can I help you today?"
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id.startswith("req_")
    assert answer.object == "chat.completion"


async def test_awaited_calls_run_at_once(slow_start):
    calls = [
        aclient(slow_start).chat.completions.create(
            model="gpt-5-mini", messages=[{"role": "user", "content": f"{i}"}]
        )
        for i in range(20)
    ]
    answers = await asyncio.gather(*calls)
    assert len({answer.id for answer in answers}) == 20
    assert 10 < slow_start.most_at_once <= 20


@pytest.fixture
def slow_start():
    with sim(latency=0.2) as started:
        yield started


def test_a_stream_yields_the_chunks_of_the_answer(provider):
    whole = client(provider).chat.completions.create(model="gpt-5-mini", messages=HELLO)
    with client(provider).chat.completions.create(model="gpt-5-mini", messages=HELLO, stream=True) as stream:
        texts = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(texts) == whole.choices[0].message.content
    assert len(texts) > 5


async def test_leaving_a_stream_closes_its_connection():
    with sim(chunk_delay=1) as provider:
        stream = await aclient(provider).chat.completions.create(
            model="gpt-5-mini", messages=HELLO, stream=True
        )
        async with stream:
            async for chunk in stream:
                assert chunk.object == "chat.completion.chunk"
                break
        assert eventually(lambda: provider.stats["in_flight"] == 0)
        assert provider.stats["client_disconnects"] == 1


async def test_a_stream_that_is_cut_raises_an_error():
    with sim(truncate_rate=1.0) as provider:
        client = aclient(provider, max_retries=0)
        with pytest.raises(openai.APIConnectionError):
            stream = await client.chat.completions.create(model="gpt-5-mini", messages=HELLO, stream=True)
            async for _ in stream:
                pass


def test_a_stream_without_its_end_raises_an_error(echo):
    chunk = {"choices": [{"index": 0, "delta": {"content": "On"}, "finish_reason": None}]}
    echo.answer = 200, f"data: {json.dumps(chunk)}\n\n".encode()
    stream = OpenAI(base_url=echo.url, api_key="k").chat.completions.create(
        model="m", messages=HELLO, stream=True
    )
    assert next(stream).choices[0].delta.content == "On"
    with pytest.raises(openai.APIConnectionError, match="before the answer was complete"):
        next(stream)


def test_an_error_within_a_stream_is_raised(echo):
    echo.answer = (
        200,
        b'data: {"error": {"message": "no capacity", "code": "busy", "type": "server_error"}}\n\n',
    )
    stream = OpenAI(base_url=echo.url, api_key="k").chat.completions.create(
        model="m", messages=HELLO, stream=True
    )
    with pytest.raises(openai.APIError, match="no capacity") as caught:
        next(stream)
    assert caught.value.code == "busy"


def test_events_may_be_cut_anywhere():
    from fanweave.openai._streaming import Events

    text = b'data: {"a": 1}\r\n\r\ndata: x\r\ndata: y\r\n\r\n: ping\n\ndata: {"b":\rdata: 2}\n\nevent: x\ndata: [DONE]\n\n'
    expected = [b'{"a": 1}', b"x\ny", b'{"b":\n2}', b"[DONE]"]
    for size in range(1, len(text) + 1):
        events = Events()
        found = []
        for start in range(0, len(text), size):
            found += events.feed(text[start : start + size])
        assert found + events.end() == expected, size


def test_requests_are_sent_as_they_are(echo):
    asked = OpenAI(
        base_url=echo.url, api_key="k", organization="org", default_headers={"x-a": "1", "x-b": "1"}
    )
    asked.with_options(default_query={"v": "2"}).chat.completions.create(
        model="m",
        messages=iter(HELLO),
        n=3,
        stop=None,
        unheard_of={"x": [1]},
        temperature=openai.NOT_GIVEN,
        extra_headers={"x-b": "2"},
        extra_query={"q": "é"},
        extra_body={"top_k": 5},
    )
    path, headers, body = echo.seen[0]
    assert body == {
        "model": "m",
        "messages": HELLO,
        "n": 3,
        "stop": None,
        "unheard_of": {"x": [1]},
        "top_k": 5,
    }
    assert path == "/v1/chat/completions?v=2&q=%C3%A9"
    lower = {name.lower(): value for name, value in headers.items()}
    assert (lower["authorization"], lower["openai-organization"]) == ("Bearer k", "org")
    assert (lower["x-a"], lower["x-b"]) == ("1", "2")


def test_an_answer_may_be_sent_back_as_a_message(provider):
    first = client(provider).chat.completions.create(model="gpt-5-mini", messages=HELLO)
    history = [*HELLO, first.choices[0].message, {"role": "user", "content": "And you?"}]
    assert client(provider).chat.completions.create(model="gpt-5-mini", messages=history).choices


def test_fields_that_are_not_documented_are_there(echo):
    echo.answer = 200, b'{"id": "1", "choices": [], "x_engine": {"ms": 5}}'
    answer = OpenAI(base_url=echo.url, api_key="k").chat.completions.create(model="m", messages=HELLO)
    assert answer.x_engine == {"ms": 5}
    assert answer.model_extra == {"x_engine": {"ms": 5}}
    assert answer.usage is None
    with pytest.raises(AttributeError, match="nonsense"):
        answer.nonsense  # noqa: B018


def test_an_answer_that_is_not_json_is_an_error(echo):
    echo.answer = 200, b"<html>"
    with pytest.raises(openai.APIResponseValidationError, match="<html>"):
        OpenAI(base_url=echo.url, api_key="k").chat.completions.create(model="m", messages=HELLO)


def test_errors_have_the_official_class_and_text(provider):
    with pytest.raises(openai.BadRequestError) as caught:
        client(provider).chat.completions.create(model="gpt-5-mini", messages=[])
    error = caught.value
    assert str(error).startswith("Error code: 400 - ")
    assert (error.status_code, error.param) == (400, "messages")
    assert error.response.headers["X-Request-Id"] == error.request_id
    assert isinstance(error, openai.APIStatusError)


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "BadRequestError"),
        (401, "AuthenticationError"),
        (403, "PermissionDeniedError"),
        (404, "NotFoundError"),
        (409, "ConflictError"),
        (422, "UnprocessableEntityError"),
        (418, "APIStatusError"),
    ],
)
def test_each_status_has_its_exception(echo, status, name):
    echo.answer = status, b'{"error": {"message": "No.", "code": 7, "type": "t"}}'
    with pytest.raises(openai.APIStatusError) as caught:
        OpenAI(base_url=echo.url, api_key="k", max_retries=0, timeout=5).with_options(
            max_retries=0
        ).completions.create(model=f"m{status}", prompt="x", timeout=2)
    assert type(caught.value).__name__ == name
    assert str(caught.value) == f"Error code: {status} - No."
    assert (caught.value.code, caught.value.type) == ("7", "t")


def test_a_quota_that_is_spent_is_a_rate_limit_error(echo):
    echo.answer = 429, b'{"error": {"message": "No credit.", "code": "insufficient_quota"}}'
    with pytest.raises(openai.RateLimitError, match="No credit") as caught:
        OpenAI(base_url=echo.url, api_key="k").completions.create(model="m", prompt="x")
    assert caught.value.code == "insufficient_quota"
    assert len(echo.seen) == 1


def test_an_error_that_stays_is_raised_after_retries():
    with sim(error_rate=1.0) as provider:
        with pytest.raises(openai.InternalServerError):
            client(provider, max_retries=2).chat.completions.create(model="gpt-5-mini", messages=HELLO)
        assert provider.requests >= 3


def test_settings_of_a_client_are_those_of_its_requests(provider, monkeypatch):
    made = []
    real = openai._base.raw_model
    monkeypatch.setattr(
        openai._base, "raw_model", lambda name, **settings: made.append(settings) or real(name, **settings)
    )
    asked = client(provider, max_retries=7, timeout=11)
    asked.chat.completions.create(model="gpt-5-mini", messages=HELLO)
    asked.chat.completions.create(model="gpt-5-mini", messages=HELLO, timeout=12)
    asked.with_options(max_retries=0).chat.completions.create(model="gpt-5-mini", messages=HELLO)
    assert [(each["retries"], each["timeout"]) for each in made] == [(7, 11), (7, 12), (0, 11)]
    client(provider).chat.completions.create(model="gpt-5-mini", messages=HELLO)
    assert (made[-1]["retries"], made[-1]["timeout"]) == (5, 600)


def test_a_time_out_is_the_official_exception():
    with sim(latency=5) as provider:
        quick = client(provider).with_options(timeout=0.05, max_retries=0)
        with pytest.raises(openai.APITimeoutError):
            quick.chat.completions.create(model="gpt-5-mini", messages=HELLO)
        assert eventually(lambda: provider.stats["in_flight"] == 0)


def test_a_server_that_is_not_there_is_a_connection_error():
    with pytest.raises(openai.APIConnectionError) as caught:
        OpenAI(base_url="http://127.0.0.1:9/v1", api_key="k", max_retries=0).models.list()
    assert isinstance(caught.value.__cause__, fw.Error)


def test_a_key_is_required_and_never_shown(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(openai.OpenAIError, match="OPENAI_API_KEY"):
        OpenAI()
    assert "secret" not in repr(OpenAI(api_key="secret", base_url="http://x/v1"))


async def test_cancelling_the_task_closes_the_connection(slow):
    call = aclient(slow).chat.completions.create(model="gpt-5-mini", messages=HELLO)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(call, 0.2)


async def test_keys_may_be_functions(echo):
    async def key():
        return "fresh"

    await AsyncOpenAI(base_url=echo.url, api_key=key).chat.completions.create(model="m", messages=HELLO)
    OpenAI(base_url=echo.url, api_key=lambda: "plain").chat.completions.create(model="m", messages=HELLO)
    assert [seen[1]["authorization"] for seen in echo.seen] == ["Bearer fresh", "Bearer plain"]


def test_embeddings_completions_and_models(provider):
    asked = client(provider)
    vectors = asked.embeddings.create(model="text-embedding-3-small", input=["bears", "cats"])
    assert [each.index for each in vectors.data] == [0, 1]
    assert len(vectors.data[0].embedding) > 100
    completion = asked.completions.create(model="gpt-3.5-turbo-instruct", prompt=["a", "b"], n=2)
    assert [choice.index for choice in completion.choices] == [0, 1, 2, 3]
    names = [model.id for model in asked.models.list()]
    assert "writer" in names
    assert asked.models.retrieve("writer").owned_by == "fanweave-sim"


def test_raw_responses_have_status_and_headers(provider):
    raw = client(provider).chat.completions.with_raw_response.create(model="gpt-5-mini", messages=HELLO)
    assert raw.status_code == 200
    assert raw.headers["X-Request-ID"] == raw.request_id
    assert raw.parse().choices[0].message.content.startswith("Hello!")
    assert json.loads(raw.text) == raw.json()
    same = client(provider).with_raw_response.chat.completions.create(model="gpt-5-mini", messages=HELLO)
    assert same.retries_taken == 0


def test_parse_reads_a_type(provider):
    pydantic = pytest.importorskip("pydantic")

    class Book(pydantic.BaseModel):
        title: str
        tags: list[str] = []

    answer = client(provider).chat.completions.parse(
        model="gpt-5-mini", messages=[{"role": "user", "content": "A book, please."}], response_format=Book
    )
    assert isinstance(answer.choices[0].message.parsed, Book)
    assert answer.choices[0].message.content.startswith("{")


def test_beta_chat_is_chat(provider):
    made = client(provider)
    assert made.beta.chat is made.chat
    assert made.beta.chat.completions.parse(model="m", messages=HELLO).choices[0].message.content


def test_parse_reads_the_arguments_of_tools(provider):
    pydantic = pytest.importorskip("pydantic")

    class Weather(pydantic.BaseModel):
        """The weather in a city."""

        city: str

    answer = client(provider).chat.completions.parse(
        model="gpt-5-mini",
        messages=[{"role": "user", "content": "What is the weather in Bergen?"}],
        tools=[openai.pydantic_function_tool(Weather)],
    )
    call = answer.choices[0].message.tool_calls[0]
    assert call.function.parsed_arguments == Weather(city="Bergen")


def test_parse_refuses_an_answer_that_is_cut(provider):
    pydantic = pytest.importorskip("pydantic")

    class Book(pydantic.BaseModel):
        title: str

    with pytest.raises(openai.LengthFinishReasonError) as caught:
        client(provider).chat.completions.parse(
            model="gpt-5-mini", messages=HELLO, response_format=Book, max_tokens=1
        )
    assert caught.value.completion.choices[0].finish_reason == "length"


def test_the_module_is_a_client(provider, monkeypatch):
    monkeypatch.setattr(openai, "api_key", "k")
    monkeypatch.setattr(openai, "base_url", provider.url)
    assert openai.chat.completions.create(model="gpt-5-mini", messages=HELLO).choices
    with pytest.raises(AttributeError, match="version 1"):
        openai.ChatCompletion  # noqa: B018


def test_what_is_not_there_says_what_to_use(provider):
    asked = client(provider)
    for missing in (
        lambda: asked.files,
        lambda: asked.beta.assistants,
        lambda: asked.chat.completions.stream,
    ):
        with pytest.raises(AttributeError, match=r"fanweave\.integrations\.httpx"):
            missing()
    with pytest.raises(TypeError, match=r"fanweave\.integrations\.httpx"):
        client(provider, http_client=object())
    with pytest.raises(ImportError, match=r"fanweave\.configure"):
        from fanweave.openai import DefaultHttpxClient  # noqa: F401


def test_azure_sends_deployment_version_and_key(echo):
    azure = openai.AzureOpenAI(
        azure_endpoint=echo.url.removesuffix("/v1"), api_version="2024-10-21", api_key="azure-key"
    )
    azure.with_options(timeout=5).chat.completions.create(model="my-gpt", messages=HELLO)
    path, headers, _ = echo.seen[0]
    assert path == "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"
    assert {name.lower(): value for name, value in headers.items()}["api-key"] == "azure-key"
    token = openai.AzureOpenAI(
        azure_endpoint=echo.url.removesuffix("/v1"), api_version="2024-10-21", azure_ad_token="t"
    )
    token.with_options(timeout=5).chat.completions.create(model="my-gpt", messages=HELLO)
    assert echo.seen[1][1]["authorization"] == "Bearer t"


def ask(url: str) -> str:
    answer = OpenAI(base_url=url, api_key="simulated").chat.completions.create(
        model="gpt-5-mini", messages=HELLO
    )
    return answer.choices[0].message.content


def fail(url: str) -> None:
    OpenAI(base_url=url, api_key="simulated").chat.completions.create(model="gpt-5-mini", messages=[])


def test_answers_and_exceptions_can_be_pickled(provider):
    answer = client(provider).chat.completions.create(model="gpt-5-mini", messages=HELLO)
    copied = pickle.loads(pickle.dumps(answer))
    assert copied == answer
    assert copied._request_id == answer._request_id
    import multiprocessing

    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(ask, provider.url).result(timeout=30).startswith("Hello!")
        error = pool.submit(fail, provider.url).exception(timeout=30)
    assert isinstance(error, openai.BadRequestError)
    assert error.response.status_code == 400


def test_a_client_works_in_all_loops(provider):
    one = aclient(provider)
    for _ in range(2):
        answer = asyncio.run(one.chat.completions.create(model="gpt-5-mini", messages=HELLO))
        assert answer.choices


def test_two_clients_share_the_limits_of_their_account(provider):
    client(provider).chat.completions.create(model="shared-model", messages=HELLO)
    aclient(provider)
    fw.model("openai/shared-model", base_url=provider.url, api_key="simulated").invoke("hello")
    accounts = [
        each
        for each in fw.limits()
        if each.model == "shared-model" and provider.url.startswith(each.base_url[:20])
    ]
    assert [each.requests for each in accounts if each.base_url == provider.url] == [2]


def test_the_module_loads_without_pydantic_and_asyncio(run_script):
    run_script(
        "import sys\n"
        "import fanweave.openai\n"
        "loaded = [name for name in ('pydantic', 'openai', 'httpx', 'langchain_core') if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )


@pytest.mark.parametrize("name", BODIES)
def test_an_answer_has_what_the_official_package_has(name):
    types = pytest.importorskip("openai.types", reason="the official package is not installed")
    chat = pytest.importorskip("openai.types.chat")
    from openai._models import construct_type

    from fanweave.openai import types as own
    from fanweave.openai.types import chat as own_chat

    body = BODIES[name]
    kinds = {
        "chat.completion": (chat.ChatCompletion, own_chat.ChatCompletion),
        "chat.completion.chunk": (chat.ChatCompletionChunk, own_chat.ChatCompletionChunk),
        "text_completion": (types.Completion, own.Completion),
        "list": (types.CreateEmbeddingResponse, own.CreateEmbeddingResponse),
        "model": (types.Model, own.Model),
    }
    theirs, ours = kinds[body["object"]]
    expected = construct_type(type_=theirs, value=copy.deepcopy(body))
    made = ours._read(json.dumps(body).encode())
    assert attributes(made) == attributes(expected)
    assert made.model_dump() == expected.model_dump()
    assert made.to_dict() == expected.to_dict()
    assert json.loads(made.model_dump_json()) == json.loads(expected.model_dump_json())
    assert repr(made) == repr(expected)
    assert set(made.model_extra) == set(expected.model_extra or {})


def attributes(value, place=""):
    """The paths of all attributes, with their values."""
    if hasattr(value, "model_dump"):
        names = (
            [*type(value)._known(), *value.model_extra]
            if hasattr(value, "_known")
            else [*type(value).model_fields, *(value.model_extra or {})]
        )
        found = {}
        for name in names:
            got = getattr(value, name, "missing")
            if got != "missing":
                found.update(attributes(got, f"{place}.{name}"))
        return found
    if isinstance(value, list):
        found = {f"{place}.length": len(value)}
        for i, each in enumerate(value):
            found.update(attributes(each, f"{place}[{i}]"))
        return found
    return {place: value}


@pytest.mark.parametrize("status", [400, 418, 422])
@pytest.mark.parametrize(
    "answer",
    [
        b'{"error": {"message": "No.", "type": "t", "param": "p", "code": 7}}',
        b'{"error": {"message": "", "type": null}}',
        b'{"error": "no"}',
        b'{"detail": "no"}',
        b'{"message": "plain"}',
        b"<html>no</html>",
        b"",
    ],
)
def test_an_exception_is_that_of_the_official_package(echo, status, answer):
    official = pytest.importorskip("openai", reason="the official package is not installed")
    echo.answer = status, answer
    raised = []
    for package in (official, openai):
        asked = package.OpenAI(base_url=echo.url, api_key="k", max_retries=0)
        with pytest.raises(package.APIStatusError) as caught:
            asked.chat.completions.create(model=f"m{status}", messages=HELLO)
        raised.append(caught.value)
        asked.close()
    theirs, ours = raised
    assert [each.__name__ for each in type(ours).__mro__] == [each.__name__ for each in type(theirs).__mro__]
    names = ("message", "body", "code", "param", "type", "status_code", "request_id", "args")
    assert {name: getattr(ours, name) for name in names} == {name: getattr(theirs, name) for name in names}
    assert str(ours) == str(theirs)
    assert ours.response.status_code == theirs.response.status_code
    assert ours.response.text == theirs.response.text
