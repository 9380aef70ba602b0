"""Errors of the engine as exceptions, and exceptions of steps as themselves."""

import builtins
import copy
import pickle
import sys
import traceback
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

import fanweave as fw
from fanweave import _errors
from fanweave.testing import sim


async def test_a_rejected_key_is_an_authentication_error():
    with sim(api_key="right") as provider:
        model = fw.model("openai/gpt-5-mini", base_url=provider.url, api_key="wrong-secret")
        with pytest.raises(fw.AuthenticationError) as raised:
            await model.ainvoke("hi")
    error = raised.value
    assert (error.kind, error.status, error.provider) == ("authentication", 401, "openai")
    assert not error.is_retryable
    assert "wrong-secret" not in f"{error} {error.__dict__} {error!r}"


def test_builtin_classes_catch_the_errors_of_their_kind():
    assert issubclass(fw.TimeoutError, builtins.TimeoutError)
    assert issubclass(fw.ConnectionError, builtins.ConnectionError)
    for cls in (fw.ConfigError, fw.InputError, fw.ParseError):
        assert issubclass(cls, ValueError)
    assert issubclass(fw.TimeoutError, fw.Error)


async def test_a_timeout_of_the_run_is_a_timeout_error(slow, at):
    with pytest.raises(builtins.TimeoutError, match="timed out after"):
        await at(slow).ainvoke("hi", timeout=0.05)
    with pytest.raises(fw.TimeoutError):
        at(slow).with_timeout(0.05).invoke("hi")


def _failing(url):
    return fw.model("openai/gpt-5-mini", base_url=url, api_key="wrong").invoke("hi")


def test_errors_survive_pickle_copies_and_process_pools():
    with sim(api_key="right") as provider:
        with pytest.raises(fw.AuthenticationError) as raised:
            _failing(provider.url)
        error = raised.value
        for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
            assert type(copied) is type(error)
            assert str(copied) == str(error)
            assert copied.__dict__ == error.__dict__
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            with pytest.raises(fw.AuthenticationError, match="401"):
                pool.submit(_failing, provider.url).result()


async def test_every_class_survives_pickle():
    for cls in {fw.Error, *_errors._CLASSES.values(), fw.BatchError}:
        error = cls("words", status=500, attempts=2)
        copied = pickle.loads(pickle.dumps(error))
        assert (type(copied), str(copied), copied.status, copied.attempts) == (type(error), "words", 500, 2)


class Own(Exception):
    def __init__(self, a, b):
        super().__init__(a, b)


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
async def test_an_exception_of_a_step_comes_back_as_that_very_object(inline, is_async):
    own = Own("a", "b")

    def fails(_):
        raise own

    async def fails_async(_):
        raise own

    chain = fw.step(fails_async if is_async else fails, inline=inline).named("outline")
    with pytest.raises(Own) as raised:
        await chain.ainvoke("x")
    assert raised.value is own
    assert any("in fails" in line for line in traceback.format_exception(own))
    if sys.version_info >= (3, 11):
        assert any("outline" in note for note in own.__notes__)
    with pytest.raises(Own) as raised:
        chain.invoke("x")
    assert raised.value is own


async def test_a_step_that_raises_stop_iteration_is_an_error():
    def stops(_):
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        await fw.step(stops).ainvoke("x")


async def test_a_temporary_error_of_a_step_is_retried(provider, at):
    tries = []

    async def fails_twice(x):
        tries.append(x)
        if len(tries) < 3:
            raise fw.ServerError("busy", kind="server", is_retryable=True)
        return x

    chain = fw.step(fails_twice).retry(3)
    assert await chain.ainvoke("x") == "x"
    assert len(tries) == 3


async def test_a_lost_connection_is_a_connection_error():
    with sim() as provider:
        url = provider.url
    model = fw.model("openai/gpt-5-mini", base_url=url, api_key="x", retries=0)
    with pytest.raises((fw.ConnectionError, fw.UnavailableError)):
        await model.ainvoke("hi", timeout=20)
