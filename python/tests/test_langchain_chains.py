"""Chains, memories and stores of `fanweave.langchain`."""

import asyncio

import pytest

import fanweave as fw
from fanweave.langchain.chains import (
    ChatVectorDBChain,
    ConversationalRetrievalChain,
    ConversationChain,
    LLMChain,
    LLMMathChain,
    RetrievalQA,
    SequentialChain,
    SimpleSequentialChain,
    TransformChain,
    create_retrieval_chain,
)
from fanweave.langchain.chains.combine_documents import create_stuff_documents_chain
from fanweave.langchain.chains.question_answering import load_qa_chain
from fanweave.langchain.chains.summarize import load_summarize_chain
from fanweave.langchain.chat_models import ChatOpenAI
from fanweave.langchain.embeddings import Embeddings
from fanweave.langchain.llms import LLM, OpenAI
from fanweave.langchain.memory import ConversationBufferMemory, ConversationBufferWindowMemory
from fanweave.langchain.prompts import ChatPromptTemplate, PromptTemplate
from fanweave.langchain.schema import BaseRetriever, Document, Generation, LLMResult
from fanweave.langchain.vectorstores import FAISS, InMemoryVectorStore


class Scripted(LLM):
    """A model that answers with the results of a function, and keeps its prompts."""

    def __init__(self, answer):
        self.answer = answer
        self.prompts = []

    async def _generated(self, prompts, run, stop, kwargs):
        self.prompts.extend(prompts)
        await asyncio.sleep(0)
        return LLMResult([[Generation(self.answer(prompt))] for prompt in prompts])


class Letters(Embeddings):
    """Counts letters."""

    def embed_documents(self, texts):
        return [
            [float(text.lower().count(letter)) + 0.01 for letter in "abcdefghijklmnopqrstuvwxyz"]
            for text in texts
        ]


PAGES = ["bears eat fish and honey", "the moon is a rock", "zebras zigzag"]


@pytest.fixture
def environment(provider, monkeypatch):
    for name, value in provider.env.items():
        monkeypatch.setenv(name, value)
    return provider


def prompt(text):
    return PromptTemplate.from_template(text)


def test_all_verbs_of_a_chain_agree(environment):
    chain = LLMChain(
        llm=OpenAI(temperature=0.9), prompt=prompt("A good name for a company that makes {product}?")
    )
    name = chain.run(product="tea")
    assert name == chain.run("tea") == chain.predict(product="tea")
    assert chain("tea") == chain.invoke({"product": "tea"}) == {"product": "tea", "text": name}
    assert chain({"product": "tea"}, return_only_outputs=True) == {"text": name}
    assert chain.apply([{"product": "tea"}, {"product": "socks"}])[0] == {"text": name}
    assert chain.generate([{"product": "tea"}]).generations[0][0].text == name


async def test_all_awaited_verbs_of_a_chain_agree(environment):
    chain = LLMChain(
        llm=OpenAI(temperature=0.9), prompt=prompt("A good name for a company that makes {product}?")
    )
    name = await chain.arun(product="tea")
    assert name == await chain.apredict(product="tea") == (await chain.acall("tea"))["text"]
    assert (await chain.aapply([{"product": "tea"}]))[0]["text"] == name
    assert (await chain.agenerate([{"product": "tea"}])).generations[0][0].text == name
    assert (await chain.abatch([{"product": "tea"}]))[0]["text"] == name


def test_chat_models_and_chat_prompts_make_chains(environment):
    chat = LLMChain(
        llm=ChatOpenAI(model="gpt-5-mini"), prompt=ChatPromptTemplate.from_template("Hello {name}")
    )
    assert isinstance(chat.run("bear"), str)
    assert chat.generate([{"name": "bear"}]).generations[0][0].message.content == chat.run("bear")


def test_a_missing_input_is_an_error_before_any_call():
    llm = Scripted(str)
    with pytest.raises(fw.InputError, match="`product`"):
        LLMChain(llm=llm, prompt=prompt("{product}")).run(prodct="tea")
    assert llm.prompts == []


