"""Chains of chains: branches, routes, entries of dicts, and lists whose items run while they are generated."""

import asyncio
import copy
import dataclasses
import pickle
import time

import pytest

import fanweave as fw
from fanweave.testing import echo

ECHO = echo()
TEXT = ECHO | fw.text()


async def test_assign_adds_outputs_to_its_input():
    chain = fw.assign(length=lambda d: len(d["text"]), shouted=lambda d: d["text"].upper())
    assert await chain.ainvoke({"text": "hi"}) == {"text": "hi", "length": 2, "shouted": "HI"}
    replaced = fw.assign(text=fw.pick("text") | fw.prompt("{{ text }}!") | ECHO)
    result = await replaced.ainvoke({"text": "hi", "other": {1, 2}})
    assert list(result) == ["text", "other"]
    assert isinstance(result["text"], fw.Message)
    assert result["other"] == {1, 2}
    with pytest.raises(fw.InputError, match="entry `other`: a foreign value has no JSON form"):
        await fw.prompt("{{ text }}").ainvoke({"text": "hi", "other": {1, 2}})
    with pytest.raises(fw.InputError, match="expected a dict, got a number"):
        await fw.assign(a=fw.passthrough()).ainvoke(3)


async def test_pick_keeps_entries_in_the_order_of_its_names():
    assert list((await fw.pick("b", "a").ainvoke({"a": 1, "b": 2, "c": 3})).items()) == [("b", 2), ("a", 1)]
    with pytest.raises(fw.InputError, match="no entry `d`: the entries are a, b"):
        await fw.pick("d").ainvoke({"a": 1, "b": 2})


async def test_branch_runs_the_first_chain_whose_condition_is_true():
    chain = fw.branch(
        (lambda n: n > 10, lambda n: f"{n} is large"),
        (lambda n: n > 5, fw.step(lambda n: f"{n} is medium")),
        lambda n: f"{n} is small",
    )
    assert await chain.abatch([20, 7, 1]) == ["20 is large", "7 is medium", "1 is small"]
    assert chain.invoke(7) == "7 is medium"


async def test_an_error_of_a_condition_is_raised_as_itself():
    with pytest.raises(ZeroDivisionError):
        await fw.branch((lambda n: 1 / n, TEXT), TEXT).ainvoke(0)


async def test_a_router_follows_a_function_or_a_classifier():
    routes = {"joke": fw.step(lambda _: "ha"), "poem": fw.prompt("rose") | TEXT}
    by_function = fw.router(lambda d: d["kind"], routes)
    assert await by_function.ainvoke({"kind": "poem"}) == "rose"
    by_model = fw.router(fw.prompt("{{ kind }}") | ECHO | fw.choice("joke", "poem"), routes)
    assert await by_model.ainvoke({"kind": "joke"}) == "ha"
    with pytest.raises(fw.InputError, match="no route `poen`: did you mean `poem`"):
        await by_function.ainvoke({"kind": "poen"})


async def test_a_routed_answer_streams():
    chain = fw.router(lambda _: "a", {"a": fw.prompt("one two") | TEXT, "b": TEXT})
    assert [piece async for piece in chain.astream({})] == ["one ", "two"]


async def test_a_chat_has_instructions_examples_and_a_history():
    chat = fw.chat(tone="brief").system("Be {{ tone }}.").history("before").user("{{ question }}")
    prompt = await chat.ainvoke({"before": [("user", "a"), ("assistant", "b")], "question": "c"})
    assert [(m.role, m.text) for m in prompt.messages] == [
        ("system", "Be brief."),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
    ]
    messages = await chat.ainvoke({"before": [fw.Message.user("a")], "question": "c"})
    assert len(messages.messages) == 3
    assert len((await chat.ainvoke({"question": "c"})).messages) == 2
    assert await (chat | TEXT).ainvoke({"question": "c"}) == "c"


