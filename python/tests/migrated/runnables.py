import asyncio
import time

from fanweave.langchain.llms import OpenAI

llm = OpenAI(model="gpt-3.5-turbo-instruct", temperature=0.9)


def one_by_one():
    return [llm.invoke("Wish me a good day.") for _ in range(8)]


async def all_at_once():
    return await asyncio.gather(*[llm.ainvoke("Wish me a good day.") for _ in range(8)])


began = time.perf_counter()
first = await all_at_once()  # noqa: F704
print(f"Concurrent executed in {time.perf_counter() - began:0.2f} seconds.")

began = time.perf_counter()
second = one_by_one()
print(f"Serial executed in {time.perf_counter() - began:0.2f} seconds.")

third = await llm.abatch(["Wish me a good day."] * 8)  # noqa: F704
print(first == second == third, third[0])