def test_chains_follow_one_another():
    llm = Scripted(lambda text: f"<{text}>")
    first = LLMChain(llm=llm, prompt=prompt("a {x}"), output_key="y")
    second = LLMChain(llm=llm, prompt=prompt("b {y} {x}"), output_key="z")
    both = SequentialChain(chains=[first, second], input_variables=["x"], output_variables=["y", "z"])
    assert both({"x": "1"}) == {"x": "1", "y": "<a 1>", "z": "<b <a 1> 1>"}
    simple = SimpleSequentialChain(chains=[first, LLMChain(llm=llm, prompt=prompt("c {q}"))])
    assert simple.run("1") == "<c <a 1>>"
    with pytest.raises(fw.ConfigError, match="`y`"):
        SequentialChain(chains=[second], input_variables=["x"])
    upper = TransformChain(
        input_variables=["x"], output_variables=["u"], transform=lambda inputs: {"u": inputs["x"].upper()}
    )
    assert upper.run("bear") == "BEAR"


def test_a_conversation_remembers():
    llm = Scripted(lambda text: f"answer {len(text)}")
    talk = ConversationChain(llm=llm)
    first = talk.run("Hello")
    talk.run(input="And now?")
    assert f"Human: Hello\nAI: {first}" in llm.prompts[1]
    window = ConversationBufferWindowMemory(k=1)
    window.save_context({"input": "a"}, {"response": "b"})
    window.save_context({"input": "c"}, {"response": "d"})
    assert window.load_memory_variables({}) == {"history": "Human: c\nAI: d"}
    kept = ConversationBufferMemory(memory_key="chat", return_messages=True)
    kept.save_context({"chat": [], "q": "a"}, {"r": "b"})
    assert [message.content for message in kept.load_memory_variables({})["chat"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("```\n37593 * 67\n```", "2518731"),
        ("Answer: 42", "42"),
        ("```text\n2**100\n```", str(2**100)),
        ("1/4", "0.25"),
    ],
)
def test_arithmetic_is_exact(answer, value):
    math = LLMMathChain.from_llm(Scripted(lambda _: answer))
    assert math.run("How much?") == f"Answer: {value}"
    assert math({"question": "How much?"}) == {"question": "How much?", "answer": f"Answer: {value}"}


async def test_arithmetic_runs_no_code():
    math = LLMMathChain(llm=Scripted(lambda _: "```\n__import__('os').getcwd()\n```"))
    with pytest.raises(fw.ParseError):
        await math.arun("How much?")


def documents():
    return [Document(page, {"n": i}) for i, page in enumerate(PAGES)]


def test_all_documents_go_in_one_prompt():
    llm = Scripted(lambda _: "fish")
    qa = load_qa_chain(llm, chain_type="stuff")
    assert qa.run(input_documents=documents(), question="What do bears eat?") == "fish"
    assert "\n\n".join(PAGES) in llm.prompts[0]
    assert qa({"input_documents": [], "question": "?"}, return_only_outputs=True) == {"output_text": "fish"}


def test_each_document_has_its_prompt_before_one_for_all():
    llm = Scripted(lambda text: "part" if "Copy the parts" in text else "all")
    qa = load_qa_chain(llm, chain_type="map_reduce", return_intermediate_steps=True)
    found = qa({"input_documents": documents(), "question": "?"})
    assert found["output_text"] == "all"
    assert found["intermediate_steps"] == ["part"] * 3
    assert len(llm.prompts) == 4
    long = Scripted(lambda text: "p" * 4000 if "Copy the parts" in text else "short")
    many = load_qa_chain(long, chain_type="map_reduce", token_max=2500)
    assert many.run(input_documents=documents() * 2, question="?") == "short"
    assert len(long.prompts) == 6 + 3 + 1


