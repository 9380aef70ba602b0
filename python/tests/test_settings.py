"""Settings of models: keys that functions return, clients, and defaults of the process."""

import asyncio
import contextvars
import json
import os
import pickle
import threading

import pytest

import fanweave as fw
from fanweave import _client


def completion(_: bytes) -> bytes:
    message = {"role": "assistant", "content": "yes"}
    return json.dumps({"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}).encode()


@pytest.fixture
def server(recorder):
    recorder.answer = completion
    return recorder


def keys_of(server) -> list[str]:
    return [headers["authorization"].removeprefix("Bearer ") for _, _, headers, _ in server.seen]


def at(server, **settings) -> fw.Model:
    return fw.model("openai/gpt-5-mini", base_url=server.url, **settings)


# -- keys ------------------------------------------------------------------------------------------------------


def test_a_key_may_be_a_function_that_is_called_before_each_request(server):
    count = iter(range(10))
    model = at(server, api_key=lambda: f"key-{next(count)}")
    assert [model.invoke("hello").text for _ in range(3)] == ["yes"] * 3
    assert keys_of(server) == ["key-0", "key-1", "key-2"]


async def test_a_key_may_be_an_async_function(server):
    async def key():
        await asyncio.sleep(0.01)
        return "token"

    model = at(server, api_key=key)
    await asyncio.gather(*(model.ainvoke("hello") for _ in range(20)))
    assert keys_of(server) == ["token"] * 20
    async for _ in (model | fw.text()).astream("hello"):
        pass
    assert (await fw.abatch(["x"], model=model, prompt="{{ input }}"))[0].error is None
    assert keys_of(server)[20:] == ["token"] * 2


async def test_a_key_that_blocks_does_not_hold_up_the_loop(server):
    threads = set()

    def key():
        threads.add(threading.current_thread().name)
        # A blocking call of another model, from within the key of this one.
        return at(server, api_key=lambda: "inner").invoke("which key?").text

    await at(server, api_key=key).ainvoke("hello")
    assert keys_of(server) == ["inner", "yes"]
    assert threads.isdisjoint({threading.current_thread().name, "fanweave-python"})


def test_an_exception_of_a_key_is_raised_by_the_call(server):
    failure = OSError("no vault")

    def key():
        raise failure

    with pytest.raises(OSError, match="no vault") as caught:
        at(server, api_key=key).invoke("hello")
    assert caught.value is failure
    assert server.seen == []


def test_a_key_that_is_no_string_is_an_error_that_does_not_show_it(server):
    with pytest.raises(fw.ConfigError, match="must return a string, got a list") as caught:
        at(server, api_key=lambda: ["sk-secret"]).invoke("hello")
    assert "sk-secret" not in str(caught.value)


def test_keys_see_the_context_variables_of_the_model(server):
    tenant = contextvars.ContextVar("tenant", default="none")
    tenant.set("ada")
    model = at(server, api_key=lambda: tenant.get())
    tenant.set("bob")
    model.invoke("hello")
    assert keys_of(server) == ["ada"]


def test_all_handles_take_functions_as_keys(server):
    model = at(server, api_key=lambda: "k")
    model.bind(temperature=0).invoke("1")
    model.with_tools(weather).invoke("2")
    (fw.prompt("{{ x }}") | model | fw.text()).batch([{"x": 1}, {"x": 2}])
    model.cached().invoke("5")
    fw.raw_model("openai/m", base_url=server.url, api_key=lambda: "k").send("/any", {})
    list(fw.raw_model("openai/m", base_url=server.url, api_key=lambda: "k").stream("/any", {}))
    assert keys_of(server) == ["k"] * 7


def weather(city: str) -> str:
    """The weather of a city."""
    return city


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_calls_the_function_of_its_key(server, run_script):
    script = f"""
import os, fanweave as fw
model = fw.model("openai/m", base_url={server.url!r}, api_key=lambda: f"key-{{os.getpid()}}")
raw = fw.raw_model("openai/m", base_url={server.url!r}, api_key=lambda: f"key-{{os.getpid()}}")
model.invoke("parent")
pid = os.fork()
raw.send("/any", {{}}) if pid == 0 else model.invoke("parent again")
if pid == 0:
    model.invoke("child")
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
print(os.getpid(), pid)
"""
    parent, child = run_script(script).stdout.split()
    assert sorted(keys_of(server)) == sorted([f"key-{parent}"] * 2 + [f"key-{child}"] * 2)


# -- clients ---------------------------------------------------------------------------------------------------


def test_a_client_sends_its_headers_and_keeps_its_timeout(server, slow):
    client = fw.Client(headers={"x-team": "search"})
    at(server, api_key="k", client=client, headers={"x-run": "7"}).invoke("hello")
    (_, _, headers, _) = server.seen[0]
    assert (headers["x-team"], headers["x-run"]) == ("search", "7")
    impatient = fw.Client(timeout=0.2)
    with pytest.raises(fw.Error, match="did not end within 200ms"):
        fw.model("openai/m", base_url=slow.url, api_key="k", client=impatient, retries=0).invoke("hello")


def test_a_client_uses_its_proxy_and_not_that_of_the_environment(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    origin = server.url.removesuffix("/v1")
    client = fw.Client(proxy=origin)
    fw.model("openai/m", base_url="http://models.example/v1", api_key="k", client=client).invoke("hello")
    at(server, api_key="k", client=fw.Client(proxy=False)).invoke("hello")
    (_, proxied, headers, _), (_, direct, _, _) = server.seen
    assert proxied == "http://models.example/v1/chat/completions"
    assert headers["host"] == "models.example"
    assert direct == "/v1/chat/completions"


def test_the_default_client_holds_for_models_without_one(server, monkeypatch):
    monkeypatch.setattr(_client, "_default", None)
    fw.configure(client=fw.Client(headers={"x-team": "all"}))
    at(server, api_key="k").invoke("hello")
    at(server, api_key="k", client=fw.Client(headers={"x-team": "own"})).invoke("hello")
    fw.raw_model("openai/m", base_url=server.url, api_key="k").send("/any", {})
    assert [headers["x-team"] for _, _, headers, _ in server.seen] == ["all", "own", "all"]
    assert fw.model("sim/echo").invoke("hello").text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"proxy": "not a url"}, "proxy"),
        ({"root_certificates": b"nothing"}, "certificate"),
        ({"headers": {"a b": "secret"}}, "header `a b`"),
        ({"headers": {"a": "secret\n"}}, "header `a`"),
        ({"headers": {"a": 1}}, "headers is invalid"),
        ({"timeout": 0}, "timeout must be a number of seconds above 0"),
        ({"connect": "secret-1s"}, "connect is invalid"),
    ],
)
def test_an_invalid_setting_of_a_client_is_an_error(settings, words):
    with pytest.raises(fw.ConfigError, match=words) as caught:
        fw.Client(**settings)
    assert "secret\n" not in str(caught.value)
    assert ": secret" not in str(caught.value)


def test_a_client_must_be_one(server):
    for use in (lambda: at(server, client=object()), lambda: fw.configure(client="x")):
        with pytest.raises(fw.ConfigError, match=r"must be a fanweave\.Client"):
            use()
    with pytest.raises(fw.ConfigError, match="no connection"):
        fw.model("sim/echo", client=fw.Client())


def test_clients_and_models_with_one_pickle(server):
    model = at(server, api_key="k", client=fw.Client(headers={"x-team": "search"}))
    pickle.loads(pickle.dumps(model)).invoke("hello")
    assert server.seen[0][2]["x-team"] == "search"
    assert "search" not in repr(fw.Client(headers={"x-team": "search"}))


def test_the_threads_of_the_engine_are_set_before_the_first_call(run_script):
    script = """
import os, fanweave as fw
fw.configure(threads=3)
fw.model("sim/echo").invoke("hello")
names = [open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task")]
assert names.count("fanweave") == 3, names
try:
    fw.configure(threads=2)
except fw.ConfigError as error:
    print(error)
try:
    fw.configure(threads=0)
except fw.ConfigError as error:
    print(error)
"""
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("needs /proc")
    first, second = run_script(script).stdout.splitlines()
    assert "before the first call" in first
    assert "at least 1" in second
