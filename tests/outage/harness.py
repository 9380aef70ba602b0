"""A simulated provider, a batch against it, and the checks that every case shares."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import urllib.request
import zlib

# Rows that a batch has in flight by default.
DEFAULT_CONCURRENCY = 64


def clean_environment(home):
    """The environment without proxies and without the caller's settings of fanweave."""
    env = {k: v for k, v in os.environ.items() if "proxy" not in k.lower() and not k.startswith("FANWEAVE_")}
    return env | {"OPENAI_API_KEY": "test", "HOME": str(home), "NO_COLOR": "1"}


class Sim:
    """`fanweave sim` on a free port of the loopback interface."""

    def __init__(self, program, folder, arguments):
        self.log = open(folder / "sim.log", "w")
        self.process = subprocess.Popen(
            [program, "sim", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=clean_environment(folder),
        )
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            raise RuntimeError(f"fanweave sim {' '.join(arguments)} did not start: {line!r}, see {folder}/sim.log")
        self.base_url = line.removeprefix("listening on ").strip()

    def stats(self):
        """What `GET /stats` says; waits for the end of an outage that refuses connects."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        url = self.base_url.removesuffix("/v1") + "/stats"
        for _ in range(200):
            try:
                with opener.open(url, timeout=5) as response:
                    return json.load(response)
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("GET /stats got no answer for 20 s")

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()


class Run:
    """One case: its folder, its rows, its simulated provider, and what was found wrong."""

    def __init__(self, programs, folder, rows, sim, is_poisoned=lambda row: False):
        self.fanweave, sim_program = programs
        self.folder = pathlib.Path(folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.prompts = [f"Row {row}: how much is {row} times {row * 7919 % 1000}?" for row in range(rows)]
        for row in filter(is_poisoned, range(rows)):
            self.prompts[row] += " poison"
        self.input = self.folder / "in.jsonl"
        self.output = self.folder / "out.jsonl"
        self.input.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in self.prompts))
        self.sim = Sim(sim_program, self.folder, sim)
        self.problems = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sim.close()

    def start(self, *arguments, open_files=None):
        """Starts `fanweave batch`. `open_files` limits its file descriptors."""
        command = [self.fanweave, "batch", "in.jsonl", "-o", "out.jsonl", "--model", "openai/echo"]
        if open_files:
            command = ["sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh", *command]
        with open(self.folder / "batch.log", "a") as log:
            return subprocess.Popen(
                [*command, *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Not --base-url, which would send a simulated fallback to the same server.
                env=clean_environment(self.folder) | {"OPENAI_BASE_URL": self.sim.base_url},
            )

    def finish(self, process, limit):
        """Waits for the end of the batch; after `limit` seconds it is killed. Returns its exit code."""
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            self.problems.append(f"did not end within {limit:.0f} s")
            return None

    def run(self, *arguments, limit, open_files=None):
        """Runs the batch to its end. Returns its exit code and the seconds that it took."""
        began = time.monotonic()
        code = self.finish(self.start(*arguments, open_files=open_files), limit)
        return code, time.monotonic() - began

    def lost(self):
        """Rows without an answer. Wrong, missing, repeated and misplaced rows are problems."""
        lines = self.output.read_text().splitlines() if self.output.exists() else []
        if len(lines) != len(self.prompts):
            self.problems.append(f"{len(lines)} results for {len(self.prompts)} rows")
        lost, wrong = set(range(len(lines), len(self.prompts))), 0
        for index, (line, prompt) in enumerate(zip(lines, self.prompts)):
            result = json.loads(line)
            if result["index"] != index:
                wrong += 1
            elif result["error"] is not None:
                lost.add(index)
            elif result["answer"] != f"{zlib.crc32(prompt.encode()):08x} {prompt}":
                wrong += 1
        if wrong:
            self.problems.append(f"{wrong} wrong answers")
        return lost

    def check(self, is_right, problem):
        if not is_right:
            self.problems.append(problem)
