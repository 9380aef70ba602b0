"""`fanweave.langchain`: runnables, prompts, models and chains with the interface of LangChain."""

import asyncio
import threading

import pytest
from conftest import eventually

import fanweave as fw
from fanweave.langchain.chat_models import ChatAnthropic, ChatModel, ChatOpenAI, init_chat_model
from fanweave.langchain.llms import Anthropic, OpenAI, PromptLayerOpenAI
from fanweave.langchain.output_parsers import (
    CommaSeparatedListOutputParser,
    JsonOutputParser,
    PydanticOutputParser,
    StrOutputParser,
    partial_json,
)
from fanweave.langchain.prompts import (
    ChatPromptTemplate,
    FewShotPromptTemplate,
    MessagesPlaceholder,
    PromptTemplate,
)
from fanweave.langchain.runnables import (
    RunnableBranch,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
    chain,
)
from fanweave.langchain.schema import (
    AIMessage,
    HumanMessage,
    OutputParserException,
    SystemMessage,
    ToolMessage,
)
from fanweave.testing import sim


@pytest.fixture
def environment(provider, monkeypatch):
    for name, value in provider.env.items():
        monkeypatch.setenv(name, value)
    return provider


@pytest.fixture
def waits(monkeypatch):
    """A provider that needs 0.1 s for an answer."""
    with sim(latency=0.1) as started:
        for name, value in started.env.items():
            monkeypatch.setenv(name, value)
        yield started


# -- runnables -----------------------------------------------------------------------------------------------


def add(x):
    return x + 1


async def double(x):
    await asyncio.sleep(0)
    return x * 2


def test_steps_are_put_in_a_sequence():
    steps = RunnableLambda(add) | double | (lambda x: {"x": x})
    assert steps.invoke(1) == {"x": 4}
    assert steps.batch([1, 2]) == [{"x": 4}, {"x": 6}]


async def test_verbs_work_within_a_running_loop():
    steps = RunnableLambda(add) | double
    assert steps.invoke(1) == await steps.ainvoke(1) == 4
    assert [piece async for piece in steps.astream(1)] == list(steps.stream(1)) == [4]


def test_a_dict_of_steps_runs_at_once():
    started = []

    async def after_both_have_started(x):
        started.append(x)
        while len(started) < 2:
            await asyncio.sleep(0.001)
        return x

    steps = RunnableParallel(a=after_both_have_started, b=after_both_have_started, c=RunnablePassthrough())
    outputs = steps.invoke(1)
    assert outputs == {"a": 1, "b": 1, "c": 1}
    assert list(outputs) == ["a", "b", "c"]


def test_functions_run_on_threads_and_see_context_variables():
    import contextvars

    name = contextvars.ContextVar("name")
    name.set("bear")
    seen = []
    RunnableLambda(lambda x: seen.append((name.get(), threading.current_thread()))).invoke(1)
    assert seen[0][0] == "bear"
    assert seen[0][1] is not threading.main_thread()


def test_an_exception_is_that_of_the_step():
    error = KeyError("mine")

    def fail(x):
        raise error

    with pytest.raises(KeyError) as caught:
        (RunnableLambda(add) | fail).invoke(1)
    assert caught.value is error


def test_exceptions_of_a_batch_are_returned_or_raised():
    def fail(x):
        if x == 2:
            raise ValueError(x)
        return x

    step = RunnableLambda(fail)
    results = step.batch([1, 2, 3], return_exceptions=True)
    assert (results[0], results[2]) == (1, 3)
    assert isinstance(results[1], ValueError)
    with pytest.raises(ValueError, match="2"):
        step.batch([1, 2, 3])


async def test_rows_come_as_they_end():
    async def wait(x):
        await asyncio.sleep(x)
        return x

    pairs = [pair async for pair in RunnableLambda(wait).abatch_as_completed([0.1, 0.0])]
    assert pairs == [(1, 0.0), (0, 0.1)]
    assert sorted(RunnableLambda(wait).batch_as_completed([0.02, 0.01])) == [(0, 0.02), (1, 0.01)]


def test_branches_assignments_and_picks():
    sign = RunnableBranch(
        (lambda x: x < 0, lambda x: "minus"), (lambda x: x > 0, lambda x: "plus"), lambda x: "zero"
    )
    assert sign.batch([-1, 1, 0]) == ["minus", "plus", "zero"]
    assigned = RunnablePassthrough.assign(y=lambda values: values["x"] + 1)
    assert assigned.invoke({"x": 1}) == {"x": 1, "y": 2}
    assert assigned.pick("y").invoke({"x": 1}) == 2
    assert RunnableLambda(add).map().invoke([1, 2]) == [2, 3]


