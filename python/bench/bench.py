"""CPU time of this process for each call, each row of a batch and each piece of a stream.

    python python/bench/bench.py MODE N CONCURRENCY URL

MODE is `call`, `batch` or `stream`; URL is the base URL of a server that speaks OpenAI's dialect, in another process,
such as `fanweave sim`. Build the module with `--release` first.
"""

import asyncio
import resource
import sys
import time

import fanweave as fw


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def calls(model: fw.Model, n: int, concurrency: int) -> int:
    permits = asyncio.Semaphore(concurrency)

    async def one(i: int) -> None:
        async with permits:
            assert (await model.ainvoke(f"item {i:06d} please echo")).text

    await asyncio.gather(*(one(i) for i in range(n)))
    return n


async def batch(model: fw.Model, n: int, concurrency: int) -> int:
    answers = await model.abatch([f"item {i:06d} please echo" for i in range(n)], concurrency=concurrency)
    assert all(answer.text for answer in answers)
    return n


async def stream(model: fw.Model, n: int, concurrency: int) -> int:
    permits = asyncio.Semaphore(concurrency)
    chain = model | fw.text()
    pieces = 0

    async def one(i: int) -> None:
        nonlocal pieces
        async with permits:
            async for _ in chain.astream(f"item {i:06d} please echo"):
                pieces += 1

    await asyncio.gather(*(one(i) for i in range(n)))
    return pieces


async def main() -> None:
    mode, n, concurrency, url = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    run = {"call": calls, "batch": batch, "stream": stream}[mode]
    model = fw.model("openai/gpt-4o-mini", base_url=url, api_key="test")
    await run(model, 20, concurrency)
    began, started = cpu(), time.perf_counter()
    units = await run(model, n, concurrency)
    used, took = cpu() - began, time.perf_counter() - started
    print(f"{mode} {concurrency}: {used / units * 1e6:.1f} us of CPU time each, {units} in {took:.2f} s")


asyncio.run(main())
