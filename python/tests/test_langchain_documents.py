"""`fanweave.langchain`: tools, histories, examples as messages, and modules that older programs import."""

import importlib

import pytest
from fanweave.langchain.runnables.history import RunnableWithMessageHistory

import fanweave as fw
from fanweave.langchain.chat_history import InMemoryChatMessageHistory
from fanweave.langchain.chat_models import ChatOpenAI
from fanweave.langchain.messages import AIMessage, HumanMessage, SystemMessage
from fanweave.langchain.output_parsers import StrOutputParser
from fanweave.langchain.prompts import (
    ChatPromptTemplate,
    FewShotChatMessagePromptTemplate,
    MessagesPlaceholder,
)
from fanweave.langchain.tools import StructuredTool, tool


@tool
def multiply(a: int, b: int) -> int:
    """Multiplies two numbers."""
    return a * b


def test_a_tool_runs_on_arguments_and_on_calls(provider):
    assert (multiply.name, multiply.description) == ("multiply", "Multiplies two numbers.")
    assert set(multiply.args) == {"a", "b"}
    assert multiply.invoke({"a": 3, "b": 4}) == 12
    call = {"type": "tool_call", "id": "c1", "name": "multiply", "args": {"a": 3, "b": 4}}
    message = multiply.invoke(call)
    assert (message.content, message.tool_call_id, message.name) == ("12", "c1", "multiply")
    with pytest.raises(fw.InputError, match="arguments of the tool `multiply` are invalid"):
        multiply.invoke({"a": "many", "b": 1})
    bound = ChatOpenAI(base_url=provider.url, api_key="x").bind_tools([multiply], tool_choice="any")
    assert bound.invoke("3 times 4?").tool_calls[0]["name"] == "multiply"


async def test_tools_are_made_of_functions_and_have_other_names():
    @tool("size_of", description="The size.")
    async def size(text: str) -> int:
        return len(text)

    assert (size.name, size.description) == ("size_of", "The size.")
    assert await size.ainvoke("abc") == 3
    assert StructuredTool.from_function(lambda text: text, name="same", description="d").name == "same"


@pytest.mark.parametrize("streams", [False, True])
def test_a_history_is_read_and_continued(provider, streams):
    histories = {}

    def history(session):
        return histories.setdefault(session, InMemoryChatMessageHistory())

    prompt = ChatPromptTemplate.from_messages(
        [("system", "You help."), MessagesPlaceholder("history"), ("human", "{question}")]
    )
    chain = prompt | ChatOpenAI(base_url=provider.url, api_key="x") | StrOutputParser()
    talk = RunnableWithMessageHistory(
        chain, history, input_messages_key="question", history_messages_key="history"
    )

    def ask(question, session):
        config = {"configurable": {"session_id": session}}
        if streams:
            return "".join(talk.stream({"question": question}, config))
        return talk.invoke({"question": question}, config)

    first = ask("I am Bob", "1")
    second = ask("Who am I?", "1")
    ask("Hello", "2")
    assert histories["1"].messages == [
        HumanMessage("I am Bob"),
        AIMessage(first),
        HumanMessage("Who am I?"),
        AIMessage(second),
    ]
    assert len(histories["2"].messages) == 2
    with pytest.raises(ValueError, match="name the conversation"):
        talk.invoke({"question": "?"})


def test_a_history_without_a_prompt_is_the_input(provider):
    kept = InMemoryChatMessageHistory([SystemMessage("You help.")])
    talk = RunnableWithMessageHistory(ChatOpenAI(base_url=provider.url, api_key="x"), lambda _: kept)
    answer = talk.invoke("Hello", {"configurable": {"session_id": "1"}})
    assert kept.messages[1:] == [HumanMessage("Hello"), answer]


def test_examples_are_messages_of_a_prompt():
    example = ChatPromptTemplate.from_messages([("human", "{input}"), ("ai", "{output}")])
    examples = FewShotChatMessagePromptTemplate(
        example_prompt=example, examples=[{"input": "2+2", "output": "4"}]
    )
    prompt = ChatPromptTemplate.from_messages([("system", "Add."), examples, ("human", "{input}")])
    assert prompt.input_variables == ["input"]
    assert prompt.format_messages(input="3+3") == [
        SystemMessage("Add."),
        HumanMessage("2+2"),
        AIMessage("4"),
        HumanMessage("3+3"),
    ]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("docstore.document", "Document"),
        ("embeddings.openai", "OpenAIEmbeddings"),
        ("vectorstores.faiss", "FAISS"),
        ("prompts.prompt", "PromptTemplate"),
        ("schema.messages", "HumanMessage"),
        ("schema.runnable", "RunnableLambda"),
        ("chains.summarize", "load_summarize_chain"),
    ],
)
def test_modules_of_older_programs_are_found(module, name):
    found = getattr(importlib.import_module(f"fanweave.langchain.{module}"), name)
    assert found.__module__.startswith("fanweave.langchain")


@pytest.mark.parametrize(
    ("module", "advice"),
    [
        ("callbacks", "ChatFanweave"),
        ("agents.agent_types", "ChatFanweave"),
        ("text_splitter", "langchain-text-splitters"),
        ("globals", r"cached\(\)"),
        ("unheard_of", r"docs/migrating\.md"),
    ],
)
def test_a_module_that_is_not_there_says_what_to_use(module, advice):
    with pytest.raises(ModuleNotFoundError, match=advice):
        importlib.import_module(f"fanweave.langchain.{module}")


def test_a_verb_that_is_not_there_says_what_to_use():
    model = ChatOpenAI(api_key="x")
    with pytest.raises(AttributeError, match="use `aevents`"):
        model.astream_events("x")
    with pytest.raises(AttributeError, match="no attribute `unheard_of`"):
        _ = model.unheard_of
