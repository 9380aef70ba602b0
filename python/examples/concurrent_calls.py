"""Many calls at once, and a batch whose failures leave the other rows alone."""

import asyncio

import fanweave as fw
from fanweave.testing import sim


async def main() -> None:
    # A simulated provider, in place of a real one.
    with sim(latency=0.2, error_rate=0.2) as provider:
        model = fw.model("openai/gpt-5-mini", base_url=provider.url, api_key="any")

        one, other = await asyncio.gather(model.ainvoke("Name a bear."), model.ainvoke("Name a cat."))
        print(one.text, "/", other.text)

        prompts = [f"Name animal {i}." for i in range(50)]
        async for row in model.arows(prompts, concurrency=16):
            print(row.index, row.error or row.output)
        print(f"{provider.requests} requests, at most {provider.most_at_once} at once")


asyncio.run(main())
