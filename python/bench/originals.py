"""The programs of docs/migrating.md with the packages that they were written for, and with the modules of fanweave.

    python python/bench/originals.py [--rounds 3] [--calls 5,10,50,1000,10000] [--venv DIR] [--sim PROGRAM]

Each program runs in a process of its own, interleaved, against a simulated provider in another one: first without trouble, then
with 5 % errors, 5 % resets and an outage of 3 s. Prints a table of the medians: CPU time of the process, wall time without the
imports, peak memory, and lost calls, which raised an error or had another answer than without trouble.

The packages are installed into DIR, by default a temporary folder. The interpreter that runs this needs fanweave, of a release
build if the times are of interest.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from typing import Any

# The last versions with these interfaces.
PACKAGES = [
    "langchain==0.1.20",
    "langchain-community==0.0.38",
    "openai==1.109.1",
    "mirascope[openai]==1.25.7",
]

PROGRAMS = {
    "LLMChain.arun": """
from {}langchain.chains import LLMChain
from {}langchain.llms import OpenAI
from {}langchain.prompts import PromptTemplate

template = "What is a good name for a company that makes {{product}}?"
prompt = PromptTemplate(input_variables=["product"], template=template)
chain = LLMChain(llm=OpenAI(temperature=0.9), prompt=prompt)

async def call(i):
    return await chain.arun(product=f"toothpaste {{i}}")
""",
    "OpenAI.agenerate": """
from {}langchain.llms import OpenAI

llm = OpenAI(temperature=0.9)

async def call(i):
    return (await llm.agenerate([f"Hello {{i}}, how are you?"])).generations[0][0].text
""",
    "AsyncOpenAI": """
from {}openai import AsyncOpenAI

client = AsyncOpenAI()

async def call(i):
    response = await client.chat.completions.create(
        model="gpt-4o-mini", messages=[{{"role": "user", "content": f"Define concept #{{i}}"}}], max_tokens=256
    )
    return response.choices[0].message.content
""",
    "mirascope llm.call": """
from {}mirascope import llm

@llm.call(provider="openai", model="gpt-4o-mini")
async def recommend_book(genre: str) -> str:
    return f"Recommend a {{genre}} book"

async def call(i):
    return (await recommend_book(f"fantasy {{i}}")).content
""",
}

# At most a fifth of the calls at once, as in the documents, where some calls wait for others.
MAX_AT_ONCE = 100

RUN = """

import asyncio, hashlib, json, resource, sys, time

async def main(n, at_once):
    permits = asyncio.Semaphore(at_once)

    async def one(i):
        async with permits:
            return await call(i)

    began = time.perf_counter()
    answers = await asyncio.gather(*(one(i) for i in range(n)), return_exceptions=True)
    took = time.perf_counter() - began
    texts, errors = [], {}
    for answer in answers:
        if isinstance(answer, BaseException):
            errors[type(answer).__name__] = errors.get(type(answer).__name__, 0) + 1
            texts.append(None)
        else:
            texts.append(hashlib.sha256(answer.encode()).hexdigest()[:12])
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({
        "wall": took, "cpu": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss / 1024,
        "texts": texts, "errors": errors,
    }))

asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
"""

TROUBLE = ["--error-rate", "0.05", "--reset-rate", "0.05", "--outage", "200ms..3200ms=503", "--seed", "54"]
TIMEOUT = 900


class Provider:
    """A simulated provider in a process of its own."""

    def __init__(self, program: list[str], trouble: bool) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.origin = f"http://127.0.0.1:{port}"
        command = [*program, "sim", "--port", str(port), "--latency", "100ms", *(TROUBLE if trouble else [])]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                self.page("/stats")
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"no simulated provider at {self.origin}")

    def page(self, path: str, method: str = "GET") -> bytes:
        request = urllib.request.Request(self.origin + path, method=method)
        with urllib.request.urlopen(request, timeout=5) as answer:
            body: bytes = answer.read()
            return body

    def requests(self) -> int:
        return int(json.loads(self.page("/stats"))["requests"])


def environment(venv: pathlib.Path) -> pathlib.Path:
    """The interpreter of an environment with the packages."""
    python = venv / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES], check=True
        )
    return python


def run(python: pathlib.Path, path: pathlib.Path, calls: int, provider: Provider) -> dict[str, Any]:
    """One run of a program."""
    provider.page("/reset", "POST")
    own = pathlib.Path(importlib.util.find_spec("fanweave").origin).parents[1]
    env = {
        "PYTHONPATH": str(own) if python == pathlib.Path(sys.executable) else "",
        "OPENAI_API_KEY": "simulated",
        "OPENAI_BASE_URL": f"{provider.origin}/v1",
        "OPENAI_API_BASE": f"{provider.origin}/v1",
        "PATH": "/usr/bin:/bin",
    }
    at_once = min(MAX_AT_ONCE, max(2, calls // 5))
    command = [python, "-W", "ignore", path, str(calls), str(at_once)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, env=env)
    if done.returncode != 0:
        raise SystemExit(f"{path.name} ended with {done.returncode}:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**result, "requests": provider.requests()}


def row(runs: list[dict[str, Any]], right: list[str]) -> str:
    """The cells of a table: medians, and the range of lost calls."""
    cpu, wall, memory, requests = (
        statistics.median(each[name] for each in runs) for name in ("cpu", "wall", "memory", "requests")
    )
    lost = [sum(text != wanted for text, wanted in zip(each["texts"], right, strict=True)) for each in runs]
    span = f"{min(lost):,}" if min(lost) == max(lost) else f"{min(lost):,} to {max(lost):,}"
    return f"{cpu:.2f} s | {wall:.2f} s | {memory:.0f} MiB | {requests:,.0f} | {span}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", default="5,10,50,1000,10000")
    parser.add_argument("--programs", default=",".join(PROGRAMS))
    parser.add_argument("--trouble", choices=["no", "yes", "both"], default="both")
    parser.add_argument("--venv", type=pathlib.Path)
    parser.add_argument("--sim", help="the program `fanweave` [default: that of the installed package]")
    options = parser.parse_args()
    counts = [int(each) for each in options.calls.split(",")]
    names = options.programs.split(",")
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        pythons = {
            "original": environment(options.venv or folder / "venv"),
            "fanweave": pathlib.Path(sys.executable),
        }
        for name in names:
            for kind in pythons:
                code = PROGRAMS[name].replace("from {}", f"from {'' if kind == 'original' else 'fanweave.'}")
                code = code.replace("{{", "{").replace("}}", "}")
                (folder / f"{kind}-{names.index(name)}.py").write_text(code + RUN)
        kinds = {"no": (False,), "yes": (True,), "both": (False, True)}[options.trouble]
        program = [options.sim] if options.sim else [sys.executable, "-m", "fanweave"]
        providers = {trouble: Provider(program, trouble) for trouble in kinds}
        try:
            measure(options.rounds, counts, names, pythons, folder, providers)
        finally:
            for provider in providers.values():
                provider.process.kill()


def measure(
    rounds: int,
    counts: list[int],
    names: list[str],
    pythons: dict[str, pathlib.Path],
    folder: pathlib.Path,
    providers: dict[bool, Provider],
) -> None:
    print("| program | calls | trouble | with | CPU | wall | memory | requests | lost |")
    print("|---|---|---|---|---|---|---|---|---|")
    errors: dict[str, int] = {}
    for calls in counts:
        for name in names:
            results: dict[tuple[str, bool], list[dict[str, Any]]] = {}
            # Runs of this size are long enough.
            for _ in range(rounds if calls < 10_000 else 1):
                for trouble, provider in providers.items():
                    for kind, python in pythons.items():
                        path = folder / f"{kind}-{names.index(name)}.py"
                        result = run(python, path, calls, provider)
                        results.setdefault((kind, trouble), []).append(result)
                        for error, count in result["errors"].items():
                            key = f"{name}, {kind}: {error}"
                            errors[key] = errors.get(key, 0) + count
            # Answers depend on the prompt alone. Calls that no run has answered count as lost as well.
            every = [each["texts"] for runs in results.values() for each in runs]
            right = [
                next((text for text in texts if text is not None), "") for texts in zip(*every, strict=True)
            ]
            for trouble in providers:
                for kind in pythons:
                    cells = row(results[kind, trouble], right)
                    print(
                        f"| {name} | {calls:,} | {'yes' if trouble else 'no'} | {kind} | {cells} |",
                        flush=True,
                    )
    print()
    for error, count in sorted(errors.items()):
        print(f"{error}: {count:,}")


if __name__ == "__main__":
    main()