def test_retries_and_fallbacks():
    tries = []

    def flaky(x):
        tries.append(x)
        if len(tries) < 3:
            raise ConnectionError
        return x

    again = RunnableLambda(flaky).with_retry(wait_exponential_jitter=False)
    assert again.invoke(7) == 7
    assert len(tries) == 3

    def fail(x):
        raise ValueError("never")

    assert RunnableLambda(fail).with_fallbacks([RunnableLambda(add)]).invoke(1) == 2
    with pytest.raises(ValueError, match="never"):
        RunnableLambda(fail).with_fallbacks([RunnableLambda(add)], exceptions_to_handle=(KeyError,)).invoke(1)


def test_a_decorated_function_may_use_the_config_and_return_a_runnable():
    @chain
    def choose(x, config):
        return RunnableLambda(add) if config["configurable"]["up"] else x

    assert choose.invoke(1, {"configurable": {"up": True}}) == 2
    assert choose.with_config(configurable={"up": False}).invoke(1) == 1


def test_generators_are_steps():
    def pieces(inputs):
        for each in inputs:
            yield from each.split()

    assert list((RunnableLambda(lambda x: x) | pieces).stream("a b c")) == ["a", "b", "c"]
    assert (RunnableLambda(lambda x: x) | pieces).invoke("a b c") == "abc"


def test_settings_that_are_not_supported_are_refused():
    with pytest.raises(fw.ConfigError, match="concurrency"):
        RunnableLambda(add).invoke(1, {"concurrency": 2})
    with pytest.raises(fw.ConfigError, match="callbacks"):
        RunnableLambda(add).invoke(1, {"callbacks": [object()]})
    with pytest.raises(fw.ConfigError, match="max_concurrency"):
        RunnableLambda(add).batch([1], {"max_concurrency": 0})


def test_max_concurrency_counts_calls_however_deep_they_are(waits):
    llm = OpenAI()
    both = RunnableParallel(a=llm, b=llm | (lambda text: text) | llm)
    both.batch(["x"] * 6, {"max_concurrency": 3})
    assert waits.requests == 18
    assert 2 <= waits.most_at_once <= 3


def test_max_concurrency_holds_for_runs_of_functions(waits):
    llm = OpenAI()

    def ask(x):
        return llm.batch(["a", "b", "c"])

    async def aask(x):
        return await llm.abatch(["a", "b", "c"])

    RunnableParallel(a=ask, b=aask).batch([1, 2], {"max_concurrency": 2})
    assert waits.requests == 12
    assert waits.most_at_once == 2


# -- prompts and parsers ---------------------------------------------------------------------------------------


def test_prompts_are_filled():
    prompt = PromptTemplate(input_variables=["product"], template="A name for {product}, {{now}}.")
    assert prompt.format(product="tea") == "A name for tea, {now}."
    assert prompt.invoke("tea").to_string() == "A name for tea, {now}."
    assert PromptTemplate.from_template("{a} {b}").partial(a=lambda: 1).format(b=2) == "1 2"
    jinja = PromptTemplate.from_template("{% for x in xs %}{{ x }},{% endfor %}", template_format="jinja2")
    assert jinja.format(xs=[1, 2]) == "1,2,"
    assert (PromptTemplate.from_template("a{x}") + "b{y}").input_variables == ["x", "y"]


def test_a_missing_variable_is_an_error_before_any_call(environment):
    steps = PromptTemplate.from_template("A name for {product}.") | OpenAI()
    with pytest.raises(fw.InputError, match="`product`"):
        steps.invoke({"prodct": "tea"})
    assert environment.requests == 0


@pytest.mark.parametrize("template", ["{a.b}", "{a[0]}", "{}", "{0}", "{a!r}", "{a:>10}", "{", "}"])
def test_templates_have_names_only(template):
    with pytest.raises(fw.ConfigError):
        PromptTemplate.from_template(template)


def test_chat_prompts_have_messages():
    prompt = ChatPromptTemplate.from_messages(
        [
            ("system", "You are {role}."),
            MessagesPlaceholder("history", optional=True),
            SystemMessage("{kept}"),
            (
                "human",
                [
                    {"type": "text", "text": "Look at {thing}"},
                    {"type": "image_url", "image_url": {"url": "{url}"}},
                ],
            ),
        ]
    )
    assert prompt.input_variables == ["role", "thing", "url"]
    history = [("human", "hi"), AIMessage("ho")]
    messages = prompt.format_messages(role="a bear", thing="this", url="http://x/y.png", history=history)
    assert [message.type for message in messages] == ["system", "human", "ai", "system", "human"]
    assert messages[3].content == "{kept}"
    assert messages[4].content[1] == {"type": "image_url", "image_url": {"url": "http://x/y.png"}}


