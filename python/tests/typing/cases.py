"""Types that mypy and pyright infer. Checked by test_typing.py, never run.

A line with `type: ignore` is an error that both must find: an ignore without one is an error itself.
"""

from typing import Any, Protocol, TypedDict

from typing_extensions import assert_type

import fanweave as fw
from fanweave import chains
from fanweave._types import PromptLike


async def calls() -> None:
    model = fw.model("openai/gpt-5-mini", temperature=0.2, rpm=500)
    assert_type(model.invoke("hi"), fw.Message)
    assert_type(await model.ainvoke([("user", "hi")]), fw.Message)
    assert_type(await model.abatch(["a"]), list[fw.Message])
    assert_type(model.batch(["a"], errors="return"), list[fw.Message | BaseException])
    assert_type(model.bind(max_tokens=3), fw.Model)
    async for delta in model.astream("hi"):
        assert_type(delta, fw.Delta)
    for event in model.events("hi"):
        assert_type(event, fw.Event)
    model.invoke(3)  # type: ignore[arg-type]
    model.invoke("hi", tiemout=3)  # type: ignore[call-arg]
    fw.model("sim/echo", temprature=1)  # type: ignore[call-arg]
    model.batch(["a"], errors="keep")  # type: ignore[call-overload]


def composition() -> None:
    joke = fw.prompt("About {{ topic }}") | fw.model("sim/echo") | fw.text()
    assert_type(joke.invoke({"topic": "bears"}), str)
    for piece in joke.stream({"topic": "bears"}):
        assert_type(piece, str)
    for row in joke.rows([{"topic": "bears"}]):
        assert_type(row.unwrap(), str)
    assert_type((joke | len).invoke({}), int)
    assert_type((joke | double).invoke({}), int)
    assert_type((joke | {"length": len}).invoke({}), dict[str, Any])
    assert_type(fw.step(double).invoke("a"), int)
    assert_type((variables | joke).invoke("bears"), str)
    assert_type(joke.retry(3).fallback(joke).with_timeout(5).named("joke").invoke({}), str)
    titles = (fw.prompt("x") | fw.model("sim/echo")).lines()
    assert_type(titles.each(len).collect().invoke({}), list[int])
    joke.invoke("bears")  # type: ignore[arg-type]
    fw.prompt("x") | fw.text()  # type: ignore[operator]
    joke | fw.text()  # type: ignore[operator]
    joke.lines()  # type: ignore[misc]


async def double(text: str) -> int:
    return len(text) * 2


def variables(topic: str) -> dict[str, str]:
    return {"topic": topic}


def models_are_chains(model: fw.Model) -> "fw.Chain[PromptLike, fw.Message, fw.Delta]":
    return model


@fw.tool
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


class Book(TypedDict):
    title: str


@fw.call(model="sim/echo", temperature=0.2, tools=[add], run_tools=3)
def ask(genre: str, *, n: int = 1) -> str:
    return f"{n} {genre} books"


@fw.call(model="sim/echo", response=Book)
async def book(genre: str) -> fw.Config:
    return {"messages": genre, "parameters": {"seed": 1}}


async def functions() -> None:
    assert_type(add(1, 2), int)
    assert_type(ask("good", n=2), fw.Response)
    assert_type(await book("good"), Book)
    assert_type(ask.batch([("good",)]), list[fw.Response])
    assert_type(await book.stream("good").output(), Book)
    assert_type(ask.bind(seed=3)("good"), fw.Response)
    assert_type(fw.model("sim/echo").structured(Book).invoke("?"), Book)
    assert_type(fw.model("sim/echo").with_tools(add, len).invoke("?"), fw.Message)
    ask(3)  # type: ignore[arg-type]
    ask.bind(tempo=3)  # type: ignore[call-arg]
    await book("good", 3)  # type: ignore[call-arg]
    fw.call(model="sim/echo", response=3)  # type: ignore[call-overload]
    fw.call(model="sim/echo")(len)  # type: ignore[arg-type]


class Frame(Protocol):
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def columns(self) -> list[str]: ...


class Lazy(Protocol):
    def collect(self) -> Frame: ...


async def tables(frame: Frame, lazy: Lazy) -> None:
    assert_type(fw.batch(frame, model="sim/echo", prompt="{{ a }}", max_tokens=3), Frame)
    assert_type(fw.batch(lazy, model="sim/echo", prompt="{{ a }}"), Frame)
    assert_type(fw.batch("a.csv", model="sim/echo", output="b.csv"), fw.Summary)
    assert_type(fw.batch(["a"], model="sim/echo", response=Book), list[fw.Row[Book]])
    assert_type(fw.batch([{"a": 1}], model="sim/echo", prompt="{{ a }}"), list[fw.Row[Any]])
    assert_type(await fw.abatch(frame, model="sim/echo", progress=print), Frame)
    fw.batch(frame, model="sim/echo", errors="ignore")  # type: ignore[call-overload]
    fw.batch(frame, model="sim/echo", tempo=1)  # type: ignore[call-overload]


async def stores_and_chains() -> None:
    embedder = fw.embedder("openai/text-embedding-3-small", dimensions=256)
    assert_type(await embedder.aembed(["a"]), list[list[float]])
    assert_type(embedder.embed_one("a"), list[float])
    store = fw.memory_store(embedder)
    assert_type(store.add(["a", fw.Document("b")]), list[str])
    assert_type(await store.asearch("a", limit=2), list[fw.Hit])
    assert_type(store.retriever().invoke("a"), list[fw.Document])
    answer = await chains.retrieval_qa("sim/writer", store).ainvoke("a")
    assert_type(answer.sources, list[fw.Document])
    assert_type(chains.conversation("sim/writer").invoke({"session": "a", "text": "b"}), str)
    assert_type((await fw.raw_model("openai/m").asend("/models")).status, int)
    async for chunk in fw.raw_model("openai/m").astream("/models"):
        assert_type(chunk, bytes)
    chains.qa("sim/writer", "best")  # type: ignore[arg-type]
    fw.embedder("openai/m", temperature=1)  # type: ignore[call-arg]
    fw.raw_model("openai/m").send("/models", temperature=1)  # type: ignore[call-arg]


def keys() -> None:
    async def token() -> str:
        return "token"

    fw.model("openai/m", api_key=token, client=fw.Client(proxy=False))
    fw.model("openai/m", api_key=lambda: "key")
    fw.model("openai/m", api_key=7)  # type: ignore[arg-type]
