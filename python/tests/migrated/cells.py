import asyncio

from fanweave.openai import AsyncOpenAI, BadRequestError

client = AsyncOpenAI(timeout=30.0)


async def ask(text: str) -> str:
    messages = [{"role": "user", "content": text}] if text else []
    answer = await client.chat.completions.create(model="gpt-4o-mini", messages=messages)
    return answer.choices[0].message.content


result = await asyncio.wait_for(ask("Say hello."), timeout=30.0)  # noqa: F704
print(result)

results = await asyncio.gather(ask("Name a bird."), ask(""), ask("Name a fish."), return_exceptions=True)  # noqa: F704
for each in results:
    if isinstance(each, BadRequestError):
        print("failed:", each.status_code)
    else:
        print("answered:", each[:40])

import nest_asyncio  # noqa: E402

nest_asyncio.apply()
print(asyncio.run(ask("Say goodbye.")))
