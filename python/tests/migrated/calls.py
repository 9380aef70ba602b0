import asyncio

from fanweave.mirascope import BaseTool, llm
from fanweave.mirascope.core import Messages, openai
from fanweave.openai import AsyncOpenAI


@llm.call(provider="openai", model="gpt-4o-mini")
async def describe(animal: str) -> str:
    return f"Describe a {animal}"


@llm.call(provider="openai", model="gpt-4o-mini", stream=True)
async def describe_in_pieces(animal: str) -> str:
    return f"Describe a {animal}"


class Weather(BaseTool):
    city: str

    async def call(self) -> str:
        await asyncio.sleep(0.01)
        return f"It rains in {self.city}."


@llm.call(provider="openai", model="gpt-4o-mini", tools=[Weather])
async def ask(city: str) -> str:
    return f"What is the weather in {city}?"


@openai.call("gpt-4o-mini", client=AsyncOpenAI())
async def with_client(animal: str) -> str:
    return f"Describe a {animal}"


@openai.call("gpt-4o-mini")
async def with_config(animal: str) -> openai.AsyncOpenAIDynamicConfig:
    return {"messages": [Messages.User(f"Describe a {animal}")], "client": AsyncOpenAI()}


async def main():
    animals = ["bear", "cat", "owl", "fox"]
    for animal, response in zip(animals, await asyncio.gather(*map(describe, animals)), strict=True):
        print(animal, response.content)
    stream = await describe_in_pieces("bear")
    async for chunk, _ in stream:
        print(chunk.content, end="")
    print()
    response = await ask("Oslo")
    if tool := response.tool:
        if isinstance(tool, Weather):
            print(await tool.call())
    print((await with_client("bear")).content == (await with_config("bear")).content)


asyncio.run(main())
