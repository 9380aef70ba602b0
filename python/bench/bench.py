"""CPU time of this process for each call, each row of a batch and each piece of a stream, with one client.

    python python/bench/bench.py CLIENT MODE N CONCURRENCY URL

CLIENT is `fanweave`, `openai`, `langchain` or `asyncio`, which makes no call. MODE is `call`, `gather` (all at once), `batch`,
`frame` (a data frame of pandas), `journal` (the same with a journal on disk), `stream` or `memory`. URL is the base URL of a
server that speaks OpenAI's dialect in another process, such as `fanweave sim`. Prints a line of JSON. `compare.py` runs all of
them, interleaved.
"""

import asyncio
import json
import resource
import sys
import tempfile
import time

CLIENT, MODE, N, CONCURRENCY, URL = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident() -> float:
    """The memory of this process in MiB."""
    with open("/proc/self/statm") as sizes:
        return int(sizes.read().split()[1]) * resource.getpagesize() / 2**20


def question(i: int) -> str:
    text = f"item {i:06d} please echo"
    # An answer of about 200 pieces: what a piece costs, not what a call costs.
    return text + " again" * 200 if MODE == "stream" else text


began = time.perf_counter(), cpu()

if CLIENT == "fanweave":
    import fanweave as fw

    model = fw.model("openai/echo", base_url=URL, api_key="test")
    chain = model | fw.text()

    async def call(i: int) -> str:
        return (await model.ainvoke(question(i))).text

    async def stream(i: int) -> list[str]:
        return [piece async for piece in chain.astream(question(i))]

    async def batch() -> list[str]:
        return [
            answer.text for answer in await model.abatch(map(question, range(N)), concurrency=CONCURRENCY)
        ]

    async def frame(journal: str | None = None) -> list[str]:
        settings = {"concurrency": CONCURRENCY, "journal": journal, "max_tokens": 64}
        done = await fw.abatch(TABLE, model=model, prompt="{{ question }}", progress=False, **settings)
        assert len(done.columns) == 8
        assert not done["error"].notna().any()
        return done["answer"].tolist()

    if MODE in ("frame", "journal"):
        import pandas as pd

        TABLE = pd.DataFrame({"question": map(question, range(N)), "number": range(N)})

elif CLIENT == "openai":
    from openai import AsyncOpenAI

    # Its time for a connection, 5 s, is too short for 1,000 at once on a busy machine.
    client = AsyncOpenAI(base_url=URL, api_key="test", timeout=120)

    async def ask(i: int, **settings):
        messages = [{"role": "user", "content": question(i)}]
        return await client.chat.completions.create(model="echo", messages=messages, **settings)

    async def call(i: int) -> str:
        return (await ask(i)).choices[0].message.content

    async def stream(i: int) -> list[str]:
        chunks = await ask(i, stream=True)
        return [c.choices[0].delta.content async for c in chunks if c.choices and c.choices[0].delta.content]

elif CLIENT == "langchain":
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(model="echo", base_url=URL, api_key="test", timeout=120)

    async def call(i: int) -> str:
        return (await chat.ainvoke(question(i))).content

    async def stream(i: int) -> list[str]:
        return [chunk.content async for chunk in chat.astream(question(i)) if chunk.content]

else:

    async def call(i: int) -> str:
        # The cost of asyncio itself: a future that the loop settles.
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, question(i))
        return await future


imported = time.perf_counter() - began[0], cpu() - began[1]


async def run(n: int) -> tuple[list, int]:
    """The answers and the number of units."""
    permits = asyncio.Semaphore(CONCURRENCY)

    async def one(i: int):
        async with permits:
            return await (stream(i) if MODE == "stream" else call(i))

    if MODE == "batch":
        answers = await batch()
    elif MODE == "frame":
        answers = await frame()
    elif MODE == "journal":
        with tempfile.TemporaryDirectory() as folder:
            answers = await frame(f"{folder}/journal")
    elif MODE == "gather":
        answers = await asyncio.gather(*(call(i) for i in range(n)))
    else:
        answers = await asyncio.gather(*(one(i) for i in range(n)))
    return answers, sum(map(len, answers)) if MODE == "stream" else n


async def main() -> None:
    for i in range(20):
        await call(i)
    before = 0.0
    if MODE == "memory":
        # In parts, so that it is not the memory of so many tasks at once.
        await run(1000)
        before = resident()
        for _ in range(N // 1000 - 1):
            await run(1000)
    used, started = cpu(), time.perf_counter()
    answers, units = await run(1000 if MODE == "memory" else N)
    used, took = cpu() - used, time.perf_counter() - started
    texts = ["".join(answer) for answer in answers] if MODE == "stream" else answers
    wrong = sum(question(i) not in text for i, text in enumerate(texts))
    assert wrong == 0, f"{wrong} answers are wrong"
    result = {
        "us": round(used / units * 1e6, 1),
        "wall": round(took, 3),
        "units": units,
        "import_ms": round(imported[0] * 1e3, 1),
    }
    if MODE == "memory":
        del answers, texts
        result["grown_mib"] = round(resident() - before, 1)
    print(json.dumps(result))


asyncio.run(main())
