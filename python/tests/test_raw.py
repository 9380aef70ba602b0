"""Raw requests: bodies as they are, answers as bytes, through the limits and retries of the account."""

import asyncio
import json
import pickle

import pytest

import fanweave as fw
from fanweave.testing import sim

BODY = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "bears"}]}
PATH = "/chat/completions"


@pytest.fixture
def raw():
    def make(provider, **settings):
        return fw.raw_model("openai/gpt-5-mini", base_url=provider.url, api_key="simulated", **settings)

    return make


@pytest.fixture
def server(recorder):
    """A raw model at a server that answers with what it got, and the requests that it got."""
    return fw.raw_model("openai/any", base_url=recorder.url, api_key="sk-secret"), recorder.seen


def test_an_answer_is_the_bytes_of_the_provider(provider, raw):
    answer = raw(provider).send(PATH, BODY)
    assert answer.status == 200
    assert answer.attempts == 1
    assert json.loads(answer.body) == answer.json()
    assert "bears" in answer.json()["choices"][0]["message"]["content"]
    assert ("content-type", "application/json") in answer.headers
    assert answer.header("Content-Type") == "application/json"
    assert answer.header("x-none") is None


async def test_a_request_can_be_awaited(provider, raw):
    answers = await asyncio.gather(*(raw(provider).asend(PATH, BODY) for _ in range(20)))
    assert [answer.status for answer in answers] == [200] * 20
    assert provider.requests == 20


def test_bodies_are_sent_as_they_are(server):
    model, seen = server
    bodies = [b'{ "a":1 }', '{"b": "\u00e9"}', {"c": [1, None, 2.5, "x"]}, ["d"]]
    for body in bodies:
        model.send("/any/path", body)
    sent = [body for _, _, _, body in seen]
    assert sent == [b'{ "a":1 }', '{"b": "\u00e9"}'.encode(), b'{"c":[1,null,2.5,"x"]}', b'["d"]']
    assert {(method, path) for method, path, _, _ in seen} == {("POST", "/v1/any/path")}


def test_methods_and_headers(server):
    model, seen = server
    model.send("/models")
    model.send("/files", b"x", method="PUT", headers={"content-type": "text/plain", "X-Two": "2"})
    model.send("/more", b"x", headers=[("x-one", "1")])
    (get, _, _, _), (put, path, headers, _), (_, _, listed, _) = seen
    assert (get, put, path) == ("GET", "PUT", "/v1/files")
    assert headers["content-type"] == "text/plain"
    assert headers["x-two"] == "2"
    assert headers["authorization"] == "Bearer sk-secret"
    assert listed["x-one"] == "1"


async def test_a_stream_yields_the_bytes_as_they_arrive(provider, raw):
    stream = raw(provider).astream(PATH, {**BODY, "stream": True})
    response = await stream.response()
    assert (response.status, response.body) == (200, b"")
    assert response.header("content-type").startswith("text/event-stream")
    pieces = [piece async for piece in stream]
    assert len(pieces) > 1
    assert b"".join(pieces).endswith(b"data: [DONE]\n\n")


def test_a_stream_can_be_read_without_a_loop(provider, raw):
    with raw(provider).stream(PATH, {**BODY, "stream": True}) as stream:
        first = next(stream)
        assert stream.response().status == 200
        assert first.startswith(b"data: ")
        assert stream.output().endswith(b"data: [DONE]\n\n")


async def test_a_stream_that_is_closed_closes_its_socket():
    with sim(chunks=500, chunk_delay=0.02) as provider:
        model = fw.raw_model("openai/gpt-5-mini", base_url=provider.url, api_key="simulated")
        async with model.astream(PATH, {**BODY, "stream": True}) as stream:
            async for _ in stream:
                break
        for _ in range(500):
            if provider.stats["in_flight"] == 0:
                break
            await asyncio.sleep(0.01)
        assert provider.stats["in_flight"] == 0


async def test_cancelling_a_request_closes_its_socket(slow, raw):
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(raw(slow).asend(PATH, BODY), 0.2)
    assert slow.requests == 1


def test_temporary_failures_are_retried():
    with sim(error_rate=0.3, seed=3) as provider:
        model = fw.raw_model("openai/gpt-5-mini", base_url=provider.url, api_key="x", retries=20)
        assert {model.send(PATH, BODY).status for _ in range(20)} == {200}
        assert provider.requests > 20


def test_an_error_is_raised_or_returned(provider, raw):
    model = raw(provider)
    with pytest.raises(fw.Error) as caught:
        model.send("/nowhere", BODY)
    assert caught.value.status == 404
    answer = model.send("/nowhere", BODY, return_errors=True)
    assert answer.status == 404
    assert "error" in answer.json()


def test_a_body_that_is_not_json_is_an_error(server):
    model, _ = server
    answer = model.send("/any", b"<html>")
    with pytest.raises(fw.DecodeError, match="not JSON: <html>"):
        answer.json()


def test_invalid_requests_are_errors_before_any_call(provider, raw):
    model = raw(provider)
    for arguments, options, words in [
        ((PATH, object()), {}, "has no JSON form"),
        ((PATH, BODY), {"method": "NO METHOD"}, "method is invalid"),
        ((PATH, BODY), {"headers": {"a b": "c"}}, "header `a b` is invalid"),
        ((PATH, BODY), {"headers": {"a": "secret\n"}}, "header `a` is invalid"),
        (("no/slash", BODY), {}, "no/slash"),
        ((PATH, BODY), {"temperature": 1}, "not an option"),
    ]:
        with pytest.raises(fw.Error, match=words) as caught:
            model.send(*arguments, **options)
        assert "secret" not in str(caught.value)
    assert provider.requests == 0
    with pytest.raises(fw.ConfigError, match="no parameters"):
        raw(provider, temperature=0.5)


def test_a_raw_model_pickles(provider, raw):
    assert pickle.loads(pickle.dumps(raw(provider))).send(PATH, BODY).status == 200


def test_the_limits_of_the_account_apply():
    with sim() as provider:
        model = fw.raw_model("openai/raw-limited", base_url=provider.url, api_key="x", concurrency=2)

        async def many():
            await asyncio.gather(*(model.asend(PATH, BODY) for _ in range(20)))

        asyncio.run(many())
        assert provider.most_at_once <= 2
