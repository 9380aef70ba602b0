"""Rows in a pool of processes, for work beside the calls that takes the processor, with one limit for all of them."""

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import fanweave as fw
from fanweave.testing import sim

PROCESSES = 2
# Requests per minute of the account. Each process has its share of it: limits are those of a process.
RPM = 6000


def answer(url: str, prompts: list[str]) -> list[str]:
    """Answers one batch of rows, in a process of the pool."""
    # Models with the same key, URL and name share a limiter, so that each batch continues with that of the process.
    model = fw.model("openai/gpt-5-mini", base_url=url, api_key="any", rpm=RPM // PROCESSES)
    # A row that fails leaves the others alone.
    return [row.output.text if row.error is None else f"failed: {row.error}" for row in model.rows(prompts)]


def main() -> None:
    prompts = [f"Name animal {i}." for i in range(200)]
    batches = [prompts[i : i + 50] for i in range(0, len(prompts), 50)]
    # A simulated provider, in place of a real one.
    with sim(latency=0.05) as provider:
        began = time.monotonic()
        # Started afresh: a forked child of a process with threads may wait for one that it does not have.
        with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
            answers = [
                text for batch in pool.map(answer, [provider.url] * len(batches), batches) for text in batch
            ]
        seconds = time.monotonic() - began
        assert len(answers) == len(prompts) == provider.requests, answers
        assert all(answers), answers
        print(
            f"{len(answers)} answers of {PROCESSES} processes in {seconds:.1f} s, Python {sys.version_info.major}"
        )


if __name__ == "__main__":
    main()
