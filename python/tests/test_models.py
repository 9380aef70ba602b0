"""Models: caches, limits, and what they share."""

import asyncio
import json
import pickle
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fanweave as fw
from fanweave.testing import sim


async def test_a_cached_model_answers_a_prompt_once(provider, at):
    model = at(provider).cached()
    first, second = await model.ainvoke("a"), await model.ainvoke("a")
    assert (first.cached, second.cached) == (False, True)
    assert first.text == second.text
    assert second.usage.total_tokens == 0
    assert provider.requests == 1
    assert not (await model.ainvoke("a", fresh=True)).cached
    assert provider.requests == 2


async def test_a_cache_in_a_file_is_there_in_the_next_process(provider, at, tmp_path, run_script):
    path = tmp_path / "answers.db"
    answer = await at(provider).cached(path).ainvoke("a")
    script = f"""
import fanweave as fw
model = fw.model("openai/gpt-5-mini", base_url="{provider.url}", api_key="simulated").cached("{path}")
print(model.invoke("a").text)
"""
    assert run_script(script).stdout == answer.text + "\n"
    assert provider.requests == 1


async def test_a_model_survives_pickle(provider, at):
    model = pickle.loads(pickle.dumps(at(provider, max_tokens=2).cached()))
    assert (await model.ainvoke("a long story")).finish_reason == "length"
    assert (await model.ainvoke("a long story")).cached


async def test_limits_show_the_accounts_of_this_process(provider, at):
    model = at(provider, rpm=6000)
    await model.abatch(["a"] * 3)
    accounts = [account for account in fw.limits() if account.base_url == provider.url]
    assert len(accounts) == 1
    assert (accounts[0].model, accounts[0].requests, accounts[0].in_flight) == ("gpt-5-mini", 3, 0)
    assert accounts[0].rpm_limit == 6000
    assert "gpt-5-mini" in repr(accounts[0])


async def test_adaptations_show_what_a_server_refused():
    seen = []

    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            seen.append(body)
            said = {
                "error": {
                    "message": "Unsupported parameter: 'max_completion_tokens'",
                    "type": "invalid_request_error",
                }
            }
            if "max_completion_tokens" not in body:
                said = {"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}]}
            answer = json.dumps(said).encode()
            self.send_response(400 if "error" in said else 200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        model = fw.model("openai/adapts", base_url=url, api_key="any", max_tokens=5)
        assert [(await model.ainvoke(text)).text for text in "ab"] == ["ok", "ok"]
        server.shutdown()
    assert ["max_tokens" in body for body in seen] == [False, True, True]
    [adaptation] = [each for each in fw.adaptations() if each.model == "adapts"]
    assert adaptation.changes == ["`max_completion_tokens` sent as `max_tokens`"]
    assert (adaptation.base_url, adaptation.refused, adaptation.changed) == (url, 1, 2)
    assert "max_tokens" in repr(adaptation)


async def test_two_models_with_one_key_share_a_limit(at):
    with sim() as provider:
        models = [at(provider, rpm=600), at(provider, rpm=600)]
        started = time.monotonic()
        # Ten a second, in bursts of a second.
        await asyncio.gather(*(model.abatch(["a"] * 15) for model in models))
        assert 1.0 < time.monotonic() - started < 10
