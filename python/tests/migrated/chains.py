import asyncio
import time

from fanweave.langchain.chains import LLMChain
from fanweave.langchain.llms import OpenAI
from fanweave.langchain.prompts import PromptTemplate


def make_chain():
    prompt = PromptTemplate(input_variables=["thing"], template="Write a slogan for {thing}.")
    return LLMChain(llm=OpenAI(temperature=0.7), prompt=prompt)


def one_by_one(count):
    chain = make_chain()
    for _ in range(count):
        print("slogan:", chain.run(thing="umbrellas"))


async def one(chain):
    print("slogan:", await chain.arun(thing="umbrellas"))


async def all_at_once(count):
    chain = make_chain()
    await asyncio.gather(*[one(chain) for _ in range(count)])


began = time.perf_counter()
await all_at_once(6)  # noqa: F704
print(f"Concurrent executed in {time.perf_counter() - began:0.2f} seconds.")

began = time.perf_counter()
one_by_one(6)
print(f"Serial executed in {time.perf_counter() - began:0.2f} seconds.")
