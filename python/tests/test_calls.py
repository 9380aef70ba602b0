"""One call: its input, its answer, and loops that share a model."""

import asyncio
import base64
import json
import pathlib
import pickle
import threading

import pytest

import fanweave as fw
from fanweave.testing import echo


async def test_an_awaited_call_answers(provider, at):
    answer = await at(provider).ainvoke("name a bear")
    assert isinstance(answer, fw.Message)
    assert answer.role == "assistant"
    assert answer.text
    assert str(answer) == answer.text
    assert answer.finish_reason == "stop"
    assert answer.usage.output_tokens > 0
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert answer.attempts == 1
    assert provider.requests == 1


def test_a_blocking_call_answers(provider, at):
    assert at(provider).invoke("name a bear").text
    assert provider.requests == 1


async def test_calls_run_at_the_same_time(provider, at):
    model = at(provider)
    answers = await asyncio.gather(*(model.ainvoke(f"bear {i}") for i in range(50)))
    assert len({answer.id for answer in answers}) == 50
    assert provider.requests == 50


@pytest.mark.parametrize(
    "prompt",
    [
        "hello there",
        fw.Message.user("hello there"),
        [fw.Message.system("be brief"), fw.Message.user("hello there")],
        [("system", "be brief"), ("user", "hello there")],
        [{"role": "user", "content": "hello there"}],
        [("system", "be brief"), fw.Message.user("hello there")],
    ],
)
async def test_all_forms_of_a_prompt_are_understood(prompt):
    assert (await echo().ainvoke(prompt)).text == "hello there"


async def test_a_value_that_is_no_prompt_is_refused_by_name():
    with pytest.raises(fw.InputError, match=r"fake/echo.* expects a prompt, but got a number"):
        await echo().ainvoke(3)


def test_one_model_works_in_many_loops_and_threads(provider, at):
    model = at(provider)
    texts = [asyncio.run(model.ainvoke("a")).text for _ in range(3)]
    threads = [threading.Thread(target=lambda: texts.append(asyncio.run(model.ainvoke("a")).text))]
    threads += [threading.Thread(target=lambda: texts.append(model.invoke("a").text)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 8
    assert provider.requests == 8


async def test_a_coroutine_that_is_never_awaited_sends_nothing(provider, at):
    at(provider).ainvoke("a").close()
    await asyncio.sleep(0.05)
    assert provider.requests == 0


async def test_options_of_a_run_are_checked(provider, at):
    model = at(provider)
    assert (
        await model.ainvoke("a", timeout=5, tags=["x"], metadata={"k": 1}, priority="batch", fresh=True)
    ).text
    with pytest.raises(fw.ConfigError, match="`tiemout` is not an option of a run"):
        await model.ainvoke("a", tiemout=5)
    with pytest.raises(fw.ConfigError, match="timeout must be a number of seconds above 0"):
        await model.ainvoke("a", timeout=-1)
    with pytest.raises(fw.ConfigError, match="priority must be"):
        await model.ainvoke("a", priority="high")


async def test_a_parameter_is_sent(provider, at):
    short = await at(provider, max_tokens=2).ainvoke("a long story, please")
    assert short.finish_reason == "length"
    assert short.usage.output_tokens <= 2
    bound = at(provider).bind(max_tokens=3)
    assert (await bound.ainvoke("a long story, please")).usage.output_tokens <= 3


def test_a_misspelt_parameter_is_refused_with_the_right_one():
    with pytest.raises(fw.ConfigError, match="did you mean `temperature`"):
        fw.model("sim/echo", temprature=1)
    with pytest.raises(fw.ConfigError, match="did you mean `sim/echo`"):
        fw.model("sim/ecko")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timeout": "soon"}, "timeout is invalid.*got 'soon'"),
        ({"rpm": -1}, "rpm is out of range"),
        ({"rpm": 0}, "rpm must be at least 1"),
        ({"headers": 3}, "headers is invalid"),
        ({"temperature": []}, "temperature is invalid"),
        ({"stop": 3}, "stop is invalid"),
        ({"extra": "a"}, "extra must be a dict"),
    ],
)
def test_a_setting_of_the_wrong_type_is_refused_by_name(settings, message):
    with pytest.raises(fw.ConfigError, match=message):
        fw.model("openai/gpt-5-mini", api_key="secret", **settings)


def test_a_key_of_the_wrong_type_is_not_shown():
    with pytest.raises(fw.ConfigError, match="api_key is invalid") as raised:
        fw.model("openai/gpt-5-mini", api_key=b"sk-secret")
    assert "sk-secret" not in str(raised.value)


def test_without_a_loop_the_error_names_the_blocking_verb():
    call = echo().ainvoke("a")
    with pytest.raises(fw.ConfigError, match="no asyncio event loop is running: use the verbs without `a`"):
        call.send(None)


async def test_a_message_survives_pickle_and_dicts(provider, at):
    answer = await at(provider).ainvoke("name a bear")
    assert pickle.loads(pickle.dumps(answer)) == answer
    assert fw.Message.from_dict(answer.to_dict()) == answer
    assert answer != fw.Message.user(answer.text)


def test_an_image_is_sent_with_its_type(tmp_path, recorder):
    recorder.answer = lambda _: b'{"choices": [{"message": {"content": "a bird"}}]}'
    model = fw.model("openai/gpt-5-mini", base_url=recorder.url, api_key="k")
    png = b"\x89PNG\r\n\x1a\n..."
    (tmp_path / "bird.png").write_bytes(png)
    for image in (png, tmp_path / "bird.png", str(tmp_path / "bird.png")):
        assert model.invoke([fw.Message.image(image, "Which bird?")]).text == "a bird"
        [message] = json.loads(recorder.seen[-1][3])["messages"]
        text, sent = message["content"]
        assert text == {"type": "text", "text": "Which bird?"}
        assert sent["image_url"]["url"] == "data:image/png;base64," + base64.b64encode(png).decode()
    assert fw.Message.image("https://photos.example/1.jpg").parts == [
        {"image": {"url": "https://photos.example/1.jpg"}}
    ]
    assert (
        fw.Message.image(b"?", media_type="image/avif").parts[0]["image"]["inline"]["media_type"]
        == "image/avif"
    )
    with pytest.raises(fw.InputError, match="media_type"):
        fw.Message.image(b"not an image")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        fw.Message.image("nowhere.png")


def test_memory_does_not_grow_with_the_number_of_calls(run_script):
    script = """
import asyncio, gc, pathlib
import fanweave as fw
from fanweave.testing import echo
chain = fw.prompt("{{ x }}") | echo() | fw.text() | str.upper
def pages():
    gc.collect()
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1])
async def many(n):
    await chain.abatch([{"x": str(i)} for i in range(n)])
    for i in range(n):
        await chain.ainvoke({"x": str(i)})
        async for _ in chain.astream({"x": str(i)}):
            pass
async def main():
    await many(500)
    before = pages()
    await many(2000)
    return (pages() - before) * 4096
print(asyncio.run(main()))
"""
    if not pathlib.Path("/proc/self/statm").exists():
        pytest.skip("no /proc")
    # A leak of one KiB a call would be 6 MiB.
    assert int(run_script(script).stdout) < 4 << 20