async def test_each_item_of_a_list_runs_while_the_list_is_generated():
    async def wait(title):
        await asyncio.sleep(0.1)
        return f"<{title}>"

    titles = (fw.prompt("1. Tides\n2. Wind\n3. Sun") | ECHO).lines()
    started = time.monotonic()
    assert await titles.each(wait).collect().ainvoke({}) == ["<Tides>", "<Wind>", "<Sun>"]
    assert time.monotonic() - started < 2
    article = titles.each(fw.prompt("About {{ input }}.") | TEXT).join("\n")
    assert await article.ainvoke({}) == "About Tides.\nAbout Wind.\nAbout Sun."
    assert article.invoke({}).startswith("About Tides.")
    assert "".join([piece async for piece in article.astream({})]) == await article.ainvoke({})


async def test_items_of_a_json_array_are_values():
    chain = ECHO.items().each(lambda item: item["n"] * 2).collect()
    assert await chain.ainvoke('[{"n": 1}, {"n": 2}]') == [2, 4]


@dataclasses.dataclass
class Numbered:
    n: int


async def test_items_of_a_type_are_values_of_it_and_others_are_errors():
    chain = ECHO.items(Numbered).each(lambda item: item.n * 2).collect()
    assert await chain.ainvoke('[{"n": 1}, {"n": 2}]') == [2, 4]
    with pytest.raises(fw.ParseError, match="n: "):
        await chain.ainvoke('[{"n": "many"}]')


async def test_a_regular_expression_names_the_parts_of_an_answer():
    chain = ECHO | fw.regex(r"(?P<year>\d{4})")
    assert await chain.ainvoke("in 1888.") == {"year": "1888"}
    with pytest.raises(fw.ParseError):
        await chain.ainvoke("long ago")
    with pytest.raises(fw.ConfigError):
        fw.regex("(")


@fw.tool
def double(n: int) -> int:
    """Twice the number."""
    return 2 * n


@fw.call(model="sim/writer")
def ask(topic: str):
    return f"Tell me about {topic}."


def is_long(text):
    return len(text) > 5


MODEL = fw.model("sim/writer", temperature=0)
PICKLED = {
    "a pipe": fw.prompt("A {{ kind }} about {{ topic }}.", kind="joke") | MODEL | fw.text() | str.upper | len,
    "wrappers": (MODEL | fw.text())
    .retry(2, on=["server"])
    .fallback(MODEL | fw.text())
    .with_timeout(5)
    .named("x"),
    "dicts": fw.parallel(a=str.upper, b=fw.passthrough()) | fw.pick("a") | fw.assign(c=len),
    "a branch": fw.branch((is_long, len), str.upper),
    "a router": fw.router(str.lower, {"a": len, "b": str.upper}),
    "a chat": fw.chat(language="English").system("{{ language }}").user("{{ question }}").history("earlier"),
    "lists": fw.fstring("{topic}") | MODEL.items(Numbered).collect(),
    "lines": MODEL.lines().each(str.upper).join("+"),
    "tools": MODEL.with_tools(double, is_long, run=3),
    "a type": MODEL.structured(Numbered),
    "a call": ask.chain() | fw.text(),
    "parsers": MODEL | {"a": fw.json(), "b": fw.as_list(), "c": fw.choice("yes"), "d": fw.regex("a")},
}


@pytest.mark.parametrize("name", PICKLED)
def test_a_chain_can_be_pickled_and_copied(name):
    chain = PICKLED[name]
    for same in (pickle.loads(pickle.dumps(chain)), copy.deepcopy(chain)):
        assert type(same) is type(chain)
        assert same.mermaid() == chain.mermaid()
    assert pickle.loads(pickle.dumps(PICKLED["a pipe"])).invoke({"topic": "bears"}) > 10


def test_a_tool_is_pickled_like_its_function():
    assert pickle.loads(pickle.dumps(double)) is double
    assert pickle.loads(pickle.dumps(fw.tool(is_long))).parameters == fw.tool(is_long).parameters


def test_what_cannot_be_pickled_says_so():
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        pickle.dumps(MODEL | (lambda answer: answer))
    search = fw.memory_store(fw.embedder("sim/words")).retriever()
    with pytest.raises(TypeError, match="make it in each process"):
        pickle.dumps(search | len)


@pytest.mark.parametrize("verb", ["batch", "abatch", "rows", "arows"])
@pytest.mark.parametrize("input", ["one", {"topic": "one"}, b"one"])
async def test_one_input_in_place_of_several_is_refused(verb, input):
    with pytest.raises(TypeError, match="put it into a list"):
        await getattr(ECHO, verb)(input)
