"""Ready-made chains, and chains in files."""

import asyncio

import pytest

import fanweave as fw
from fanweave import chains
from fanweave.testing import echo, script, tool_call

FACTS = ["The Rance station opened in 1966.", "Bears hibernate in winter."]
QUESTION = {"question": "When did the Rance station open?", "documents": FACTS}


# -- answers from documents ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("strategy", "calls"), [("stuff", 1), ("map_reduce", 3), ("refine", 2)])
async def test_strategies_make_their_calls(strategy, calls):
    model = script(*["In 1966."] * calls)
    answer = await chains.qa(model, strategy).ainvoke(QUESTION)
    assert (answer.text, str(answer), answer.question) == ("In 1966.", "In 1966.", None)
    assert [source.text for source in answer.sources] == FACTS
    assert answer.usage.output_tokens > 0
    assert len(model.prompts) == calls


def test_the_best_answer_is_chosen():
    model = script("In 1966.\nScore: 90", "no idea")
    answer = chains.qa(model, "map_rerank", concurrency=1).invoke(QUESTION)
    assert (answer.text, answer.score, answer.skipped) == ("In 1966.", 90.0, [(1, "no idea")])
    assert [source.text for source in answer.sources] == FACTS[:1]


def test_prompts_and_limits():
    model = echo(record=True)
    chain = chains.qa(model, prompt="{{ question }}|{{ context }}", no_documents="nothing", max_tokens=20)
    assert chain.invoke({**QUESTION, "documents": [fw.Document("one"), {"text": "two"}]}).text.startswith(
        "When did the Rance station open?|"
    )
    assert chain.invoke({"question": "?", "documents": []}).text == "nothing"
    with pytest.raises(fw.InputError, match="token"):
        chain.invoke({"question": "?", "documents": ["word " * 100]})
    assert len(model.prompts) == 1


def test_invalid_settings_and_inputs_are_errors():
    for make, words in [
        (lambda: chains.qa("sim/echo", "best"), "strategy must be stuff"),
        (lambda: chains.qa("sim/echo", collapse_prompt="x"), "for map_reduce alone"),
        (lambda: chains.summary("sim/echo", "map_rerank"), "strategy must be stuff, map_reduce or refine"),
        (lambda: chains.retrieval_qa("sim/echo", 7), "a retriever must be"),
    ]:
        with pytest.raises(fw.ConfigError, match=words):
            make()
    for value, words in [
        ({"question": "x"}, "no entry `documents`"),
        ({"question": "x", "documents": "text"}, "expected a list of documents"),
        ("text", "expected a dict"),
    ]:
        with pytest.raises(fw.InputError, match=words):
            chains.qa("sim/echo").invoke(value)


def test_an_answer_goes_on_to_other_steps():
    chain = chains.qa(script("In 1966.")) | (lambda answer: answer.text.upper())
    assert chain.invoke(QUESTION) == "IN 1966."
    rephrase = (
        chains.qa(script("In 1966.")) | fw.prompt("{{ text }} {{ sources[0].text }}") | echo() | fw.text()
    )
    assert rephrase.invoke(QUESTION) == f"In 1966. {FACTS[0]}"
    assert list(chains.qa(script("In 1966.")).stream(QUESTION)) == ["In ", "1966."]


async def test_answers_from_a_store_a_chain_or_a_function():
    store = fw.memory_store("sim/words")
    await store.aadd(FACTS)
    found = []

    async def search(question):
        found.append(question)
        return [FACTS[1]]

    for retriever, source in [
        (store.retriever(limit=1), FACTS[0]),
        (store, FACTS[0]),
        (search, FACTS[1]),
        (lambda question: [fw.Document(FACTS[1])], FACTS[1]),
    ]:
        chain = chains.retrieval_qa(script("yes"), retriever)
        answer = await chain.ainvoke("When did the Rance station open?")
        assert (answer.text, answer.sources[0].text) == ("yes", source)
    assert found == ["When did the Rance station open?"]
    assert chains.retrieval_qa(script("yes"), search).invoke("again?").text == "yes"


def test_an_exception_of_a_retriever_is_raised():
    failure = OSError("no index")

    def search(question):
        raise failure

    with pytest.raises(OSError, match="no index") as caught:
        chains.retrieval_qa(script("yes"), search).invoke("x")
    assert caught.value is failure


