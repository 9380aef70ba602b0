import asyncio

from fanweave.openai import AsyncOpenAI

client = AsyncOpenAI()


async def ask(question: str) -> str:
    answer = await client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": question}], max_tokens=100
    )
    return answer.choices[0].message.content


async def main():
    questions = [f"What is the capital of country {letter}?" for letter in "ABC"]
    for question, answer in zip(questions, await asyncio.gather(*map(ask, questions)), strict=True):
        print(question, "->", answer)


asyncio.run(main())
