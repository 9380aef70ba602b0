"""`fanweave.mirascope`: calls with the interface of Mirascope."""

import asyncio
import json
from dataclasses import dataclass

import pytest
from conftest import eventually

import fanweave as fw
from fanweave import openai as own_openai
from fanweave.mirascope import ImageURLPart, Messages, llm, prompt_template
from fanweave.mirascope.core import anthropic, openai
from fanweave.testing import sim

pydantic = pytest.importorskip("pydantic")


@pytest.fixture
def environment(provider, monkeypatch):
    for name, value in provider.env.items():
        monkeypatch.setenv(name, value)
    return provider


def tool_class():
    from fanweave.mirascope import BaseTool

    class Weather(BaseTool):
        """The weather in a city."""

        city: str

        async def call(self) -> str:
            await asyncio.sleep(0)
            return f"Rain in {self.city}."

    return Weather


def test_a_function_returns_its_prompt(environment):
    @llm.call(provider="openai", model="gpt-4o-mini")
    def recommend(genre: str) -> str:
        """Recommends a book."""
        return f"Recommend a {genre} book"

    response = recommend("fantasy")
    assert response.content == str(response)
    assert " by " in response.content
    assert response.usage.total_tokens == response.input_tokens + response.output_tokens
    assert response.cost > 0
    assert response.finish_reasons == ["stop"]
    assert response.user_message_param == {"role": "user", "content": "Recommend a fantasy book"}
    assert (response.tool, response.tools) == (None, None)
    assert recommend.__doc__ == "Recommends a book."


async def test_async_functions_run_at_once(monkeypatch):
    with sim(latency=0.1) as provider:
        for name, value in provider.env.items():
            monkeypatch.setenv(name, value)

        @llm.call(provider="openai", model="gpt-4o-mini")
        async def recommend(genre: str) -> str:
            return f"Recommend a {genre} book"

        responses = await asyncio.gather(*[recommend(genre) for genre in ("fantasy", "scifi", "mystery")])
        assert len({response.content for response in responses}) == 3
        assert 2 <= provider.most_at_once <= 3


async def test_streams_yield_chunks_and_tools(environment):
    weather = tool_class()

    @llm.call(provider="openai", model="gpt-4o-mini", stream=True, tools=[weather])
    async def ask(city: str) -> str:
        return f"What is the weather in {city}?"

    stream = await ask("Bergen")
    tools = [tool async for _, tool in stream if tool is not None]
    assert [type(tool) for tool in tools] == [weather]
    assert await tools[0].call() == "Rain in Bergen."
    assert stream.message_param["tool_calls"][0]["function"]["name"] == "Weather"
    assert stream.usage.output_tokens > 0

    @llm.call(provider="openai", model="gpt-4o-mini", stream=True)
    def recommend(genre: str) -> str:
        return f"Recommend a {genre} book"

    sync = recommend("fantasy")
    text = "".join(chunk.content for chunk, _ in sync)
    assert text == sync.construct_call_response().content


async def test_leaving_a_stream_closes_its_connection(monkeypatch):
    with sim(chunk_delay=1) as provider:
        for name, value in provider.env.items():
            monkeypatch.setenv(name, value)

        @llm.call(provider="openai", model="gpt-4o-mini", stream=True)
        async def recommend() -> str:
            return "Recommend a book"

        async with await recommend() as stream:
            async for _ in stream:
                break
        assert eventually(lambda: provider.stats["in_flight"] == 0)


async def test_tools_are_called_and_answered(environment):
    weather = tool_class()

    @llm.call(provider="openai", model="gpt-4o-mini", tools=[weather])
    async def ask(history: list) -> list:
        return history

    history = [Messages.User("What is the weather in Bergen?")]
    response = await ask(history)
    tool = response.tool
    assert isinstance(tool, weather)
    assert tool.args == {"city": "Bergen"}
    output = await tool.call()
    history += [response.message_param, *response.tool_message_params([(tool, output)])]
    assert "Rain in Bergen." in (await ask(history)).content


def test_functions_are_tools(environment):
    def weather(city: str) -> str:
        """The weather in a city."""
        return f"Rain in {city}."

    @openai.call("gpt-4o-mini", tools=[weather])
    def ask() -> str:
        return "What is the weather in Bergen?"

    tool = ask().tool
    assert (tool.args, tool.call(), tool._name()) == ({"city": "Bergen"}, "Rain in Bergen.", "weather")


def test_a_response_model_is_the_type_of_the_answer(environment):
    class Book(pydantic.BaseModel):
        title: str
        author: str

    @dataclass
    class Plain:
        title: str

    @llm.call(provider="openai", model="gpt-4o-mini", response_model=Book)
    def extract(text: str) -> str:
        return f"Extract a book from {text}"

    @llm.call(provider="openai", model="gpt-4o-mini", response_model=Plain)
    def plain() -> str:
        return "Extract a book"

    @llm.call(provider="openai", model="gpt-4o-mini", response_model=Book, stream=True)
    def pieces() -> str:
        return "Extract a book"

    assert isinstance(extract("this"), Book)
    assert isinstance(plain(), Plain)
    values = list(pieces())
    assert isinstance(values[-1], Book)
    assert len(values) > 2
    assert values[-1].title.startswith(values[0].title)


