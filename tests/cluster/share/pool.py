"""A pool of processes maps batches of rows, and keeps to the limit of one account together: `share=`."""

import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import fanweave as fw
from fanweave.testing import sim

PROCESSES = 3
# Of the account, for all processes together.
RPM = 1200


def answer(url: str, prompts: list[str]) -> list[str]:
    """Answers one batch of rows, in a process of the pool. The broker is that of FANWEAVE_ON."""
    model = fw.model("openai/gpt-5-mini", base_url=url, api_key="any", rpm=RPM, share=fw.Share())
    return [row.output.text if row.error is None else f"failed: {row.error}" for row in model.rows(prompts)]


def mapped(batches: list[list[str]], broker: int | None = None) -> float:
    """Maps the batches, while the process `broker` is killed. Returns the seconds."""
    # Started afresh: a forked child of a process with threads may wait for one that it does not have.
    with sim(latency=0.02) as provider, ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        # All processes have started before the time is taken.
        list(pool.map(time.sleep, [0.3] * PROCESSES))
        began = time.monotonic()
        results = pool.map(answer, [provider.url] * len(batches), batches)
        if broker:
            time.sleep(1)
            os.kill(broker, signal.SIGKILL)
        texts = [text for batch in results for text in batch]
        seconds = time.monotonic() - began
        count = sum(map(len, batches))
        assert len(texts) == count == provider.requests, (
            f"{len(texts)} answers, {provider.requests} requests, {count} rows"
        )
        assert not any(text.startswith("failed: ") for text in texts), texts[:5]
    return seconds


def rows(count: int) -> list[str]:
    return [f"Name animal {i}." for i in range(count)]


def refused(expected: type[Exception], share: str, message: str) -> None:
    model = fw.model("openai/gpt-5-mini", base_url="http://127.0.0.1:9", api_key="any", rpm=RPM, share=share)
    try:
        model.invoke("hello")
    except expected as error:
        assert message in str(error), error
        assert "secret" not in str(error), error
        print(f"{expected.__name__}: {error}")
    else:
        raise AssertionError(f"{share} was accepted")


def main() -> None:
    match sys.argv[1:]:
        case ["limit"]:
            # One process has most of the rows: it uses what the others leave.
            seconds = mapped([rows(80), rows(10), rows(10)])
            least = 100 / RPM * 60
            assert least * 0.85 < seconds < least * 1.8, (
                f"{seconds:.1f} s, and the limit allows {least:.1f} s"
            )
            print(f"100 rows in {seconds:.1f} s, of which the limit needs {least:.1f} s: each row once")
        case ["broker-killed", broker]:
            seconds = mapped([rows(20)] * PROCESSES, int(broker))
            least = 60 / RPM * 60
            # Until the silence of the broker is noticed, and after it at 90 % of the limit.
            assert least * 0.85 < seconds < 15, f"{seconds:.1f} s, and the limit allows {least:.1f} s"
            print(f"60 rows in {seconds:.1f} s without the broker, of which the limit needs {least:.1f} s")
        case ["errors", unprepared, submitter]:
            refused(fw.ConfigError, "nats://a:secret@127.0.0.1:9", "cannot connect to the broker")
            refused(fw.ConfigError, unprepared, "is not prepared")
            refused(fw.PermissionDeniedError, submitter, "this user may not share limits")
        case arguments:
            sys.exit(f"unknown arguments: {arguments}")


if __name__ == "__main__":
    main()
