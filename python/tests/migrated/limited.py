import asyncio

from fanweave.openai import AsyncOpenAI, RateLimitError

client = AsyncOpenAI(timeout=30.0)


async def ask(slots: asyncio.Semaphore, number: int, tries: int = 3) -> dict:
    for attempt in range(tries):
        async with slots:
            try:
                answer = await client.chat.completions.create(
                    model="gpt-4o-mini",
                    messages=[{"role": "user", "content": f"Define word {number}."}],
                    max_tokens=50,
                )
                return {"number": number, "text": answer.choices[0].message.content, "error": None}
            except RateLimitError:
                print("limited", number)
                await asyncio.sleep(2**attempt)
            except Exception as error:
                return {"number": number, "text": None, "error": str(error)}
    return {"number": number, "text": None, "error": "too many tries"}


async def main():
    slots = asyncio.Semaphore(8)
    rows = await asyncio.gather(*[ask(slots, number) for number in range(40)])
    print(sum(row["error"] is None for row in rows), "of", len(rows))
    print([row["number"] for row in rows] == list(range(40)))
    for row in rows[:3]:
        print(row["number"], row["text"][:60])


asyncio.run(main())