@pytest.mark.parametrize(
    "history",
    [
        [("Is there a station?", "Yes.")],
        [fw.Message.user("Is there a station?"), fw.Message.assistant("Yes.")],
        [("user", "Is there a station?"), ("assistant", "Yes.")],
        [{"role": "user", "content": "Is there a station?"}, {"role": "assistant", "content": "Yes."}],
    ],
)
def test_a_conversation_rewrites_its_questions(history):
    model = script("When did the Rance station open?", "In 1966.")
    asked = []
    chain = chains.conversational_qa(
        model,
        lambda question: asked.append(question) or FACTS,
        condense_prompt="{{ history }}|{{ question }}",
    )
    answer = chain.invoke({"question": "When?", "history": history})
    assert (answer.text, answer.question) == ("In 1966.", "When did the Rance station open?")
    assert asked == ["When did the Rance station open?"]
    first = model.prompts[0].messages[0].text
    assert first == "User: Is there a station?\nAssistant: Yes.|When?"


def test_without_history_the_question_is_not_rewritten():
    model = script("In 1966.")
    assert chains.conversational_qa(model, lambda _: FACTS).invoke("When?").question == "When?"
    assert len(model.prompts) == 1


@pytest.mark.parametrize(("strategy", "calls"), [("stuff", 1), ("map_reduce", 3), ("refine", 2)])
def test_summaries(strategy, calls):
    model = script(*[f"summary {i}" for i in range(calls)])
    answer = chains.summary(model, strategy).invoke(FACTS)
    assert answer.text.startswith("summary")
    assert len(model.prompts) == calls
    prompts = "".join(message.text for prompt in model.prompts for message in prompt.messages)
    assert all(fact in prompts for fact in FACTS)
    assert chains.summary(model, strategy).invoke([]).text == ""


def test_a_calculation_is_exact():
    answer = chains.math(script("```\n2 ** 100\n```")).invoke("What is 2 to the power of 100?")
    assert answer == {"answer": str(2**100), "expression": "2 ** 100"}
    with pytest.raises(fw.ParseError):
        chains.math(script("I do not know.")).invoke("?")


# -- conversations ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "file"])
def sessions(request, tmp_path) -> chains.Sessions:
    return chains.Sessions(tmp_path / "talks.db" if request.param == "file" else None)


def said(model) -> list[str]:
    return [message.text for message in model.prompts[-1].messages]


async def test_a_conversation_remembers(sessions):
    model = echo(record=True)
    talk = chains.conversation(model, sessions, system="be kind")
    for text in ("one", "two"):
        assert await talk.ainvoke({"session": "ada", "text": text}) == text
    assert said(model) == ["be kind", "one", "one", "two"]
    await talk.ainvoke({"session": "bob", "text": "three"})
    assert said(model) == ["be kind", "three"]
    assert [message.text for message in await sessions.aload("ada")] == ["one", "one", "two", "two"]
    await sessions.aclear("ada")
    assert await sessions.aload("ada") == []


def test_memories(sessions):
    for memory, last in [
        (chains.Memory.all(), ["1", "1", "2", "2", "3"]),
        (chains.Memory.turns(1), ["2", "2", "3"]),
        (chains.Memory.tokens(1), ["2", "2", "3"]),
    ]:
        model = echo(record=True)
        talk = chains.conversation(model, sessions, memory=memory)
        sessions.clear("s")
        for text in ("1", "2", "3"):
            talk.invoke({"session": "s", "text": text})
        assert said(model) == last


def test_a_summary_replaces_earlier_messages():
    sessions = chains.Sessions()
    model, writer = echo(record=True), script("they counted", "and more")
    memory = chains.Memory.summary(writer, 1, prompt="{{ summary }}: {{ lines }}")
    talk = chains.conversation(model, sessions, memory=memory)
    for text in ("1", "2", "3"):
        talk.invoke({"session": "s", "text": text})
    assert said(model)[0] == "What was said before: they counted"
    assert sessions.load("s")[0].text == "What was said before: and more"


def test_a_failed_call_changes_no_session(sessions):
    talk = chains.conversation(script(fw.BadRequestError("no", kind="bad_request"), "yes"), sessions)
    with pytest.raises(fw.BadRequestError):
        talk.invoke({"session": "s", "text": "1"})
    assert sessions.load("s") == []
    sessions.append("s", [("user", "0"), fw.Message.assistant("zero")])
    talk.invoke({"session": "s", "text": "2"})
    assert [message.text for message in sessions.load("s")] == ["0", "zero", "2", "yes"]