def test_examples_are_part_of_a_prompt():
    prompt = FewShotPromptTemplate(
        examples=[{"q": "1+1", "a": "2"}],
        example_prompt=PromptTemplate.from_template("{q} = {a}"),
        prefix="Sums:",
        suffix="{question} =",
        input_variables=["question"],
    )
    assert prompt.format(question="2+2") == "Sums:\n\n1+1 = 2\n\n2+2 ="


def test_parsers_read_answers():
    assert CommaSeparatedListOutputParser().invoke("a, b,c") == ["a", "b", "c"]
    assert JsonOutputParser().invoke('Here:\n```json\n{"a": [1]}\n```') == {"a": [1]}
    assert StrOutputParser().invoke(AIMessage("x")) == "x"
    with pytest.raises(OutputParserException) as caught:
        JsonOutputParser().invoke("none")
    assert caught.value.llm_output == "none"


def test_json_is_read_while_it_arrives():
    text = '{"a": "x\\"y", "b": [1, {"c": null}], "d": 12}'
    values = [partial_json(text[:end]) for end in range(1, len(text) + 1)]
    assert values[0] == {}
    assert {"a": "x"} in values
    assert {"a": 'x"y', "b": [1, {}]} in values
    assert values[-1] == {"a": 'x"y', "b": [1, {"c": None}], "d": 12}
    whole = {"a": 'x"y', "b": [1, {"c": None}], "d": 12}
    assert list((RunnableLambda(lambda x: x) | JsonOutputParser()).stream(text)) == [whole]


# -- models ----------------------------------------------------------------------------------------------------


def test_a_model_without_chat_takes_and_returns_texts(environment):
    llm = OpenAI(model="gpt-3.5-turbo-instruct", temperature=0.9)
    text = llm.invoke("Hello, how are you?")
    assert isinstance(text, str)
    assert "".join(llm.stream("Hello, how are you?")) == text
    assert llm.batch(["Hello, how are you?"] * 2) == [text, text]
    assert llm("Hello, how are you?") == llm.predict("Hello, how are you?") == text


