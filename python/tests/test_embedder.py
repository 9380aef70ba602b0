"""Embedders: by name, as functions, in batches, as arrays."""

import asyncio
import json
import pickle
import threading

import numpy
import pytest

import fanweave as fw


def embeddings(body: bytes) -> bytes:
    texts = json.loads(body)["input"]
    texts = [texts] if isinstance(texts, str) else texts
    data = [{"index": i, "embedding": [float(len(text)), 1.0]} for i, text in enumerate(texts)]
    # In another order than that of the request.
    return json.dumps({"data": data[::-1], "usage": {"prompt_tokens": 1, "total_tokens": 1}}).encode()


@pytest.fixture
def server(recorder):
    recorder.answer = embeddings
    return recorder


def at(server, **settings) -> fw.Embedder:
    return fw.embedder("openai/text-embedding-3-small", base_url=server.url, api_key="k", **settings)


def test_one_and_many_texts(server):
    embedder = at(server)
    assert embedder.name == "openai/text-embedding-3-small"
    assert embedder.embed(["a", "bb", "ccc"]) == [[1.0, 1.0], [2.0, 1.0], [3.0, 1.0]]
    assert embedder.embed_one("dddd") == [4.0, 1.0]
    assert embedder.embed(text for text in ("a", "bb")) == [[1.0, 1.0], [2.0, 1.0]]
    assert len(server.seen) == 3
    assert embedder.embed([]) == []
    assert len(server.seen) == 3, "no text needs no request"


async def test_many_texts_are_several_requests(server):
    texts = [f"{'x' * i}" for i in range(1, 26)]
    vectors = await at(server, max_inputs=10).aembed(texts)
    assert [vector[0] for vector in vectors] == [float(i) for i in range(1, 26)]
    assert sorted(len(json.loads(body)["input"]) for _, _, _, body in server.seen) == [5, 10, 10]
    assert await at(server).aembed_one("abc") == [3.0, 1.0]


async def test_vectors_as_an_array(server):
    array = at(server).embed_array(["a", "bb"])
    assert (array.dtype, array.shape) == (numpy.float32, (2, 2))
    array[0, 0] = 7
    assert array.tolist() == [[7.0, 1.0], [2.0, 1.0]]
    assert (await at(server).aembed_array([])).shape == (0, 0)


def test_dimensions_and_parameters(server):
    at(server, dimensions=2).embed_one("a")
    assert json.loads(server.seen[0][3])["dimensions"] == 2
    for settings, words in [({"temperature": 1}, "no parameters"), ({"dimensions": 0}, "at least 1")]:
        with pytest.raises(fw.ConfigError, match=words):
            at(server, **settings)
    with pytest.raises(fw.InputError, match="use embed_one"):
        at(server).embed("one text")
    with pytest.raises(fw.ConfigError, match="has no embeddings"):
        fw.embedder("anthropic/claude", api_key="k")


def test_the_embedder_without_a_key():
    words = fw.embedder("sim/words")
    bears, cats = words.embed(["bears sleep", "cats sleep"])
    assert len(bears) == len(cats)
    assert bears != cats
    with pytest.raises(fw.ConfigError, match="no settings"):
        fw.embedder("sim/words", dimensions=3)


async def test_a_function_is_an_embedder():
    threads = []

    def lengths(texts):
        threads.append(threading.current_thread())
        return numpy.array([[len(text), 0.5] for text in texts])

    async def awaited(texts):
        await asyncio.sleep(0)
        return [[float(len(text))] for text in texts]

    assert await fw.embedder(lengths).aembed(["a", "bb"]) == [[1.0, 0.5], [2.0, 0.5]]
    assert threads[0] is not threading.current_thread()
    assert await fw.embedder(awaited).aembed(["a", "bb"]) == [[1.0], [2.0]]
    assert fw.embedder(awaited).embed_one("ccc") == [3.0]
    assert fw.embedder(lengths).name == "lengths"


def test_a_function_that_fails_or_returns_something_else():
    failure = ValueError("no model")

    def fails(texts):
        raise failure

    with pytest.raises(ValueError, match="no model") as caught:
        fw.embedder(fails).embed(["a"])
    assert caught.value is failure
    for result, words in [([[1.0]], "1 vectors for 2 texts"), ([["x"], ["y"]], "lists of numbers")]:
        with pytest.raises(fw.DecodeError, match=words):
            fw.embedder(lambda _, result=result: result).embed(["a", "b"])


def test_faults_are_retried_and_errors_have_their_class(server):
    calls = iter(range(100))
    server.answer = lambda body: b"" if next(calls) < 2 else embeddings(body)
    assert at(server).embed_one("a") == [1.0, 1.0]
    assert len(server.seen) == 3


def test_an_embedder_pickles(server):
    assert pickle.loads(pickle.dumps(at(server))).embed_one("ab") == [2.0, 1.0]


async def test_cancelling_closes_the_socket(slow):
    embedder = fw.embedder("openai/m", base_url=slow.url, api_key="k")
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(embedder.aembed(["a"]), 0.2)
