"""A simulated provider for each test, and a check that nothing is left behind."""

import os
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import fanweave as fw
from fanweave import _loops
from fanweave.testing import Sim, sim

# Modules whose tests share a fixture or a cache.
GROUPS = ("test_langchain_standard", "test_notebook", "test_typing")


# First: pytest-xdist reads the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the slow checks of types first, so that no process waits for them at the end."""
    for item in items:
        module = item.path.stem
        if module in GROUPS:
            item.add_marker(pytest.mark.xdist_group(module))
    items.sort(key=lambda item: item.path.stem != "test_typing")


def eventually(is_true, seconds: float = 5.0) -> bool:
    """Waits until the condition holds."""
    until = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


@pytest.fixture
def provider() -> Iterator[Sim]:
    """A simulated provider that answers at once."""
    with sim() as started:
        yield started
        assert eventually(lambda: started.stats["in_flight"] == 0), "a request is still in flight"


@pytest.fixture
def slow() -> Iterator[Sim]:
    """A simulated provider that needs 30 s for an answer: its calls have to be cancelled."""
    with sim(latency=30) as started:
        yield started
        assert eventually(lambda: started.stats["in_flight"] == 0), "a request is still in flight"


@pytest.fixture
def at():
    """Makes a model at a provider."""

    def make(provider: Sim, **settings) -> fw.Model:
        return fw.model("openai/gpt-5-mini", base_url=provider.url, api_key="simulated", **settings)

    return make


class Recorder:
    """A server that keeps its requests, as method, path, headers and body, and answers with `answer(body)`."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer = lambda body: body
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"] or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                recorder.seen.append((self.command, self.path, headers, body))
                answer = recorder.answer(body)
                self.send_response(200)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_PUT = do_POST

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    started = Recorder()
    yield started
    started.server.shutdown()
    started.server.server_close()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    for known in list(_loops._bridges.values()):
        bridge = known()
        assert bridge is None or bridge.in_flight() == 0, "a future or a step is left"


@pytest.fixture
def run_script(tmp_path):
    """Runs a script in an interpreter of its own, which has to end well."""

    def run(script: str) -> subprocess.CompletedProcess:
        path = tmp_path / "script.py"
        path.write_text(script)
        source = pathlib.Path(fw.__file__).parents[1]
        done = subprocess.run(
            [sys.executable, str(path)],
            capture_output=True,
            text=True,
            timeout=50,
            env={**os.environ, "PYTHONPATH": str(source)},
        )
        assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run
