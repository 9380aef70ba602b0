"""Every case of trouble, its bounds, and the table of what was seen. See run.sh."""

import argparse
import concurrent.futures
import os
import pathlib
import random
import signal
import sys
import time

from harness import DEFAULT_CONCURRENCY, Run

LATENCY = 0.1
# Seconds that an answer of the model sim/echo takes on average.
FALLBACK_LATENCY = 0.55
# Seconds that a busy machine may add to any bound of time.
SLACK = 2.0
# Time-out of a request in cases where the provider says nothing.
TIMEOUT = 2.0
SIM = ["--latency", "lognormal:100ms,0.2"]


def bound(rows, concurrency):
    """Seconds that the rows take without trouble."""
    return rows / concurrency * LATENCY


class Report:
    """The figures of one case, as a row of the table."""

    def __init__(self, problems, lost, requests, seconds, allowed=None):
        self.problems, self.lost, self.requests = problems, lost, requests
        self.seconds, self.allowed = seconds, allowed


def run_batch(programs, folder, rows, trouble, *arguments, allowed=None, limit=None, code=None, poison=None, files=None):
    """Runs a batch against a provider in trouble, with the checks that most cases share. Returns the run, with the rows lost,
    the exit code, the seconds and the provider's figures in it.

    `allowed` bounds the seconds but for SLACK. `code` is the exit code to expect, or else that of the rows lost. `poison`
    tells which rows the provider fails for: they are to be lost, and no other one."""
    with Run(programs, folder, rows, [*SIM, *trouble], poison or (lambda row: False)) as run:
        limit = limit or allowed + SLACK + 30
        run.code, run.seconds = run.run(*map(str, arguments), limit=limit, open_files=files)
        run.stats = run.sim.stats()
        lost = run.lost()
    expected = set(filter(poison, range(rows))) if poison else set()
    run.check(lost >= expected, f"{len(expected - lost)} poison rows were answered")
    run.lost_rows = len(lost - expected)
    expected_code = code if code is not None else 3 if lost else 0
    run.check(run.code == expected_code, f"exit code {run.code}, not {expected_code}")
    if allowed is not None:
        run.check(run.seconds <= allowed + SLACK, f"took longer than {allowed:.1f} s + {SLACK:.0f} s")
    return run


def report(run, allowed=None, most_lost=0):
    run.check(run.lost_rows <= most_lost, f"{run.lost_rows} rows lost, more than {most_lost:.0f}")
    return Report(run.problems, run.lost_rows, run.stats["requests"], run.seconds, allowed)


def outage(kind, length, concurrency, rows, begin=0.3, arguments=()):
    """An outage loses no row, ends with the provider's, and sends little while it lasts."""
    more = arguments

    def case(programs, folder):
        arguments = ["-c", concurrency, *more]
        counts_requests = kind in ("502", "reset", "refuse", "garbage")
        if counts_requests:
            # Hedged requests are extra load of another cause.
            arguments.append("--no-hedging")
        if kind == "silence":
            arguments += ["--timeout", f"{TIMEOUT:.0f}s"]
        allowed = length + 1.1 * bound(rows, concurrency) + 3 + (TIMEOUT if kind == "silence" else 0)
        trouble = ["--outage", f"{begin}s..{begin + length}s={kind}"]
        run = run_batch(programs, folder, rows, trouble, *arguments, allowed=allowed)
        # One probe every three seconds, and sixteen while the first pauses grow and the account reopens.
        most = rows + concurrency + length / 3 + 16
        run.check(not counts_requests or run.stats["requests"] <= most, f"more than {most:.0f} requests")
        return report(run, allowed)

    name = " ".join(["outage", kind, f"{begin}..{begin + length} s,", f"c={concurrency},", f"{rows} rows", *more])
    return name, case


def outage_under_rpm(rows, rpm):
    """An outage of an account whose limit the client is told."""

    def case(programs, folder):
        allowed = 3 + 1.1 * rows / rpm * 60 + 3
        trouble = ["--rpm", str(rpm), "--outage", "1s..4s=502"]
        return report(
            run_batch(programs, folder, rows, trouble, "--rpm", rpm, "--no-hedging", allowed=allowed), allowed
        )

    return f"outage 502 1..4 s under --rpm {rpm}, {rows} rows", case


def fallback(rows):
    """With another model to call, an outage holds no row."""

    def case(programs, folder):
        allowed = 1.1 * rows / DEFAULT_CONCURRENCY * FALLBACK_LATENCY + 3
        trouble = ["--outage", "300ms..15s=502"]
        arguments = ["--fallback-model", "sim/echo"]
        return report(run_batch(programs, folder, rows, trouble, *arguments, allowed=allowed), allowed)

    return f"outage 502 0.3..15 s with a fallback, {rows} rows", case


