"""Functions as calls."""

import asyncio
import dataclasses
import pickle

import pytest

import fanweave as fw
from fanweave.testing import echo, script, tool_call


@dataclasses.dataclass
class Book:
    title: str
    year: int


@fw.call(model="sim/echo", temperature=0.5)
def recommend(genre: str, /, mood: str = "calm") -> str:
    """Recommends a book."""
    return f"a {mood} {genre} book"


def test_a_function_returns_the_prompt_and_its_call_the_answer():
    answer = recommend("fantasy", mood="dark")
    assert isinstance(answer, fw.Response)
    assert isinstance(answer, fw.Message)
    assert "a dark fantasy book" in answer.content
    assert answer.latency > 0
    assert answer.tools == []
    assert answer.tool is None
    assert recommend.__name__ == "recommend"
    assert recommend.__doc__ == "Recommends a book."


async def test_an_async_function_is_awaited():
    @fw.call(model=echo())
    async def ask(x):
        await asyncio.sleep(0)
        return [("system", "Be brief."), ("user", x)]

    assert (await ask("hello")).content == "hello"
    assert await asyncio.gather(*(ask(str(i)) for i in range(20))) == await ask.batch(
        [str(i) for i in range(20)]
    )


def test_a_response_type_makes_values():
    model = script('{"title": "Emma", "year": 1815}')

    @fw.call(model=model, response=Book)
    def ask():
        return "A book?"

    assert ask() == Book("Emma", 1815)


async def test_tools_of_a_call_are_run_or_returned():
    def author(title: str) -> str:
        """The author of a book."""
        return "Austen"

    @fw.call(model=script(tool_call("author", title="Emma")), tools=[author])
    def once():
        return "Who wrote Emma?"

    answer = once()
    assert answer.tool.arguments == {"title": "Emma"}
    assert answer.tool.call() == "Austen"
    assert [use.name for use in answer.tools] == ["author"]

    @fw.call(
        model=script(tool_call("author", title="Emma"), '{"title": "Emma", "year": 1815}'),
        tools=[author],
        run_tools=3,
        response=Book,
    )
    async def loop():
        return "Who wrote Emma?"

    assert await loop() == Book("Emma", 1815)
    with pytest.raises(fw.ConfigError, match="run_tools"):
        fw.call(model="sim/echo", tools=[author], response=Book)


def test_a_config_chooses_model_tools_and_parameters_for_one_call():
    first, second = script("one"), script("two", tool_call("shout", x="a"))

    def shout(x: str) -> str:
        return x.upper()

    @fw.call(model=first, temperature=0.1)
    def ask(how):
        if how == "tools":
            return {"messages": "x", "model": second, "tools": [shout], "parameters": {"seed": 7}}
        return {"messages": [("user", how)], "model": second if how == "second" else first}

    assert ask("first").content == "one"
    assert ask("second").content == "two"
    assert ask("tools").tool.call() == "A"
    with pytest.raises(fw.ConfigError, match="`msgs` is not an entry"):
        fw.call(model=first)(lambda: {"msgs": "x"})()
    with pytest.raises(fw.ConfigError, match="needs `messages`"):
        fw.call(model=first)(lambda: {"model": first})()
    with pytest.raises(fw.ConfigError, match="must return a prompt"):
        fw.call(model=first)(lambda: None)()


def test_parameters_reach_the_prompt_and_those_of_the_call_win(provider, at):
    model = at(provider, temperature=0.9)

    @fw.call(model=model, max_tokens=1)
    def ask(n=None):
        return {"messages": "hello there", "parameters": {"max_tokens": n}}

    assert ask().usage.output_tokens <= 1
    assert ask(3).usage.output_tokens > 1
    assert ask.bind(max_tokens=2)().usage.output_tokens == 2
    with pytest.raises(fw.ConfigError, match="did you mean `temperature`"):
        fw.call(model=model, temprature=1)


def test_bind_takes_another_model():
    @fw.call(model=script("one"))
    def ask():
        return "x"

    assert ask.bind(model=script("two"))().content == "two"


