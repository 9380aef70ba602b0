import asyncio
import time

from fanweave.langchain.llms import OpenAI


def one_by_one(llm):
    for number in range(8):
        result = llm.generate([f"Name the number {number}."])
        print(number, result.generations[0][0].text)


async def one(llm, number):
    result = await llm.agenerate([f"Name the number {number}."])
    return number, result.generations[0][0].text


async def all_at_once(llm):
    for number, text in await asyncio.gather(*[one(llm, number) for number in range(8)]):
        print(number, text)


llm = OpenAI(temperature=0.9)
began = time.perf_counter()
await all_at_once(llm)  # noqa: F704
print(f"Concurrent executed in {time.perf_counter() - began:0.2f} seconds.")

began = time.perf_counter()
one_by_one(llm)
print(f"Serial executed in {time.perf_counter() - began:0.2f} seconds.")