def test_answers_are_refined_and_ranked():
    steps = Scripted(lambda text: f"v{text.count('v') + 1}")
    assert load_qa_chain(steps, chain_type="refine").run(input_documents=documents(), question="?")
    assert len(steps.prompts) == 3
    ranked = Scripted(lambda text: "honey\nScore: 90" if "bears" in text else "unknown\nScore: 0")
    assert load_qa_chain(ranked, "map_rerank").run(input_documents=documents(), question="?") == "honey"
    with pytest.raises(fw.ParseError, match="Score"):
        load_qa_chain(Scripted(lambda _: "x"), "map_rerank").run(input_documents=documents(), question="?")
    with pytest.raises(fw.ConfigError, match="stuf"):
        load_qa_chain(ranked, "stuf")
    assert load_summarize_chain(Scripted(lambda _: "sum"), "map_reduce").run(documents()) == "sum"


def test_stores_find_what_is_similar(tmp_path):
    store = FAISS.from_texts(PAGES, Letters(), metadatas=[{"n": i} for i in range(3)])
    assert store.similarity_search("zebra zigzag", k=1)[0].page_content == PAGES[2]
    document, score = store.similarity_search_with_score(PAGES[1], k=1)[0]
    assert document.page_content == PAGES[1]
    assert score == pytest.approx(1)
    assert [each.metadata["n"] for each in store.similarity_search("bears", k=3, filter={"n": 1})] == [1]
    assert len(store.max_marginal_relevance_search("bears", k=2)) == 2
    threshold = store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.999, "k": 3}
    )
    assert [each.page_content for each in threshold.invoke(PAGES[0])] == [PAGES[0]]
    store.save_local(tmp_path)
    loaded = FAISS.load_local(tmp_path, Letters())
    assert loaded.similarity_search("zebra zigzag", k=1)[0].page_content == PAGES[2]
    assert len(store) == 3
    with pytest.raises(ValueError, match="metadatas"):
        store.add_texts(["a"], [{}, {}])


async def test_answers_come_from_retrieved_documents():
    llm = Scripted(lambda text: "honey" if "bears" in text else "unknown")
    store = await InMemoryVectorStore.afrom_texts(PAGES, Letters())
    qa = RetrievalQA.from_chain_type(
        llm, retriever=store.as_retriever(search_kwargs={"k": 1}), return_source_documents=True
    )
    found = await qa.acall("bears honey fish")
    assert found["result"] == "honey"
    assert found["source_documents"][0].page_content == PAGES[0]
    assert RetrievalQA.from_llm(llm, retriever=store).run("bears honey fish") == "honey"


async def test_a_history_makes_a_question_of_its_own():
    llm = Scripted(lambda text: "bears honey" if "Follow-up" in text else "They eat honey.")
    store = InMemoryVectorStore.from_texts(PAGES, Letters())
    chain = ConversationalRetrievalChain.from_llm(llm, store, return_source_documents=True)
    first = await chain.acall({"question": "What do bears eat?", "chat_history": []})
    assert first["answer"] == "They eat honey."
    assert len(llm.prompts) == 1
    second = await chain.acall(
        {"question": "And else?", "chat_history": [("What do bears eat?", first["answer"])]}
    )
    assert "Human: What do bears eat?" in llm.prompts[1]
    assert second["source_documents"][0].page_content == PAGES[0]
    assert ChatVectorDBChain is ConversationalRetrievalChain


def test_retrievers_of_others_work():
    class Mine(BaseRetriever):
        def _get_relevant_documents(self, query):
            return [Document(f"about {query}")]

    class Foreign:
        def get_relevant_documents(self, query):
            return [Document(f"old {query}")]

    llm = Scripted(lambda text: text.split("\n\n")[1])
    assert RetrievalQA.from_chain_type(llm, retriever=Mine()).run("x") == "about x"
    assert RetrievalQA.from_chain_type(llm, retriever=Foreign()).run("x") == "old x"
    answers = create_stuff_documents_chain(llm, PromptTemplate.from_template("Read:\n\n{context}\n\n{input}"))
    assert create_retrieval_chain(Mine(), answers).invoke({"input": "x"})["answer"] == "about x"
