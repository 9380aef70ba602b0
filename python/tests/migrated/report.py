import asyncio

from fanweave.openai import AsyncOpenAI

client = AsyncOpenAI()


async def ask(instructions: str, text: str, limit: int = 300) -> str:
    answer = await client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "system", "content": instructions}, {"role": "user", "content": text}],
        max_tokens=limit,
    )
    return answer.choices[0].message.content


async def report(subject: str) -> str:
    # The plan comes first, all parts at once, and the summary last.
    plan = await ask("Return a numbered list of 3 section titles.", f"A report about {subject}", limit=100)
    print("plan:", plan)
    titles = [line.strip().lstrip("0123456789.) ") for line in plan.splitlines() if line.strip()]
    parts = await asyncio.gather(
        *[ask("Write a paragraph for a section.", f"{subject}: {title}") for title in titles]
    )
    body = "\n".join(f"{title}: {part}" for title, part in zip(titles, parts, strict=True))
    return await ask("Write a one-sentence summary.", body) + "\n" + body


async def main():
    print(await report("beekeeping"))


asyncio.run(main())
