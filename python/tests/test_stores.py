"""Vector stores: in memory and in files, searches and filters, retrievers as steps."""

import asyncio
import os
import pickle

import pytest

import fanweave as fw

FACTS = ["Tides follow the moon.", "Bears sleep in winter.", "Comets have two tails."]


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path) -> fw.Store:
    if request.param == "memory":
        return fw.memory_store("sim/words")
    return fw.sqlite_store(tmp_path / "notes.db", fw.embedder("sim/words"))


def texts(hits) -> list[str]:
    return [hit.document.text for hit in hits]


def test_documents_are_added_found_and_deleted(store):
    ids = store.add([FACTS[0], {"text": FACTS[1], "metadata": {"page": 3}}, fw.Document(FACTS[2])])
    assert len(set(ids)) == store.count() == 3
    (hit,) = store.search("When do bears sleep?", limit=1)
    assert (hit.document.text, hit.document.metadata, hit.id) == (FACTS[1], {"page": 3}, ids[1])
    assert 0 < hit.score <= 1
    store.delete([ids[1], "unknown"])
    assert store.count() == 2
    assert FACTS[1] not in texts(store.search("When do bears sleep?"))


async def test_the_same_awaited(store):
    ids = await store.aadd(FACTS)
    assert await store.acount() == 3
    assert texts(await store.asearch("tails of comets", limit=1)) == [FACTS[2]]
    vector = await store.embedder.aembed_one("tails of comets")
    assert texts(await store.asearch_vector(vector, limit=1)) == [FACTS[2]]
    await store.adelete(ids)
    assert await store.acount() == 0


def test_a_document_is_stored_once_and_an_id_is_replaced(store):
    store.add(FACTS)
    store.add(FACTS[:1])
    assert store.count() == 3
    assert store.add(["first"], ids=["x"]) == ["x"]
    store.add(["second"], ids=["x"])
    assert store.count() == 4
    assert texts(store.search("second", limit=1)) == ["second"]


def test_vectors_may_be_given(store):
    store.add(["north", "east"], vectors=[[0.0, 1.0], [1.0, 0.0]], ids=["n", "e"])
    assert texts(store.search_vector([0.9, 0.1], limit=1)) == ["east"]
    for extra in ({"ids": ["a"]}, {"vectors": [[1.0, 0.0]]}):
        with pytest.raises(fw.InputError, match="2 documents need as many"):
            store.add(["a", "b"], **extra)


FILTERS = [
    ({"page": 1}, "1"),
    ({"page": {"$ne": 1}}, "23"),
    ({"page": {"$gte": 2}}, "23"),
    ({"page": {"$gt": 1, "$lt": 3}}, "2"),
    ({"page": {"$in": [1, 3]}}, "13"),
    ({"page": {"$nin": [1, 3]}}, "2"),
    ({"$or": [{"page": 1}, {"page": {"$lte": 2}, "lang": "en"}]}, "12"),
    ({"$and": [{"page": {"$gte": 1}}, {"lang": "en"}]}, "2"),
    ({"lang": "en", "page": 1}, ""),
]


@pytest.mark.parametrize(("filter", "pages"), FILTERS)
def test_filters(store, filter, pages):
    languages = {1: "de", 2: "en", 3: "fr"}
    store.add([fw.Document("tides", {"page": n, "lang": lang}) for n, lang in languages.items()])
    found = store.search("tides", filter=filter)
    assert "".join(sorted(str(hit.document.metadata["page"]) for hit in found)) == pages
    kept = store.retriever(filter=filter).invoke("tides")
    assert "".join(sorted(str(document.metadata["page"]) for document in kept)) == pages


def test_invalid_searches_are_errors():
    store = fw.memory_store("sim/words")
    for settings, words in [
        ({"filter": {"page": {"$near": 1}}}, r"no operator `\$near`"),
        ({"filter": {"$not": []}}, r"no operator `\$not`"),
        ({"filter": {"page": {"$in": 1}}}, "needs a list"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"diverse": (4, 1.5)}, "relevance must be from 0 to 1"),
    ]:
        with pytest.raises(fw.ConfigError, match=words):
            store.search("x", **settings)
    with pytest.raises(fw.InputError, match="expected a document"):
        store.add([7])


def test_thresholds_and_diversity():
    store = fw.memory_store("sim/words")
    near = ["tides turn twice", "tides turn twice daily", "tides follow moon", "bears sleep"]
    store.add(near)
    assert texts(store.search("tides turn twice moon", limit=2)) == near[:2]
    assert texts(store.search("tides turn twice moon", limit=2, diverse=(4, 0.5))) == [near[0], near[2]]
    assert texts(store.search("comets", threshold=0.5)) == []


def test_a_file_is_shared_with_other_processes(tmp_path, run_script):
    path = tmp_path / "notes.db"
    run_script(f"""
import fanweave as fw
fw.sqlite_store({str(path)!r}, "sim/words").add({FACTS!r})
""")
    assert texts(fw.sqlite_store(path, "sim/words").search("bears", limit=1)) == [FACTS[1]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_store_works_in_a_forked_child(tmp_path, run_script):
    run_script(f"""
import os, fanweave as fw
store = fw.sqlite_store({str(tmp_path / "notes.db")!r}, "sim/words")
memory = fw.memory_store("sim/words")
store.add({FACTS!r}); memory.add({FACTS!r}); store.search("bears")
pid = os.fork()
if pid == 0:
    assert store.search("bears", limit=1)[0].document.text == {FACTS[1]!r}
    assert memory.count() == 3
    store.add(["of the child"])
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert store.count() == 4
""")


def test_a_file_that_is_no_store_is_an_error(tmp_path):
    path = tmp_path / "other.db"
    path.write_text("not a database, but long enough to be read as the header of one" * 9)
    with pytest.raises(fw.ConfigError, match=r"other\.db"):
        fw.sqlite_store(path, "sim/words")


async def test_a_retriever_is_a_step(store):
    await store.aadd(FACTS)
    sources = store.retriever(limit=1) | (lambda documents: documents[0].text)
    assert await sources.ainvoke("When do bears sleep?") == FACTS[1]
    prompt = fw.parallel(found=store.retriever(limit=1), question=fw.passthrough()) | fw.prompt(
        "{{ found[0].text }} {{ question }}"
    )
    assert "Bears sleep in winter. bears?" in (await prompt.ainvoke("bears?")).messages[0].text


async def test_a_store_with_an_embedder_in_python():
    async def lengths(texts):
        await asyncio.sleep(0)
        return [[float(len(text)), 1.0] for text in texts]

    store = fw.memory_store(fw.embedder(lengths))
    await store.aadd(["a", "bbbbbbbb"])
    assert texts(await store.asearch("ccccccc", limit=1)) == ["bbbbbbbb"]
    assert [each.text for each in await store.retriever(limit=1).ainvoke("c")] == ["a"]
    assert texts(await asyncio.to_thread(store.search, "c", limit=1)) == ["a"]


def test_documents_are_values():
    document = fw.Document("text", {"source": "a.md", "n": [1, 2]})
    assert document == pickle.loads(pickle.dumps(document)) != fw.Document("text")
    assert (document.text, document.metadata) == ("text", {"source": "a.md", "n": [1, 2]})
    assert fw.passthrough().invoke(document) == document
    assert fw.passthrough().invoke({"d": [document]})["d"] == [document]
