"""Limits that processes share through a broker: names of brokers, and errors. ``tests/cluster/share.sh`` has a real one."""

import pickle
import socket

import pytest

import fanweave as fw
from fanweave import _client

URL = "nats://a:secret@127.0.0.1:4222"


@pytest.fixture(autouse=True)
def built():
    try:
        fw.Share(URL)
    except fw.ConfigError as error:
        if "feature `workers`" not in str(error):
            raise
        pytest.skip("built without the feature workers")


@pytest.fixture
def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_a_password_is_not_in_the_text_of_a_share():
    assert "secret" not in repr(fw.Share(URL)) + repr(fw.model("openai/x", api_key="any", share=URL))


def test_equal_shares_have_one_connection():
    assert fw.Share(URL)._engine is fw.Share(URL)._engine
    assert fw.Share(URL)._engine is not fw.Share(URL, plaintext=True)._engine


def test_a_share_may_be_named_by_a_variable_and_by_a_file(monkeypatch, tmp_path):
    monkeypatch.delenv("FANWEAVE_ON", raising=False)
    with pytest.raises(fw.ConfigError, match="set FANWEAVE_ON"):
        fw.Share()
    monkeypatch.setenv("FANWEAVE_ON", URL)
    assert fw.Share()._engine is fw.Share(URL)._engine
    path = tmp_path / "worker.url"
    path.write_text(URL + "\n")
    assert fw.Share(f"@{path}")._engine is fw.Share(URL)._engine
    with pytest.raises(fw.ConfigError, match=r"cannot read the URL in .*missing"):
        fw.Share(f"@{tmp_path / 'missing'}")


def test_a_pickled_share_reads_its_url_again_and_does_not_contain_it(monkeypatch):
    monkeypatch.setenv("FANWEAVE_ON", URL)
    model = fw.model("openai/x", api_key="any", rpm=60, share=fw.Share())
    pickled = pickle.dumps(model)
    assert b"secret" not in pickled
    copy = pickle.loads(pickled)
    assert copy._settings["share"]._engine is fw.Share(URL)._engine


@pytest.mark.parametrize(
    ("share", "message"),
    [
        ("nats://10.0.0.1:4222", "would not be encrypted"),
        ("nats://[", "not a valid URL"),
        (7, "must be a URL"),
    ],
)
def test_an_invalid_broker_is_refused_when_the_model_is_made(share, message):
    with pytest.raises(fw.ConfigError, match=message):
        fw.model("openai/x", api_key="any", share=share)


def test_a_broker_that_is_not_there_fails_the_call_and_says_so(closed_port):
    share = f"nats://a:secret@127.0.0.1:{closed_port}"
    model = fw.model("openai/x", base_url="http://127.0.0.1:9", api_key="any", rpm=60, share=share)
    with pytest.raises(fw.ConfigError, match="cannot connect to the broker") as raised:
        model.invoke("hello")
    assert "secret" not in str(raised.value)


def test_the_broker_of_the_process_is_that_of_models_made_later(monkeypatch, closed_port):
    monkeypatch.setattr(_client, "_default_share", None)
    fw.configure(share=f"nats://127.0.0.1:{closed_port}")
    model = fw.model("openai/x", base_url="http://127.0.0.1:9", api_key="any")
    with pytest.raises(fw.ConfigError, match="cannot connect to the broker"):
        model.invoke("hello")
    # A simulated model in this process has no account.
    assert fw.model("sim/echo").invoke("hello").text
    with pytest.raises(fw.ConfigError, match="must be a URL"):
        fw.configure(share=7)