def test_a_fallback_answers_when_the_model_fails():
    @fw.call(model=script(fw.BadRequestError("no")), fallback=[script("yes")])
    def ask():
        return "x"

    assert ask().content == "yes"


async def test_a_stream_of_a_call_has_pieces_and_an_output():
    @fw.call(model=echo())
    def ask(x):
        return x

    with ask.stream("one two three") as stream:
        assert "".join(piece.text for piece in stream) == "one two three"
        assert isinstance(stream.output(), fw.Response)

    @fw.call(model=script('{"title": "Emma", "year": 1815}'), response=Book)
    async def book():
        await asyncio.sleep(0)
        return "?"

    stream = book.stream()
    values = [value async for value in stream]
    assert values[-1] == {"title": "Emma", "year": 1815}
    assert await stream.output() == Book("Emma", 1815)


async def test_rows_of_a_batch_have_their_own_errors_and_arguments():
    @fw.call(model=echo())
    def ask(a, b="-"):
        if a == "bad":
            raise KeyError(a)
        return f"{a}{b}"

    answers = ask.batch([("x", "y"), {"a": "z"}, "w", "bad"], errors="return")
    assert [str(each) for each in answers[:3]] == ["xy", "z-", "w-"]
    assert isinstance(answers[0], fw.Response)
    assert isinstance(answers[3], KeyError)
    with pytest.raises(fw.BatchError):
        ask.batch(["bad"])


async def test_a_call_is_a_step_of_chains_also_with_a_model_of_one_call():
    second = echo()

    @fw.call(model="sim/writer")
    async def ask(genre):
        return {"messages": f"a {genre} book", "model": second}

    chain = ask.chain() | fw.text() | str.upper
    assert await chain.ainvoke({"genre": "good"}) == "A GOOD BOOK"
    assert await chain.abatch(["new", "old"]) == ["A NEW BOOK", "A OLD BOOK"]


class Library:
    def __init__(self, name):
        self.name = name

    @fw.call(model=echo())
    def ask(self, x):
        return f"{self.name} {x}"


def test_a_method_is_a_call():
    assert Library("city").ask("books").content == "city books"


def test_calls_and_responses_can_be_pickled():
    assert pickle.loads(pickle.dumps(recommend)) is recommend
    answer = recommend("fantasy")
    again = pickle.loads(pickle.dumps(answer))
    assert again == answer
    assert type(again) is fw.Response


def test_a_call_has_a_price_if_that_of_its_model_is_known(provider, at):
    @fw.call(model=at(provider))
    def ask():
        return "hello"

    answer = ask()
    assert answer.cost_usd is None or answer.cost_usd > 0


async def test_cancelling_a_call_closes_its_socket(slow, at):
    @fw.call(model=at(slow))
    async def ask():
        return "hello"

    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(ask(), 0.2)


def test_a_call_has_a_timeout(slow, at):
    @fw.call(model=at(slow), timeout=0.2)
    def ask():
        return "hello"

    with pytest.raises(fw.TimeoutError):
        ask()


def test_a_client_is_that_of_all_models_of_the_decorator_or_of_one_call(recorder):
    answer = b'{"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}'
    recorder.answer = lambda body: answer
    model = fw.model("openai/m", base_url=recorder.url, api_key="any")

    @fw.call(model=model, client=fw.Client(headers={"x-team": "search"}))
    def ask(how):
        own = {"client": fw.Client(headers={"x-team": "books"})} if how == "own" else {}
        return {"messages": how, **own}

    for how in ("first", "own", "second"):
        assert ask(how).content == "hi"
    assert ask.bind(max_tokens=1)("bound").content == "hi"
    seen = [{name.lower(): value for name, value in headers.items()} for _, _, headers, _ in recorder.seen]
    assert [headers["x-team"] for headers in seen] == ["search", "books", "search", "search"]


def test_a_client_of_a_wrong_type_is_refused_where_it_is_written():
    with pytest.raises(fw.ConfigError, match=r"client must be a fanweave\.Client, got str"):
        fw.call(model="sim/echo", client="a pool")
    with pytest.raises(fw.ConfigError, match="it takes no client"):
        fw.call(model=echo(), client=fw.Client())(lambda: "x")()