def few_files(rows):
    """64 file descriptors for 256 rows in flight: connections wait for each other, and no row fails."""

    def case(programs, folder):
        limit = 1.1 * bound(rows, 40) + 33
        return report(run_batch(programs, folder, rows, [], "-c", 256, limit=limit, files=64))

    return f"64 file descriptors, c=256, {rows} rows", case


def flaky(rate, rows):
    """Random failures lose the share of independent attempts: rate^6 with five retries."""

    def case(programs, folder):
        allowed = 1.1 * bound(rows, DEFAULT_CONCURRENCY) / (1 - rate) + 20
        expected = rows * rate**6
        run = run_batch(programs, folder, rows, ["--flaky", str(rate)], "--retries", 5, allowed=allowed)
        return report(run, allowed, most_lost=expected + 4 * expected**0.5)

    return f"flaky {rate}, {rows} rows", case


def surplus(rows):
    """Answers that no request asked for are taken for no row's."""

    def case(programs, folder):
        allowed = 1.1 * bound(rows, DEFAULT_CONCURRENCY) + 3
        run = run_batch(programs, folder, rows, ["--surplus", "0.2"], limit=allowed + SLACK + 30)
        run.check(run.stats["surplus"] > 0, "no surplus answer was sent")
        return report(run, allowed)

    return f"surplus answers 0.2, {rows} rows", case


def first_429(rows):
    """A 429 with a wait of 2 s at the start, and no limit afterwards, costs little more than the wait."""

    def case(programs, folder):
        allowed = 5 + bound(rows, DEFAULT_CONCURRENCY)
        run = run_batch(programs, folder, rows, ["--first-429", "2s"], allowed=allowed, limit=allowed + 90)
        return report(run, allowed)

    return f"first 429 asks for 2 s, {rows} rows", case


def poison(rows, apart):
    """Prompts that crash the server fail, and only they: every hundredth row."""

    def case(programs, folder):
        is_poisoned = lambda row: row % apart == apart // 2
        trouble = ["--poison", "poison"]
        return report(run_batch(programs, folder, rows, trouble, limit=120, code=3, poison=is_poisoned))

    return f"poison prompts apart, {rows} rows", case


def poison_block(rows, first, length, concurrency=DEFAULT_CONCURRENCY):
    """Poison prompts one after the other, also more than rows are in flight: they fail, and the run goes past them."""

    def case(programs, folder):
        is_poisoned = lambda row: first <= row < first + length
        trouble, arguments = ["--poison", "poison"], ["-c", concurrency]
        # Each window of them takes six attempts a row.
        limit = 60 + length / concurrency * 10
        return report(
            run_batch(programs, folder, rows, trouble, *arguments, limit=limit, code=3, poison=is_poisoned)
        )

    return f"{length} poison prompts from row {first} on, c={concurrency}, {rows} rows", case


def kills(times, rows=300, concurrency=16):
    """SIGKILL at a random moment of an outage, and the same command again: one result a row, few repeats."""

    def case(programs, folder):
        chance = random.Random(times)
        worst, requests, began, problems = 0, 0, time.monotonic(), []
        for number in range(times):
            kind = ("502", "refuse", "reset", "hang")[number % 4]
            with Run(programs, folder / str(number), rows, [*SIM, "--outage", f"500ms..2s={kind}"]) as run:
                moment = chance.uniform(0.5, 2.0)
                first = run.start("-c", str(concurrency), "--no-hedging")
                time.sleep(moment)
                first.send_signal(signal.SIGKILL)
                first.wait()
                code, _ = run.run("-c", str(concurrency), "--no-hedging", limit=60)
                stats = run.sim.stats()
                lost = len(run.lost())
            # Requests in flight at the kill, and answers that were not yet journalled.
            repeats = stats["ok"] - (rows - lost)
            run.check(lost == 0, f"{lost} rows lost")
            run.check(code == 0, f"exit code {code}")
            run.check(repeats <= 2 * concurrency, f"{repeats} repeats")
            problems += [f"kill {number} ({kind}, after {moment:.2f} s): {problem}" for problem in run.problems]
            worst, requests = max(worst, lost), requests + stats["requests"]
        return Report(problems, worst, requests, time.monotonic() - began)

    return f"SIGKILL in an outage and resume, {times} times", case


