"""Chains of chains: branches, routes, entries of dicts, and lists whose items run while they are generated."""

import asyncio
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


async def test_a_regular_expression_names_the_parts_of_an_answer():
    chain = ECHO | fw.regex(r"(?P<year>\d{4})")
    assert await chain.ainvoke("in 1888.") == {"year": "1888"}
    with pytest.raises(fw.ParseError):
        await chain.ainvoke("long ago")
    with pytest.raises(fw.ConfigError):
        fw.regex("(")
