"""`fanweave.mirascope`: what the documentation of Mirascope shows beyond calls: parts, tool kits, retries, other models."""

import json
from typing import Annotated

import pytest

import fanweave as fw
from fanweave.mirascope import (
    AudioPart,
    BaseMessageParam,
    DocumentPart,
    ImagePart,
    ImageURLPart,
    Messages,
    TextPart,
    llm,
    prompt_template,
)
from fanweave.mirascope.retries import FallbackError, fallback
from fanweave.mirascope.retries.tenacity import collect_errors

pydantic = pytest.importorskip("pydantic")

ANSWER = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}]
}


@pytest.fixture
def at(recorder, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", recorder.url)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    recorder.answer = lambda _: json.dumps(ANSWER).encode()
    return recorder


def asked(recorder, n=-1):
    return json.loads(recorder.seen[n][3])


@prompt_template()
def text(genre: str) -> str:
    return f"A {genre} book"


@prompt_template()
def parts(genre: str) -> list:
    return [f"A {genre} book like", ImagePart("image/png", b"x")]


@prompt_template()
def configured(genre: str) -> dict:
    return {"messages": [Messages.User(genre)], "computed_fields": {"n": 1}}


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (text, [BaseMessageParam("user", "A fantasy book")]),
        (parts, [BaseMessageParam("user", [TextPart("A fantasy book like"), ImagePart("image/png", b"x")])]),
        (configured, {"messages": [BaseMessageParam("user", "fantasy")], "computed_fields": {"n": 1}}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_prompt_without_a_template_is_what_the_function_returns(prompt, expected):
    assert prompt("fantasy") == expected


def test_fields_of_a_template_make_parts_of_a_message():
    @prompt_template(
        "See {photo:image} and {more:images}, hear {sound:audio}. {paper:document} {notes:texts} {part:part}"
    )
    def prompt(photo, more, sound, paper, notes, part): ...

    [message] = prompt(
        b"\xff\xd8jpeg",
        ["https://x.example/a.png"],
        b"ID3",
        b"%PDF-1.7",
        ["first", TextPart("second")],
        TextPart("last"),
    )
    assert message.content == [
        TextPart("See"),
        ImagePart("image/jpeg", b"\xff\xd8jpeg"),
        TextPart("and"),
        ImageURLPart("https://x.example/a.png"),
        TextPart(", hear"),
        AudioPart("audio/mp3", b"ID3"),
        TextPart("."),
        DocumentPart("application/pdf", b"%PDF-1.7"),
        TextPart("first"),
        TextPart("second"),
        TextPart("last"),
    ]


def test_sounds_and_documents_are_sent(at):
    @llm.call(provider="openai", model="gpt-4o-mini")
    def read() -> list:
        return ["Read", AudioPart("audio/wav", b"sound"), DocumentPart("application/pdf", b"%PDF")]

    assert read().content == "ok"
    [message] = asked(at)["messages"]
    assert [part["type"] for part in message["content"]] == ["text", "input_audio", "file"]
    assert message["content"][1]["input_audio"] == {"data": "c291bmQ=", "format": "wav"}


def test_a_tool_kit_has_tools_with_its_state(at):
    from fanweave.mirascope import BaseToolKit, toolkit_tool

    class Books(BaseToolKit):
        __namespace__ = "books"
        level: str

        @toolkit_tool
        def suggest(self, author: str) -> str:
            """Suggests an author at the level {self.level}."""
            return f"{author} for a {self.level}"

    @llm.call(provider="openai", model="gpt-4o-mini")
    def recommend(level: str) -> dict:
        return {"messages": [Messages.User("Recommend")], "tools": Books(level=level).create_tools()}

    call = {
        "id": "1",
        "type": "function",
        "function": {"name": "books_suggest", "arguments": '{"author": "Le Guin"}'},
    }
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    at.answer = lambda _: json.dumps(
        {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    ).encode()
    response = recommend("beginner")
    assert response.tool.call() == "Le Guin for a beginner"
    [tool] = asked(at)["tools"]
    assert tool["function"]["name"] == "books_suggest"
    assert tool["function"]["description"] == "Suggests an author at the level beginner."


def test_methods_are_overridden(at):
    class Librarian:
        history = [Messages.System("You are a librarian")]

        @llm.call(provider="openai", model="gpt-4o-mini")
        def ask(self, query: str) -> list:
            return [*self.history, Messages.User(query)]

    assert llm.override(Librarian().ask, model="gpt-4o")("Hello").content == "ok"
    assert asked(at)["model"] == "gpt-4o"
    assert asked(at)["messages"][0]["content"] == "You are a librarian"


def test_an_answer_that_a_validator_refuses_is_its_error_and_may_be_collected(at):
    def upper(value: str) -> str:
        assert value.isupper(), "must be upper case"
        return value

    class Book(pydantic.BaseModel):
        title: Annotated[str, pydantic.AfterValidator(upper)]

    ANSWER_OF_TITLE = {
        **ANSWER["choices"][0],
        "message": {"role": "assistant", "content": '{"title": "low"}'},
    }
    at.answer = lambda _: json.dumps({"choices": [ANSWER_OF_TITLE]}).encode()

    @llm.call(provider="openai", model="gpt-4o-mini", response_model=Book)
    def extract(errors: list | None = None) -> str:
        return f"Extract {errors or ''}"

    with pytest.raises(pydantic.ValidationError, match="must be upper case") as caught:
        extract()
    assert isinstance(caught.value.__cause__, fw.ParseError)
    assert len(at.seen) == 2, "it went back to the model once"

    class State:
        kwargs: dict = {}

        class outcome:
            exception = staticmethod(lambda: caught.value)

    for n in (1, 2):
        collect_errors(pydantic.ValidationError)(State)
        assert len(State.kwargs["errors"]) == n
    collect_errors(KeyError)(State)
    assert len(State.kwargs["errors"]) == 2


async def test_other_models_answer_after_an_error(at):
    @fallback(KeyError, [{"catch": KeyError, "provider": "openai", "model": "second"}])
    @llm.call(provider="openai", model="first")
    def ask(fails: int) -> str:
        seen.append(1)
        if len(seen) <= fails:
            raise KeyError(f"{len(seen)} failed")
        return "Hello"

    seen = []
    response = ask(1)
    assert response.content == "ok"
    assert [str(error) for error in response._caught] == ["'1 failed'"]
    assert asked(at)["model"] == "second"
    seen = []
    with pytest.raises(FallbackError) as failed:
        ask(2)
    assert len(failed.value.caught) == 2
    seen = []

    @fallback(KeyError, [{"catch": KeyError, "provider": "openai", "model": "third"}])
    @llm.call(provider="openai", model="first")
    async def ask_async() -> str:
        seen.append(1)
        if len(seen) == 1:
            raise KeyError("failed")
        return "Hello"

    assert (await ask_async()).content == "ok"
    assert asked(at)["model"] == "third"


def test_answers_have_what_was_computed_and_streams_their_text(provider, monkeypatch):
    for name, value in provider.env.items():
        monkeypatch.setenv(name, value)

    @llm.call(provider="openai", model="gpt-4o-mini")
    def summarize() -> str:
        return "Summarize this"

    @llm.call(provider="openai", model="gpt-4o-mini")
    def translate() -> dict:
        summary = summarize()
        return {"messages": [Messages.User(summary.content)], "computed_fields": {"summary": summary}}

    dumped = translate().model_dump()
    assert dumped["computed_fields"]["summary"]["content"] == dumped["messages"][0]["content"]
    json.dumps(dumped["computed_fields"])

    @llm.call(provider="openai", model="gpt-4o-mini", stream=True)
    def recommend() -> str:
        return "Recommend a book"

    stream = recommend()
    pieces = [chunk.content for chunk, _ in stream if chunk.chunk is not None]
    assert stream.content == "".join(pieces)


@pytest.mark.parametrize("module", ["fanweave.mirascope", "fanweave.mirascope.core"])
def test_what_is_not_there_says_what_to_use(module):
    with pytest.raises(ImportError, match="add the arguments of the call to the answer"):
        exec(f"from {module} import FromCallArgs")
    with pytest.raises(ImportError, match="cannot import name"):
        exec(f"from {module} import Unknown")