async def test_generate_sends_several_prompts_in_a_request(environment):
    result = await OpenAI(batch_size=4).agenerate([f"Name {i}" for i in range(9)])
    assert environment.requests == 3
    assert len(result.generations) == 9
    assert result.generations[0][0].generation_info["finish_reason"] == "stop"
    assert result.llm_output["model_name"] == "gpt-3.5-turbo-instruct"
    usage = result.llm_output["token_usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_generate_returns_n_answers_to_each_prompt(environment):
    result = OpenAI(n=2, best_of=2).generate(["a", "b"])
    assert [len(answers) for answers in result.generations] == [2, 2]
    assert result.generations[0][0].text != result.generations[1][0].text


def test_answers_of_generate_are_in_the_order_of_the_prompts(environment):
    prompts = [f"Name {i}" for i in range(50)]
    together = OpenAI(batch_size=7).generate(prompts)
    alone = OpenAI().batch(prompts)
    assert [answers[0].text for answers in together.generations] == alone


def test_settings_of_langchain_are_understood(environment):
    llm = OpenAI(
        model_name="m",
        openai_api_key="k",
        openai_api_base=environment.url,
        request_timeout=5,
        max_retries=1,
        max_tokens=-1,
        model_kwargs={"logit_bias": {"1": 2}},
        verbose=True,
    )
    assert "max_tokens" not in llm.parameters
    assert llm.invoke("hi")
    with pytest.raises(fw.ConfigError, match="temprature"):
        OpenAI(temprature=1)
    with pytest.raises(fw.ConfigError, match="callbacks"):
        OpenAI(callbacks=[object()])
    assert PromptLayerOpenAI(pl_tags=["a"]).invoke("hi")
    with pytest.raises(fw.ConfigError, match="return_pl_id"):
        PromptLayerOpenAI(return_pl_id=True)


def test_a_chat_model_takes_messages_and_returns_one(environment):
    chat = ChatOpenAI(model="gpt-5-mini", temperature=0)
    answer = chat.invoke([SystemMessage("Be short."), HumanMessage("Hello, are you well?")])
    assert isinstance(answer, AIMessage)
    assert answer.content
    assert answer.usage_metadata["total_tokens"] > 0
    assert answer.response_metadata["finish_reason"] == "stop"
    assert chat.invoke("Hello").content == chat.invoke([("human", "Hello")]).content
    assert chat.predict("Hello") == chat([HumanMessage("Hello")]).content
    result = chat.generate([[HumanMessage("Hello")], [HumanMessage("Name a bear.")]])
    assert result.generations[0][0].message.content == result.generations[0][0].text


def test_the_chunks_of_a_chat_model_add_up(environment):
    chat = ChatOpenAI(model="gpt-5-mini")
    chunks = list(chat.stream("Hello"))
    total = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    whole = chat.invoke("Hello")
    assert total.content == whole.content
    assert total.usage_metadata == whole.usage_metadata
    assert total.response_metadata["finish_reason"] == "stop"


async def test_closing_a_stream_closes_its_connection(monkeypatch):
    with sim(chunk_delay=1) as provider:
        model = ChatOpenAI(model="gpt-5-mini", base_url=provider.url, api_key="k")
        pieces = (model | StrOutputParser()).astream("Hello")
        assert await anext(pieces)
        await pieces.aclose()
        for _ in model.stream("Hello"):
            break
        assert eventually(lambda: provider.stats["in_flight"] == 0)


def test_models_of_other_providers(provider):
    origin = provider.url.removesuffix("/v1")
    for chat in (
        ChatAnthropic(model="claude-sonnet-4-5", base_url=origin, api_key="k", max_tokens=50),
        ChatModel("vllm/bear-7b", base_url=provider.url),
        init_chat_model("openai:gpt-5-mini", base_url=provider.url, api_key="k"),
        init_chat_model("gpt-5-mini", base_url=provider.url, api_key="k"),
    ):
        assert chat.invoke("Hello").content, chat
    assert Anthropic(model="claude-sonnet-4-5", base_url=origin, api_key="k").invoke("Hello")


def weather(city: str) -> str:
    """The weather in a city."""
    return f"Rain in {city}."


def test_tools_are_called_and_answered(environment):
    chat = ChatOpenAI(model="gpt-5-mini").bind_tools([weather])
    question = HumanMessage("What is the weather in Bergen?")
    answer = chat.invoke([question])
    assert answer.tool_calls[0]["args"] == {"city": "Bergen"}
    result = ToolMessage(weather("Bergen"), answer.tool_calls[0]["id"])
    assert "Rain" in chat.invoke([question, answer, result]).content
    streamed = None
    for chunk in chat.stream([question]):
        streamed = chunk if streamed is None else streamed + chunk
    assert streamed.tool_call_chunks[0]["args"] == '{"city":"Bergen"}'


def test_schemas_of_tools_are_enforced_if_asked(environment):
    chat = ChatOpenAI(model="gpt-5-mini").bind_tools([weather], strict=True)
    [tool] = chat.kwargs["tools"]
    assert tool["function"]["strict"] is True
    assert tool["function"]["parameters"]["additionalProperties"] is False
    assert chat.invoke("What is the weather in Bergen?").tool_calls
    with pytest.raises(ValueError, match="anthropic"):
        ChatAnthropic(model="claude-sonnet-4-5", api_key="k").bind_tools([weather], strict=True).invoke("x")


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_answers_of_a_type(environment, method):
    pydantic = pytest.importorskip("pydantic")

    class Book(pydantic.BaseModel):
        title: str
        year: int

    chat = ChatOpenAI(model="gpt-5-mini")
    assert isinstance(chat.with_structured_output(Book, method=method).invoke("A book."), Book)
    raw = chat.with_structured_output(Book, method=method, include_raw=True).invoke("A book.")
    assert isinstance(raw["parsed"], Book)
    assert isinstance(raw["raw"], AIMessage)
    plain = chat.with_structured_output(Book.model_json_schema(), method=method).invoke("A book.")
    assert set(plain) == {"title", "year"}


def test_a_typed_answer_that_does_not_fit_is_an_error():
    pydantic = pytest.importorskip("pydantic")

    class Book(pydantic.BaseModel):
        title: str

    with pytest.raises(OutputParserException, match="title"):
        PydanticOutputParser(pydantic_object=Book).invoke('{"year": 1}')


def test_errors_are_those_of_fanweave(provider):
    chat = ChatOpenAI(model="gpt-5-mini", base_url=provider.url, api_key="k")
    with pytest.raises(fw.BadRequestError):
        chat.invoke([])
    with pytest.raises(fw.BadRequestError):
        OpenAI(base_url=provider.url, api_key="k").invoke("x", max_tokens=-5)