async def test_a_dynamic_configuration_holds_for_its_call(provider, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    seen = []

    @openai.call("gpt-4o-mini", call_params={"temperature": 0.5})
    async def recommend(genre: str) -> openai.AsyncOpenAIDynamicConfig:
        seen.append(genre)
        return {
            "messages": [Messages.System("You are a librarian."), Messages.User(f"Recommend a {genre} book")],
            "client": own_openai.AsyncOpenAI(base_url=provider.url, api_key="other"),
            "call_params": {"max_tokens": 5, "logit_bias": {"1": 1}},
            "metadata": {"tags": {"x"}},
        }

    response = await recommend("fantasy")
    assert response.finish_reasons == ["length"]
    assert response.call_params == {"temperature": 0.5, "max_tokens": 5, "extra": {"logit_bias": {"1": 1}}}
    assert response.messages[0] == {"role": "system", "content": "You are a librarian."}
    assert seen == ["fantasy"]


def test_clients_say_where_calls_go(provider, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    official = pytest.importorskip("openai", reason="the official package is not installed")
    settings = {"base_url": provider.url, "api_key": "k", "timeout": 5.0, "max_retries": 1}
    for client in (own_openai.OpenAI(**settings), official.AsyncOpenAI(**settings)):

        @openai.call("gpt-4o-mini", client=client)
        def recommend() -> str:
            return "Recommend a book"

        assert recommend().content
    with pytest.raises(fw.ConfigError, match="base_url"):
        openai.call("gpt-4o-mini", client=object())(lambda: "x")()


def test_calls_of_other_providers(provider, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", provider.url.removesuffix("/v1"))

    @anthropic.call("claude-sonnet-4-5", call_params={"max_tokens": 100})
    def recommend() -> str:
        return "Recommend a fantasy book"

    assert recommend().content


def test_a_changed_variable_of_a_provider_holds_for_the_next_call(recorder, monkeypatch):
    text = {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "Yes."}]}, "finishReason": "STOP"}]
    }
    recorder.answer = lambda _: json.dumps(text).encode()
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", recorder.url.removesuffix("/v1"))

    @llm.call(provider="google", model="gemini-2.5-flash")
    def recommend() -> str:
        return "Recommend a book"

    for key in ("first", "second"):
        monkeypatch.setenv("GOOGLE_API_KEY", key)
        assert recommend().content == "Yes."
    assert [headers["x-goog-api-key"] for _, _, headers, _ in recorder.seen] == ["first", "second"]


def test_calls_are_overridden(environment):
    @llm.call(provider="openai", model="gpt-4o-mini", call_params={"max_tokens": 3})
    def recommend() -> str:
        return "Recommend a fantasy book"

    assert recommend().model == "gpt-4o-mini"
    other = llm.override(recommend, model="gpt-4o", call_params={"max_tokens": 100})
    assert other().model == "gpt-4o"
    assert other().finish_reasons == ["stop"]
    with llm.context(model="gpt-5"):
        assert recommend().model == "gpt-5"
    assert recommend().model == "gpt-4o-mini"
    with pytest.raises(fw.ConfigError, match=r"llm\.call"):
        llm.override(lambda: "x", model="gpt-4o")


def test_output_parsers_and_json(environment):
    @llm.call(provider="openai", model="gpt-4o-mini", output_parser=lambda response: len(response.content))
    def count() -> str:
        return "Recommend a book"

    @llm.call(provider="openai", model="gpt-4o-mini", json_mode=True)
    def json_text() -> str:
        return "Answer in JSON"

    assert count() > 5
    assert json_text().content.startswith("{")


def test_templates_make_messages():
    @prompt_template(
        """
        SYSTEM: You are {person.name}.
        MESSAGES: {history}
        USER:
        Recommend {genre} books like
        {books:list}
        {total}
        """
    )
    def recommend(person, genre: str, history: list, books: list):
        return {"computed_fields": {"total": len(books)}}

    person = type("Person", (), {"name": "a bear"})()
    asked = recommend(person, "fantasy", [Messages.Assistant("Hi.")], books=["A", "B"])
    assert asked["messages"] == [
        Messages.System("You are a bear."),
        Messages.Assistant("Hi."),
        Messages.User("Recommend fantasy books like\nA\nB\n2"),
    ]
    with pytest.raises(fw.ConfigError, match="__class__"):
        prompt_template("{person.__class__}")
    with pytest.raises(fw.InputError, match="`other`"):
        prompt_template("{other}")(lambda genre: None)("x")


async def test_templates_work_with_calls(environment):
    @llm.call(provider="openai", model="gpt-4o-mini")
    @prompt_template("Recommend a {genre} book")
    async def recommend(genre: str): ...

    assert " by " in (await recommend("fantasy")).content


def test_images_are_sent(environment):
    @llm.call(provider="openai", model="gpt-4o-mini")
    def look() -> list:
        return ["What is this?", ImageURLPart("https://example.com/bear.png")]

    response = look()
    assert response.messages[0]["content"][1]["type"] == "image_url"
    assert response.content


def test_invalid_calls_are_refused_where_they_are_written(environment):
    with pytest.raises(fw.ConfigError, match="not both"):
        llm.call(provider="openai", model="m", tools=[test_images_are_sent], response_model=dict)

    @llm.call(provider="openai", model="gpt-4o-mini")
    def wrong():
        return {"message": "x"}

    with pytest.raises(fw.ConfigError, match="`message`"):
        wrong()

    @llm.call(provider="openai", model="gpt-4o-mini")
    def nothing():
        return None

    with pytest.raises(fw.ConfigError, match="NoneType"):
        nothing()