def stop(name, trouble, rows=200):
    """A signal while every row waits ends the batch within 2 s, with its rows left; the same command goes on."""

    def case(programs, folder):
        with Run(programs, folder, rows, [*SIM, *trouble]) as run:
            process = run.start("-c", "16")
            time.sleep(2.5)
            run.check(process.poll() is None, "ended before the signal")
            signalled = time.monotonic()
            process.send_signal(getattr(signal, name))
            code = run.finish(process, 20)
            seconds = time.monotonic() - signalled
            run.check(code == 5, f"exit code {code} after {name}, not 5")
            run.check(seconds <= 2, f"ended {seconds:.1f} s after {name}")
            code, _ = run.run("-c", "16", limit=60)
            run.check(code == 0, f"exit code {code} after the resume")
            stats = run.sim.stats()
            lost = len(run.lost())
        run.check(lost == 0, f"{lost} rows lost")
        return Report(run.problems, lost, stats["requests"], seconds, 2)

    return f"{name} while all rows wait: {' '.join(trouble)}", case


def cases(is_full):
    """All cases, long ones first: the last ones to run in parallel are short."""
    stops = [
        stop(name, trouble)
        for name in ("SIGTERM", "SIGINT")
        for trouble in (["--outage", "500ms..6s=502"], ["--first-429", "6s"])
    ]
    if not is_full:
        matrix = [outage(kind, 3, c, 120 if c == 4 else 1000) for c in (4, 64) for kind in ("502", "refuse", "reset")]
        matrix += [outage("garbage", 3, 64, 1000), outage("502", 2, 32, 800, 0.5, ["--retries", "0"])]
        rest = [kills(5), flaky(0.3, 1500), few_files(1000), first_429(300), surplus(300)]
        rest.append(poison(500, apart=100))
        rest += [poison_block(40, 10, c, c) for c in (1, 4)]
        rest += [poison_block(200, 10, 64), poison_block(200, 136, 64)]
        return rest[:2] + matrix + stops + rest[2:]
    matrix = [
        outage(kind, length, c, 2000)
        for length in (15, 3, 0.5)
        for c in (4, 16, 64, 256)
        for kind in ("502", "refuse", "reset", "hang", "silence", "garbage")
    ]
    # An outage from the first request on, and one that begins with the last rows.
    edges = [outage("502", 3, 64, 2000, begin) for begin in (0, 2.9)]
    edges += [outage(kind, 2, 32, 800, 0.5, ["--retries", "0"]) for kind in ("502", "reset", "garbage")]
    edges += [outage_under_rpm(400, 3000), fallback(500)]
    rest = [flaky(0.3, 5000), flaky(0.5, 5000), few_files(2000), first_429(300), surplus(2000)]
    rest += [poison(1000, apart=100), poison_block(1000, 100, 10)]
    rest += [poison_block(200, 10, c, c) for c in (1, 4, 64)]
    rest += [poison_block(1000, first, 64) for first in (0, 500, 936)]
    rest += [poison_block(1000, 500, length) for length in (65, 128, 200)]
    rest += [poison_block(1000, 500, 200, 16), poison_block(200, 10, 4, 1)]
    return [kills(50)] + matrix + edges + stops + rest


def run_case(programs, folder, case):
    """The outcome of one case, with its name."""
    number, (name, work) = case
    try:
        return name, work(programs, folder / f"{number:02}")
    except Exception as error:  # A case that cannot run is one that fails; the others still run.
        return name, error


def show(name, report):
    """One row of the table. Returns whether the case passed."""
    if isinstance(report, Exception):
        print(f"FAIL  {name:<58} {report!r}", flush=True)
        return False
    allowed = "-" if report.allowed is None else f"{report.allowed:.1f}"
    columns = [report.lost, report.requests, f"{report.seconds:.1f}", allowed]
    verdict = "FAIL" if report.problems else "ok"
    print(f"{verdict:<5} {name:<58} " + " ".join(f"{column:>9}" for column in columns), flush=True)
    for problem in report.problems[:8]:
        print(f"      {problem}", flush=True)
    return not report.problems


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("fanweave", type=os.path.abspath)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", metavar="TEXT")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    programs = options.fanweave, os.path.abspath(os.environ.get("FANWEAVE_SIM", options.fanweave))
    chosen = cases(options.full or options.only)
    if options.only:
        chosen = [case for case in chosen if options.only in case[0]]
    began = time.monotonic()
    print(f"{'':<5} {'case':<58} {'lost':>9} {'requests':>9} {'seconds':>9} {'allowed':>9}")
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        work = [pool.submit(run_case, programs, options.folder, case) for case in enumerate(chosen)]
        passed = [show(*done.result()) for done in concurrent.futures.as_completed(work)]
    print(f"{sum(passed)} of {len(passed)} passed in {time.monotonic() - began:.0f} s; files in {options.folder}")
    sys.exit(0 if all(passed) and passed else 1)


if __name__ == "__main__":
    main()
