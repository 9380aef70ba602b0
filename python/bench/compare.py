"""The figures of docs/performance.md for Python: all clients in one interleaved run, medians.

    python python/bench/compare.py [ROUNDS] [URL]

Without URL, starts `fanweave sim` of the installed wheel. Build the module with `--release` first; openai and langchain-openai are
compared if they are installed.
"""

import importlib.util
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import time
import urllib.request

BENCH = pathlib.Path(__file__).with_name("bench.py")
PORT = 18431

# Client, mode, number of calls, concurrency.
RUNS = [
    ("fanweave", "call", 5000, 64),
    ("fanweave", "gather", 1000, 1000),
    ("fanweave", "batch", 5000, 64),
    ("fanweave", "frame", 100000, 64),
    ("fanweave", "journal", 100000, 64),
    ("fanweave", "stream", 200, 64),
    ("fanweave", "memory", 100000, 64),
    ("asyncio", "call", 20000, 64),
    ("openai", "call", 1000, 64),
    ("openai", "gather", 1000, 1000),
    ("openai", "stream", 20, 64),
    ("langchain", "call", 500, 64),
    ("langchain", "stream", 20, 64),
]
MODULES = {"openai": "openai", "langchain": "langchain_openai"}

IMPORT = "import time; t = time.perf_counter(); import fanweave; print((time.perf_counter() - t) * 1e3)"
SCRIPT = "import sys, fanweave as fw; fw.model('openai/echo', base_url=sys.argv[1], api_key='k').invoke('x')"


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    server = None
    if len(sys.argv) > 2:
        url = sys.argv[2]
    else:
        url = f"http://127.0.0.1:{PORT}/v1"
        command = [sys.executable, "-m", "fanweave", "sim", "--port", str(PORT)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(url)
        measure(rounds, url)
    finally:
        if server is not None:
            server.kill()


def wait_for(url: str) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(f"{url}/models", timeout=1).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"no server at {url}")


def measure(rounds: int, url: str) -> None:
    runs = [run for run in RUNS if importlib.util.find_spec(MODULES.get(run[0], "asyncio"))]
    results: dict[tuple, list[dict]] = {run: [] for run in runs}
    imports, scripts = [], []
    # Modules are compiled when they are installed, and read from the disk by the first import after that.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run([sys.executable, "-c", "import fanweave"], check=True)
    for _ in range(rounds):
        for run in random.sample(runs, len(runs)):
            client, mode, n, concurrency = run
            arguments = [client, mode, str(n), str(concurrency), url]
            out = subprocess.run([sys.executable, BENCH, *arguments], capture_output=True, text=True)
            if out.returncode != 0:
                raise SystemExit(f"{run}: {out.stderr}")
            results[run].append(json.loads(out.stdout))
        imports.append(float(subprocess.check_output([sys.executable, "-c", IMPORT])))
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", SCRIPT, url], check=True)
        scripts.append((time.perf_counter() - started) * 1e3)
    print("client     mode     in flight   us median (range)        wall s   import ms")
    for (client, mode, _, concurrency), found in results.items():
        us = sorted(each["us"] for each in found)
        wall = statistics.median(each["wall"] for each in found)
        loaded = statistics.median(each["import_ms"] for each in found)
        grown = max(each.get("grown_mib", 0) for each in found)
        shown = f"{statistics.median(us):8.1f} ({us[0]:.1f}-{us[-1]:.1f})"
        note = f"   grown {grown} MiB" if mode == "memory" else ""
        print(f"{client:10} {mode:8} {concurrency:9}   {shown:24} {wall:6.2f}   {loaded:8.1f}{note}")
    print(
        f"import from a bare interpreter: {statistics.median(imports):.1f} ms ({min(imports):.1f}-{max(imports):.1f})"
    )
    print(
        f"script of one blocking call: {statistics.median(scripts):.0f} ms ({min(scripts):.0f}-{max(scripts):.0f})"
    )


if __name__ == "__main__":
    main()