def test_a_conversation_with_tools_saves_their_calls():
    def weather(city: str) -> str:
        """The weather."""
        return f"rain in {city}"

    sessions = chains.Sessions()
    model = script(tool_call("weather", city="Bergen"), "Take an umbrella.").with_tools(weather, run=3)
    talk = chains.conversation(model, sessions)
    assert talk.invoke({"session": "s", "text": "Bergen?"}) == "Take an umbrella."
    assert [message.role for message in sessions.load("s")] == ["user", "assistant", "tool", "assistant"]


async def test_a_chain_with_history():
    model = echo(record=True)
    prompt = fw.chat().system("Be kind.").history("history").user("{{ question }}")
    chain = chains.with_history(prompt | model | fw.text(), question="question")
    assert await chain.ainvoke({"question": "one"}, session="ada") == "one"
    assert await chain.ainvoke({"question": "two", "session": "ada"}) == "two"
    assert said(model) == ["Be kind.", "one", "one", "two"]
    with pytest.raises(fw.ConfigError, match="session"):
        await chain.ainvoke({"question": "three"})
    rows = [{"question": "x", "session": str(i)} for i in range(20)]
    assert await chain.abatch(rows) == ["x"] * 20


# -- chains in files -------------------------------------------------------------------------------------------

FILE = """
name: greet
inputs: { name: World, shout: }
steps:
  greeting:
    prompt: Hello {{ name }}
  louder:
    template: "{{ steps.greeting.output | upper }}{{ shout }}"
"""


@pytest.fixture
def file(tmp_path):
    def write(text=FILE, name="greet.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


async def test_a_chain_file_is_a_chain(file):
    chain = fw.load(file(), model=echo())
    assert (chain.name, chain.inputs) == ("greet", {"name": "World", "shout": ...})
    assert chain.invoke({"shout": "!"}) == "HELLO WORLD!"
    assert await chain.ainvoke({"name": "Ada", "shout": "?"}) == "HELLO ADA?"
    assert await asyncio.to_thread(chain.batch, [{"name": n, "shout": ""} for n in "ab"]) == [
        "HELLO A",
        "HELLO B",
    ]
    assert (chain | (lambda text: text.lower())).invoke({"shout": ""}) == "hello world"
    assert "greeting" in chain.mermaid()


def test_models_of_a_file_can_be_replaced(file):
    text = "steps:\n  a: { prompt: x, model: openai/gpt-5-mini }\n  b: { prompt: y, model: sim/echo }\n"
    path = file(text)
    model = script("from the script")
    chain = fw.load(path, models={"openai/gpt-5-mini": model})
    assert chain.invoke({}).endswith("y")
    assert len(model.prompts) == 1
    with pytest.raises(fw.ConfigError, match="names no model `openai/gpt-6`"):
        fw.load(path, models={"openai/gpt-6": model, "openai/gpt-5-mini": model})


def test_mistakes_in_a_file_name_their_line(file):
    for text, words in [
        ("steps:\n  a: { prompt: 'Hello {{ nam }}' }\n", "nam"),
        ("steps: 7\n", "steps"),
    ]:
        with pytest.raises(fw.ConfigError, match=words) as caught:
            fw.load(file(text), model="sim/echo")
        assert "greet.yaml:" in str(caught.value)
    with pytest.raises(fw.ConfigError, match="no model is named"):
        fw.load(file())
    with pytest.raises(fw.ConfigError, match="nowhere"):
        fw.load("nowhere.yaml")


def test_the_concurrency_and_the_budget_of_a_file_apply(file, provider, monkeypatch):
    for name, value in provider.env.items():
        monkeypatch.setenv(name, value)
    step = "prompt: 'item {{ item }}', for_each: '{{ numbers }}'"
    text = (
        f"model: openai/gpt-4o-mini\ninputs: {{ numbers: [1, 2, 3, 4, 5, 6] }}\nsteps:\n  a: {{ {step} }}\n"
    )
    assert len(fw.load(file(f"limits: {{ concurrency: 2 }}\n{text}")).invoke({})) == 6
    assert provider.most_at_once <= 2
    poor = fw.load(file(f"limits: {{ budget_usd: 0.0000001 }}\n{text}"))
    with pytest.raises(fw.Error, match="budget"):
        poor.invoke({})
