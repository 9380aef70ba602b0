"""Transports for httpx and httpx2, and the official SDKs over them."""

import asyncio
import importlib

import pytest
from conftest import eventually

import fanweave as fw
from fanweave.integrations.httpx import AsyncTransport, Transport
from fanweave.testing import sim

HELLO = [{"role": "user", "content": "Hello, are you well?"}]
ANSWER = "Hello! I am doing well, thank you. How can I help you today?"

PACKAGES = [name for name in ("httpx", "httpx2") if importlib.util.find_spec(name)]
pytestmark = pytest.mark.skipif(not PACKAGES, reason="neither httpx nor httpx2 is installed")


@pytest.fixture(params=PACKAGES)
def package(request):
    return importlib.import_module(request.param)


def headers(key="simulated"):
    return {"authorization": f"Bearer {key}"}


def test_requests_go_through_the_limits_of_their_account(package, provider):
    with package.Client(transport=Transport(), headers=headers()) as client:
        body = {"model": "counted", "messages": HELLO}
        answer = client.post(f"{provider.url}/chat/completions", json=body)
    assert answer.json()["choices"][0]["message"]["content"] == ANSWER
    [account] = [each for each in fw.limits() if each.base_url == provider.url and each.model == "counted"]
    assert account.requests == 1


async def test_streams_arrive_in_pieces(package, provider):
    body = {"model": "gpt-5-mini", "messages": HELLO, "stream": True}
    async with package.AsyncClient(transport=AsyncTransport(), headers=headers()) as client:
        async with client.stream("POST", f"{provider.url}/chat/completions", json=body) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = [line async for line in answer.aiter_lines() if line]
    assert len(lines) > 5
    assert lines[-1] == "data: [DONE]"


async def test_leaving_a_stream_closes_its_connection(package):
    body = {"model": "gpt-5-mini", "messages": HELLO, "stream": True}
    with sim(chunk_delay=1) as provider:
        async with package.AsyncClient(transport=AsyncTransport(), headers=headers()) as client:
            async with client.stream("POST", f"{provider.url}/chat/completions", json=body) as answer:
                async for _ in answer.aiter_bytes():
                    break
            assert eventually(lambda: provider.stats["in_flight"] == 0)
        with package.Client(transport=Transport(), headers=headers()) as client:
            with client.stream("POST", f"{provider.url}/chat/completions", json=body) as answer:
                next(answer.iter_bytes())
            assert eventually(lambda: provider.stats["in_flight"] == 0)


def test_other_requests_pass_as_they_are(package, provider):
    with package.Client(transport=Transport(), headers=headers()) as client:
        assert client.get(f"{provider.url}/models").json()["data"]
        origin = provider.url.removesuffix("/v1")
        assert client.get(f"{origin}/stats").json()["requests"] >= 1
        # A request to a model without a key: that of the environment is not added.
        answer = client.post(
            f"{provider.url}/chat/completions",
            json={"model": "m", "messages": HELLO},
            headers={"authorization": ""},
        )
        assert answer.status_code == 200
    assert not [each for each in fw.limits() if each.base_url == provider.url]


async def test_cancelling_closes_the_connection(package, slow):
    body = {"model": "gpt-5-mini", "messages": HELLO}
    async with package.AsyncClient(transport=AsyncTransport(), headers=headers(), timeout=None) as client:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.post(f"{slow.url}/chat/completions", json=body), 0.2)


def test_errors_are_returned_and_not_to_be_retried(package, provider):
    with package.Client(transport=Transport(), headers=headers()) as client:
        answer = client.post(f"{provider.url}/chat/completions", json={"model": "m", "messages": []})
    assert answer.status_code == 400
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"]["param"] == "messages"


def test_failures_are_exceptions_of_the_package():
    package = importlib.import_module(PACKAGES[-1])
    with package.Client(transport=Transport(max_retries=0), headers=headers()) as client:
        with pytest.raises(package.ConnectError):
            client.post("http://127.0.0.1:9/v1/chat/completions", json={"model": "m", "messages": HELLO})


def test_temporary_errors_are_retried_by_the_engine(package):
    with sim(error_rate=0.3, seed=54) as provider:
        with package.Client(transport=Transport(max_retries=5), headers=headers()) as client:
            for _ in range(10):
                body = {"model": "gpt-5-mini", "messages": HELLO}
                assert client.post(f"{provider.url}/chat/completions", json=body).status_code == 200
        assert provider.stats["errors"] > 0


# -- SDKs ------------------------------------------------------------------------------------------------------


def openai_http(client):
    """The package that openai-python uses."""
    openai = pytest.importorskip("openai", reason="openai is not installed")
    for package in PACKAGES[::-1]:
        if issubclass(openai.DefaultHttpxClient, importlib.import_module(package).Client):
            return openai, importlib.import_module(package)
    raise AssertionError("openai uses neither httpx nor httpx2")


def test_openai_works_over_the_transport(provider):
    openai, http = openai_http(provider)
    client = openai.OpenAI(
        base_url=provider.url,
        api_key="simulated",
        http_client=http.Client(transport=Transport()),
        max_retries=0,
    )
    answer = client.chat.completions.create(model="gpt-5-mini", messages=HELLO)
    assert answer.choices[0].message.content == ANSWER
    stream = client.chat.completions.create(model="gpt-5-mini", messages=HELLO, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == ANSWER
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="gpt-5-mini", messages=[])
    assert client.responses.create(model="gpt-5-mini", input="Hello, are you well?").output_text == ANSWER
    client.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_anthropic_works_over_the_transport(provider):
    anthropic = pytest.importorskip("anthropic", reason="anthropic is not installed")
    name = (
        "httpx2"
        if issubclass(anthropic.DefaultHttpxClient, importlib.import_module(PACKAGES[-1]).Client)
        else "httpx"
    )
    http = importlib.import_module(name)
    client = anthropic.AsyncAnthropic(
        base_url=provider.url.removesuffix("/v1"),
        api_key="simulated",
        http_client=http.AsyncClient(transport=AsyncTransport()),
        max_retries=0,
    )
    answer = await client.messages.create(model="claude-sonnet-4-5", max_tokens=50, messages=HELLO)
    assert answer.content[0].text
    async with client.messages.stream(model="claude-sonnet-4-5", max_tokens=50, messages=HELLO) as stream:
        assert "".join([text async for text in stream.text_stream]) == answer.content[0].text
    await client.close()


async def test_the_transport_waits_for_the_limits():
    """140 calls under 6,000 a minute: all are answered, with no 429, in about the time that the limit allows."""
    import time

    openai, http = openai_http(None)
    with sim(rpm=6000) as provider:
        client = openai.AsyncOpenAI(
            base_url=provider.url,
            api_key="simulated",
            http_client=http.AsyncClient(transport=AsyncTransport(rpm=6000), timeout=60),
            max_retries=0,
        )
        began = time.monotonic()
        calls = [client.chat.completions.create(model="gpt-5-mini", messages=HELLO) for _ in range(140)]
        answers = await asyncio.gather(*calls)
        took = time.monotonic() - began
        assert len(answers) == 140
        assert took < 5
        await client.close()
