"""The recipe of docs/cluster.md for Ray Data, over a simulated provider: actors map batches of rows and share one limit."""

import os
import time

import ray

import fanweave as fw
from fanweave.testing import sim

ACTORS = 2
ROWS = 400
# Of the account, for all actors together.
RPM = 3000


class Answer:
    """An actor: its model, and with it connections and limits, lasts for all of its batches."""

    def __init__(self, url: str) -> None:
        self.model = fw.model(
            "openai/gpt-5-mini", base_url=url, api_key="any", rpm=RPM, share=os.environ["FANWEAVE_ON"]
        )

    def __call__(self, batch: dict) -> dict:
        rows = list(self.model.rows([f"Where is {city}?" for city in batch["city"]], concurrency=32))
        batch["answer"] = [row.output.text if row.error is None else "" for row in rows]
        batch["error"] = [str(row.error or "") for row in rows]
        return batch


def main() -> None:
    ray.init(num_cpus=ACTORS, include_dashboard=False, log_to_driver=False)
    with sim(latency=0.05) as provider:
        cities = ray.data.from_items([{"id": i, "city": f"city {i}"} for i in range(ROWS)])
        began = time.monotonic()
        answers = cities.map_batches(
            Answer,
            fn_constructor_args=[provider.url],
            batch_size=50,
            compute=ray.data.ActorPoolStrategy(size=ACTORS),
        ).take_all()
        seconds = time.monotonic() - began
        assert sorted(row["id"] for row in answers) == list(range(ROWS)), "each row has one answer"
        assert all(row["answer"] and not row["error"] for row in answers), answers[:3]
        assert provider.requests == ROWS, f"{provider.requests} requests"
        least = (ROWS / RPM) * 60
        assert seconds > least * 0.9, f"{seconds:.1f} s are less than the limit allows"
        print(
            f"{ROWS} rows by {ACTORS} actors in {seconds:.1f} s, of which the limit needs {least:.0f} s: each row once"
        )
    ray.shutdown()


if __name__ == "__main__":
    main()
