"""`fanweave.integrations.langchain`: LangChain itself with models of the engine."""

import asyncio

import pytest

pytest.importorskip("langchain_core", reason="langchain-core is not installed")

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from pydantic import BaseModel

import fanweave as fw
from fanweave.integrations.langchain import ChatFanweave, FanweaveEmbeddings
from fanweave.testing import sim


def chat(provider, **settings) -> ChatFanweave:
    return ChatFanweave(model="openai/gpt-5-mini", base_url=provider.url, api_key="simulated", **settings)


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"Rain in {city}."


class Book(BaseModel):
    """A book."""

    title: str
    year: int


def test_it_is_a_chat_model_of_langchain(provider):
    chain = ChatPromptTemplate.from_messages([("system", "Be short."), ("human", "{text}")]) | chat(provider)
    answer = chain.invoke({"text": "Hello, are you well?"})
    assert isinstance(answer, AIMessage)
    assert answer.usage_metadata["total_tokens"] > 0
    assert answer.response_metadata["model_provider"] == "openai"
    assert (chain | StrOutputParser()).invoke({"text": "Hello, are you well?"}) == answer.content
    assert "".join(chunk.text for chunk in chain.stream({"text": "Hello, are you well?"})) == answer.content


async def test_batches_run_at_once():
    with sim(latency=0.1) as provider:
        model = chat(provider)
        answers = await model.abatch([f"Hello {i}" for i in range(10)])
        assert len(answers) == 10
        assert 5 < provider.most_at_once <= 10


async def test_tools_are_called_and_answered(provider):
    model = chat(provider).bind_tools([weather])
    question = HumanMessage("What is the weather in Bergen?")
    answer = await model.ainvoke([SystemMessage("Be short."), question])
    [call] = answer.tool_calls
    assert call["args"] == {"city": "Bergen"}
    result = await weather.ainvoke(call)
    assert isinstance(result, ToolMessage)
    assert "Rain in Bergen." in (await model.ainvoke([question, answer, result])).text
    total = None
    async for chunk in model.astream([question]):
        total = chunk if total is None else total + chunk
    assert total.tool_calls[0]["args"] == {"city": "Bergen"}


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_answers_of_a_type(provider, method):
    model = chat(provider)
    assert isinstance(model.with_structured_output(Book, method=method).invoke("A book."), Book)
    raw = model.with_structured_output(Book, method=method, include_raw=True).invoke("A book.")
    assert isinstance(raw["parsed"], Book)
    assert raw["parsing_error"] is None


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"},
        {"type": "image", "source_type": "base64", "data": "iVBORw0KGgo=", "mime_type": "image/png"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        {"type": "image", "url": "https://example.com/bear.png"},
    ],
)
def test_images_of_all_forms_are_sent(provider, part):
    from fanweave._foreign_messages import wire_messages

    message = HumanMessage([{"type": "text", "text": "What is this?"}, part])
    [wire] = wire_messages([message])
    assert wire["content"][1]["type"] == "image_url"
    assert wire["content"][1]["image_url"]["url"].startswith(("data:image/png;base64,iVBOR", "https://"))
    assert chat(provider).invoke([message]).text


def test_callbacks_see_tokens(provider):
    class Tokens(BaseCallbackHandler):
        seen: list = []

        def on_llm_new_token(self, token, **_):
            self.seen.append(token)

    handler = Tokens()
    text = "".join(chunk.text for chunk in chat(provider).stream("Hello", config={"callbacks": [handler]}))
    assert "".join(handler.seen) == text


def test_parameters_of_a_call_win(provider):
    model = chat(provider, max_tokens=100, temperature=0.3, model_kwargs={"user": "bear"})
    answer = model.invoke("Hello, are you well?", max_tokens=2)
    assert answer.response_metadata["finish_reason"] == "length"
    assert model.invoke("Hello", model="gpt-5").response_metadata["model_name"] == "gpt-5"
    assert model._get_ls_params(model="openai/gpt-5", stop=["x"])["ls_model_name"] == "gpt-5"


def test_keys_are_secret(provider):
    assert "simulated" not in repr(chat(provider))
    with pytest.raises(ValueError, match="nobody") as caught:
        ChatFanweave(model="nobody/gpt", api_key="simulated")
    assert "simulated" not in str(caught.value)


def test_embeddings(provider):
    if not hasattr(fw, "embedder"):
        pytest.skip("this build has no embedders")
    embeddings = FanweaveEmbeddings(
        "openai/text-embedding-3-small", base_url=provider.url, api_key="simulated"
    )
    vectors = embeddings.embed_documents(["bears", "cats"])
    assert len(vectors) == 2
    assert asyncio.run(embeddings.aembed_query("bears")) == vectors[0]
