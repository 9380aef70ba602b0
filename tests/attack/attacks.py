"""Runs the attacks and prints what they did. See run.sh."""

import json
import os
import pathlib
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from server import Server, answer_of, completion

PROGRAM, ROOT = sys.argv[1], pathlib.Path(sys.argv[2])
FAST = "--fast" in sys.argv
ONLY = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else ""
IS_DEBUG = "/debug/" in PROGRAM
# A debug build computes about ten times slower.
SLOWER = 12 if IS_DEBUG else 1
MIB = 1 << 20
# The default of --template-memory, and a smaller setting.
TEMPLATE_MIB = (192, 48)
# The default of --run-memory, and a smaller setting.
RUN_MIB = (512, 64)
figures, failures = {}, []


def expect(condition, message):
    if not condition:
        failures.append(message)
        print(f"  FAILED: {message}", flush=True)


class Ran:
    """One run of the program, with its times and memory."""

    def __init__(self, folder, words, limits=None, wait=True, stdin=None):
        def prepare():
            for name, value in (limits or {}).items():
                resource.setrlimit(name, (value, value))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

        environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "OPENAI_API_KEY": "sk-attack-0123456789"}
        self.error_path = pathlib.Path(folder) / ".stderr"
        self.out_path = pathlib.Path(folder) / ".stdout"
        self.began = time.monotonic()
        with open(self.error_path, "wb") as error, open(self.out_path, "wb") as out:
            self.child = subprocess.Popen(
                [PROGRAM, *words], cwd=folder, env=environment, stdin=stdin or subprocess.DEVNULL, stdout=out, stderr=error,
                preexec_fn=prepare,
            )
        if wait:
            self.wait()

    def wait(self):
        # The memory that wait4 reports includes that of this process before exec.
        self.rss = 0
        while True:
            pid, status, usage = os.wait4(self.child.pid, os.WNOHANG)
            if pid:
                break
            try:
                text = pathlib.Path(f"/proc/{self.child.pid}/status").read_text()
                self.rss = max(self.rss, int(text.split("VmHWM:")[1].split()[0]) * 1024 if "VmHWM:" in text else 0)
            except (OSError, IndexError):
                pass
            time.sleep(0.002)
        self.child.returncode = self.code = os.waitstatus_to_exitcode(status)
        self.seconds = time.monotonic() - self.began
        self.cpu = usage.ru_utime + usage.ru_stime
        self.stderr = self.error_path.read_text(errors="replace")
        self.stdout = self.out_path.read_text(errors="replace")
        expect("internal error" not in self.stderr, f"a panic: {self.stderr[:300]}")
        return self


class Folder:
    def __enter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="fanweave-attack-"))
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)

    def rows(self, n, name="in.jsonl"):
        lines = [json.dumps({"id": str(i), "prompt": f"question {i}"}) for i in range(n)]
        (self.path / name).write_text("\n".join(lines) + "\n")

    def results(self, name="out.jsonl"):
        path = self.path / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def batch(url, *more):
    return ["batch", "in.jsonl", "-o", "out.jsonl", "-m", "openai/m", "--base-url", url, "--show-progress", "none", *more]


def count_wrong(results):
    """Rows with the answer to another question."""
    return sum(1 for i, row in enumerate(results) if row.get("answer") not in (None, answer_of(f"question {i}")))


def check_all(folder, n, what):
    results = folder.results()
    expect(len(results) == n, f"{what}: {len(results)} of {n} rows")
    wrong = count_wrong(results)
    failed = sum(1 for row in results if row.get("error"))
    expect(wrong == 0 and failed == 0, f"{what}: {wrong} wrong, {failed} failed")


def kills():
    """SIGKILL at random moments; the same command resumes."""
    wanted, rows, concurrency = (10, 600, 8) if FAST else (200, 20_000, 8)
    random.seed(7)
    server, done, runs = Server(latency=0.005), 0, 0
    with Folder() as folder:
        folder.rows(rows)
        command = batch(server.url, "-c", str(concurrency))
        while done < wanted:
            run = Ran(folder.path, command, wait=False)
            time.sleep(random.uniform(0.02, 0.4 if IS_DEBUG else 0.25))
            if run.child.poll() is None:
                run.child.kill()
                done += 1
            run.wait() if run.child.returncode is None else None
            runs += 1
            if run.child.returncode == 0:
                # Complete: from scratch, as often as it takes.
                check_all(folder, rows, "after kills")
                for path in folder.path.glob("out.*"):
                    path.unlink()
                server.prompts.clear()
        expect(Ran(folder.path, command).code == 0, "the run after all kills ends well")
        check_all(folder, rows, "after kills")
        repeated = len(server.prompts) - rows
        expect(repeated <= done * concurrency, f"{repeated} calls were repeated")
    server.close()
    figures["kills"] = {"kills": done, "rows": rows, "lost": 0, "repeated calls": repeated}


def flips():
    """Bits of a journal are flipped, and journals are cut; the same command resumes or refuses."""
    flips, cuts, rows = (12, 6, 60) if FAST else (200, 60, 200)
    random.seed(11)
    server = Server()
    refused = resumed = 0
    with Folder() as folder:
        folder.rows(rows)
        Ran(folder.path, batch(server.url))
        journal = (folder.path / "out.jsonl.journal").read_bytes()
        for i in range(flips + cuts):
            for path in folder.path.glob("out.*"):
                path.unlink()
            if i < flips:
                changed = bytearray(journal)
                changed[random.randrange(len(journal))] ^= 1 << random.randrange(8)
            else:
                changed = journal[: random.randrange(len(journal))]
            (folder.path / "out.jsonl.journal").write_bytes(bytes(changed))
            run = Ran(folder.path, batch(server.url))
            if run.code == 0:
                resumed += 1
                check_all(folder, rows, f"flip {i}")
            else:
                refused += 1
                expect(run.code in (1, 2) and "journal" in run.stderr, f"flip {i}: {run.code} {run.stderr[:200]}")
    server.close()
    figures["flips"] = {"flips": flips, "cuts": cuts, "resumed": resumed, "refused": refused, "foreign answers": 0}


def disk():
    """The disk is full at several moments; after that, the same command resumes."""
    rows, sizes = (200, [20_000]) if FAST else (2_000, [500, 4_096, 20_000, 100_000, 300_000])
    server, stopped = Server(), 0
    for size in sizes:
        with Folder() as folder:
            folder.rows(rows)
            run = Ran(folder.path, batch(server.url), limits={resource.RLIMIT_FSIZE: size})
            expect(run.code in (1, 5) and "rite" in run.stderr, f"full at {size}: {run.code} {run.stderr[:200]}")
            stopped += run.code != 0
            expect(Ran(folder.path, batch(server.url)).code == 0, "the run after the full disk ends well")
            check_all(folder, rows, "after a full disk")
    server.close()
    figures["disk"] = {"full at": len(sizes), "stopped with an error": stopped, "lost": 0}


def descriptors():
    """Only 64 open files for 256 rows in flight."""
    rows = 300 if FAST else 3_000
    server = Server(latency=0.002)
    with Folder() as folder:
        folder.rows(rows)
        run = Ran(folder.path, batch(server.url, "-c", "256"), limits={resource.RLIMIT_NOFILE: 64})
        expect(run.code == 0, f"descriptors: {run.code} {run.stderr[:200]}")
        check_all(folder, rows, "descriptors")
    server.close()
    figures["descriptors"] = {"open files": 64, "rows": rows, "failed": 0}


def desync():
    """A server that sends every answer twice: none may reach another row."""
    rows = 100 if FAST else 1_000
    server = Server(surplus=True)
    with Folder() as folder:
        folder.rows(rows)
        Ran(folder.path, batch(server.url, "-c", "16"))
        results = folder.results()
        foreign = count_wrong(results)
        expect(foreign == 0 and len(results) == rows, f"desync: {foreign} foreign answers in {len(results)} rows")
        answered = sum(1 for row in results if row.get("answer"))
    server.close()
    figures["desync"] = {"rows": rows, "answered": answered, "foreign answers": foreign}


def read_bombs():
    path = ROOT / "crates/fanweave-core/src/prompt/guard/bombs.txt"
    for line in path.read_text().splitlines():
        if line.startswith("#") or not line:
            continue
        name, end, text = line.split(" | ", 2)
        parts = text.split("«")
        whole = parts[0]
        for part in parts[1:]:
            repeated, after = part.split("»", 1)
            times, what = repeated.split(":", 1)
            whole += what * int(times) + after
        yield name, end, whole.replace("\\n", "\n")


def bombs():
    """Each template fails alone, at its limit of time and memory."""
    all_bombs = list(read_bombs())
    chosen = all_bombs[:: len(all_bombs) // 6] if FAST else all_bombs
    most_cpu, most_mib = 0.0, {}
    with Folder() as folder:
        (folder.path / "in.txt").write_text("x\n")
        for setting in TEMPLATE_MIB:
            words = ["batch", "in.txt", "-o", "-", "-m", "sim/echo", "--show-progress", "none"]
            # Nearly all bombs use no field of the row, which stops a command without --keep-going.
            words += ["--template-memory", str(setting), "--keep-going", "-p"]
            base = Ran(folder.path, [*words, "{{ input }}"])
            for name, _, text in chosen:
                (folder.path / "t.txt").write_text(text)
                run = Ran(folder.path, [*words, "@t.txt"])
                cpu, mib = run.cpu - base.cpu, (run.rss - base.rss) / MIB
                # A template that cannot even be parsed ends the command, the others fail their row.
                expect(run.code in (1, 2, 3), f"bomb `{name}`: {run.code} {run.stderr[:200]}")
                expect(cpu < 0.25 * SLOWER, f"bomb `{name}`: {cpu:.2f} CPU s")
                expect(mib < setting, f"bomb `{name}`: {mib:.0f} MiB more than a plain row, the setting is {setting}")
                most_cpu = max(most_cpu, cpu)
                most_mib[setting] = max(most_mib.get(setting, (0, "")), (round(mib), name))
    expect(most_cpu > 0.01, "no bomb was rendered")
    figures["bombs"] = {"templates": len(chosen), "most CPU s": round(most_cpu, 3)}
    for setting, (mib, name) in most_mib.items():
        figures["bombs"][f"most MiB with a setting of {setting}"] = f"{mib} ({name})"


def chains():
    """Chain files whose steps hold more and more end at the memory of a run."""
    text = "{{ 'x' * 12000000 }}"
    each = lambda step: f"inputs: {{ n: {json.dumps(list(range(400)))} }}\nsteps:\n  a: {{ for_each: inputs.n, {step} }}\n"
    steps = lambda count, step: "steps:\n" + "".join(f"  s{i}: {{ {step} }}\n" for i in range(count))
    long_input = "inputs: { text: '" + "x" * 900_000 + f"', n: {json.dumps(list(range(200)))} }}\n"
    bombs = {
        "outputs of a fan-out": each(f'template: "{text}"'),
        "prompts of a fan-out": each(f'prompt: "{text}"'),
        "prompts of escapes": each("prompt: \"{{ '\\x01' * 6000000 }}\""),
        "prompts of many steps": steps(100, f'prompt: "{text}"'),
        "outputs of many steps": steps(100, f'template: "{text}"'),
        "joined outputs": each(f'template: "{text}"') + "  b: { template: \"{{ steps.a.output | join }}\" }\n",
        "a large input that all items copy": long_input
        + "steps:\n  a: { for_each: inputs.n, prompt: \"{{ item }} {{ text * 4 }}\" }\n",
        "doubling": "steps:\n  s0: { template: \"{{ 'x' * 4000000 }}\" }\n"
        + "".join(f"  s{i}: {{ for_each: inputs.n, template: '{{{{ steps.s{i - 1}.output }}}}' }}\n" for i in range(1, 7))
        + "inputs: { n: [1, 2] }\n",
        "lists of lists": each("template: \"{{ range(20000) | list }}\"")
        + "".join(f"  b{i}: {{ template: \"{{{{ steps.a.output | length }}}}\" }}\n" for i in range(20)),
        "all outputs": each(f'template: "{text}"') + "outputs: [a]\n",
    }
    ways = {"run": [], "json": ["--json"], "check": ["--check"], "dry run": ["--dry-run"], "rows": ["--rows", "in.jsonl", "-o", "-", "-c", "1"]}
    most_mib, most_cpu, ended = {}, 0.0, 0
    with Folder() as folder:
        (folder.path / "in.jsonl").write_text("{}\n" * 2)
        (folder.path / "plain.yaml").write_text("steps: { a: { prompt: x } }\n")
        for setting in RUN_MIB[1:] if FAST else RUN_MIB:
            for way, words in ways.items():
                more = ["--run-memory", str(setting), *([] if way == "check" else ["-m", "sim/echo", "--no-log"])]
                base = Ran(folder.path, ["run", "plain.yaml", *words, *more])
                expect(base.code == 0, f"a plain chain: {base.code} {base.stderr[:200]}")
                for name, text_of_chain in list(bombs.items())[: 1 if FAST else None]:
                    (folder.path / "c.yaml").write_text(text_of_chain)
                    run = Ran(folder.path, ["run", "c.yaml", *words, *more])
                    mib, cpu = (run.rss - base.rss) / MIB, run.cpu - base.cpu
                    said = run.stderr + run.stdout[-2_000:]
                    ended += "of the run need" in said
                    expect(run.code in (0, 1, 2, 3), f"chain `{name}`, {way}: {run.code} {run.stderr[:200]}")
                    # A template that is being rendered has a limit of its own.
                    most = setting + TEMPLATE_MIB[0]
                    expect(mib < most, f"chain `{name}`, {way}: {mib:.0f} MiB more than a plain chain, of {most} allowed")
                    # `--check` ends after 10 s, in which it may use all cores.
                    most = 11 * os.cpu_count() if way == "check" else 6 * SLOWER
                    expect(cpu < most, f"chain `{name}`, {way}: {cpu:.2f} CPU s, of {most} allowed")
                    most_cpu = max(most_cpu, cpu)
                    most_mib[setting] = max(most_mib.get(setting, (0, "")), (round(mib), f"{name}, {way}"))
        with open("/dev/zero", "rb") as endless:
            run = Ran(folder.path, ["chat", "-m", "sim/echo", "--no-log"], stdin=endless)
        expect(run.code == 2 and "more than 64 MiB" in run.stderr, f"an endless line of a chat: {run.code} {run.stderr[:200]}")
        expect(run.rss < 256 * MIB, f"an endless line of a chat: {run.rss / MIB:.0f} MiB")
    expect(ended > 0, "no chain ended at its memory")
    figures["chains"] = {"chains": len(bombs), "ways": len(ways), "ended at the limit": ended, "most CPU s": round(most_cpu, 2)}
    for setting, (mib, name) in most_mib.items():
        figures["chains"][f"most MiB with a setting of {setting}"] = f"{mib} ({name})"


def signals():
    """The second Ctrl-C ends the program while every thread renders."""
    slowest = 0.0
    with Folder() as folder:
        (folder.path / "in.txt").write_text("x\n" * 5_000)
        bomb = "{% for a in range(99999) %}{% for b in range(99999) %}{{ a * b }}{% endfor %}{% endfor %}"
        words = ["batch", "in.txt", "-o", "out.jsonl", "-m", "sim/echo", "--keep-going", "-p", bomb]
        for first, second in [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)]:
            run = Ran(folder.path, [*words, "--fresh"], wait=False)
            time.sleep(0.6 if IS_DEBUG else 0.3)
            run.child.send_signal(first)
            time.sleep(0.02)
            began = time.monotonic()
            run.child.send_signal(second)
            run.wait()
            slowest = max(slowest, time.monotonic() - began)
            # 5 if the renderings in progress ended before the second signal.
            expect(run.code in (5, 130), f"signals: {run.code} {run.stderr[:200]}")
    expect(slowest < 0.3, f"the second signal took {slowest:.2f} s")
    figures["signals"] = {"slowest end after the second signal, ms": round(slowest * 1000)}


def delay():
    """Rows of 200 ms do not wait for rows whose template is a bomb."""
    rows, runs = (60, 1) if FAST else (200, 5)
    template = "{% for a in range(n) %}{% for b in range(n) %}{{ a * b }}{% endfor %}{% endfor %}{{ q }}"
    times = {}
    cpu = []
    for n_bombs in (0, 8):
        times[n_bombs] = []
        for _ in range(runs):
            server = Server(latency=0.2)
            with Folder() as folder:
                lines = [{"q": f"question {i}", "n": 0} for i in range(rows)]
                for at in range(n_bombs):
                    lines.insert(at * rows // 8, {"q": "bomb", "n": 99_999})
                (folder.path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
                run = Ran(folder.path, batch(server.url, "-c", "16", "-p", template))
                failed = sum(1 for row in folder.results() if row.get("error"))
                expect(failed == n_bombs and len(server.prompts) == rows, f"delay: {failed} rows failed")
                # Until the last good row was answered, not until the last bomb has ended.
                times[n_bombs].append(max(server.ended.values()) - min(server.ended.values()))
                cpu.append((n_bombs, run.cpu))
            server.close()
    plain, attacked = statistics.median(times[0]), statistics.median(times[8])
    of_bombs = statistics.median(c for n, c in cpu if n) - statistics.median(c for n, c in cpu if not n)
    ratio = attacked / plain
    expect(ratio < 1.1 or (IS_DEBUG and ratio < 3), f"8 bombs delay {rows} rows by {ratio - 1:.0%}")
    figures["delay"] = {
        "rows": rows, "without bombs, s": round(plain, 2), "with 8 bombs, s": round(attacked, 2),
        "ratio": round(ratio, 3), "CPU s of a bomb": round(of_bombs / 8, 3),
    }


def tools():
    """A million tool calls in one answer, a million parts, and arguments of 100 MB, whole and streamed."""
    n, size = (100_000, 10 * MIB) if FAST else (1_000_000, 100 * MIB)
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    calls = [dict(call, id=f"c{i}") for i in range(n)]

    def events(deltas):
        chunks = (json.dumps({"id": "x", "choices": [{"index": 0, "delta": delta}]}) for delta in deltas)
        return ("text/event-stream", ("".join(f"data: {c}\n\n" for c in chunks) + "data: [DONE]\n\n").encode())

    whole = lambda body: ("application/json", json.dumps(body).encode())
    long_call = dict(call, function={"name": "f", "arguments": '{"a":"' + "x" * size + '"}'})
    piece = lambda text: {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": text}}]}
    attacks = {
        "calls": whole(completion(None, calls)),
        "streamed calls": events({"tool_calls": [dict(c, index=i)]} for i, c in enumerate(calls)),
        "choices": whole({"choices": [completion("x")["choices"][0]] * n}),
        "arguments": whole(completion(None, [long_call])),
        "streamed arguments": events(piece("x" * 65_536) for _ in range(size >> 16)),
        "index": events([{"tool_calls": [dict(call, index=2**32 - 1)]}]),
        "text parts": whole({"choices": [{"index": 0, "message": {
            "role": "assistant", "content": [{"type": "text", "text": "x"}] * n}, "finish_reason": "stop"}]}),
    }
    found = {}
    with Folder() as folder:
        for name, body in attacks.items():
            server = Server(body=body)
            words = ["ask", "hi", "-m", "openai/m", "--base-url", server.url, "--retries", "0", "--outage-timeout", "0s"]
            run = Ran(folder.path, words if "streamed" in name or name == "index" else [*words, "--json"])
            server.close()
            found[name] = {"exit": run.code, "s": round(run.seconds, 2), "body MiB": len(body[1]) // MIB, "RSS MiB": run.rss // MIB}
            for what, maximum in [("calls", "1024 tool calls"), ("choices", "1024 choices"), ("parts", "16384 parts")]:
                if what in name:
                    expect(run.code == 1 and f"more than {maximum}" in run.stderr, f"tools {name}: {run.code} {run.stderr[:200]}")
            expect(run.code in (0, 1), f"tools {name}: {run.code} {run.stderr[:200]}")
            # The size of a body is a setting.
            expect(run.rss < 5 * len(body[1]) + 64 * MIB, f"tools {name}: {run.rss / MIB:.0f} MiB")
            expect(run.seconds < 6 * SLOWER, f"tools {name}: {run.seconds:.1f} s")
    figures["tools"] = found


def growth():
    """Inputs of n and 4n columns, fields, messages, parts, tools, headers, variables and steps."""
    n = 5_000 if FAST else 20_000
    names = lambda count: [f"field{i}" for i in range(count)]
    row = lambda **fields: {"in.jsonl": json.dumps(fields) + "\n"}
    hello = [{"role": "user", "content": "x"}]
    tool = lambda name: {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    properties = lambda count: {name: {"type": "string"} for name in names(count)}
    schema = lambda count: {"type": "json_schema", "json_schema": {"name": "s", "schema": {
        "type": "object", "properties": properties(count), "required": names(count), "additionalProperties": False}}}
    steps = lambda count: "".join(f"  s{i}: {{ template: x }}\n" for i in range(count))
    chained = lambda count: "".join(f"  s{i}: {{ template: '{{{{ steps.s{max(i - 1, 0)}.output }}}}' }}\n" for i in range(1, count))
    inputs = lambda count: "".join(f"  i{i}: x\n" for i in range(count))
    csv_rows = lambda count, value: {"in.csv": ",".join(names(count)) + "\n" + ",".join([value] * count) + "\n"}
    jsonl, csv = ["batch", "in.jsonl"], ["batch", "in.csv"]
    # Files, words of the command, and the count at n: some have a maximum.
    kinds = {
        "columns": (lambda count: csv_rows(count, "1"), [*csv, "-p", "{{ field1 }}"], n),
        "columns of output": (lambda count: csv_rows(count, "1"), [*csv, "-p", "{{ field1 }}", "--output-format", "csv"], n),
        "columns of the same name": (
            lambda count: {"in.csv": ",".join(["a"] * count) + "\n"}, [*csv, "-p", "x"], n),
        "fields": (lambda count: row(**dict.fromkeys(names(count), "x")), [*jsonl, "-p", "{{ field1 }}"], n),
        "fields of a request": (
            lambda count: row(messages=hello, **dict.fromkeys(names(count), "x")), jsonl, n),
        "variables": (
            lambda count: row(**dict.fromkeys(names(count), "x")) | {"t.txt": "".join(f"{{{{ {f} }}}}" for f in names(count))},
            [*jsonl, "-p", "@t.txt"], n),
        "missing variables": (
            lambda count: row(other=1) | {"t.txt": "".join(f"{{{{ {f} }}}}" for f in names(count))}, [*jsonl, "-p", "@t.txt"], n),
        "messages": (lambda count: row(messages=hello * count), jsonl, n),
        "parts": (
            lambda count: row(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}] * count}]), jsonl, n),
        "tool calls of a request": (
            lambda count: row(messages=[*hello, {"role": "assistant", "content": None, "tool_calls": [
                {"id": f, "type": "function", "function": {"name": "f", "arguments": "{}"}} for f in names(count)]},
                *({"role": "tool", "tool_call_id": f, "content": "x"} for f in names(count)), *hello]), jsonl, n),
        "tools": (lambda count: row(messages=hello, tools=[tool(f) for f in names(count)]), jsonl, n),
        "stop sequences": (lambda count: row(messages=hello, stop=names(count)), jsonl, n),
        "schema properties": (lambda count: row(messages=hello, response_format=schema(count)), jsonl, n),
        "levels of a schema": (
            lambda count: row(messages=hello, response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": {
                "type": "object", "properties": {f: {"type": "object", "properties": {"a": {"type": "string"}}} for f in names(count)}}}}),
            jsonl, n),
        "steps": (lambda count: {"c.yaml": "steps:\n" + steps(count)}, ["run", "c.yaml", "--check"], n // 4),
        "steps in sequence": (
            lambda count: {"c.yaml": "steps:\n  s0: { template: x }\n" + chained(count)}, ["run", "c.yaml", "--check"], n // 8),
        "steps that run": (lambda count: {"c.yaml": "steps:\n" + steps(count)}, ["run", "c.yaml"], n // 20),
        "inputs of a chain": (
            lambda count: {"c.yaml": "inputs:\n" + inputs(count) + "steps:\n  a: { template: '{{ i1 }}' }\n"}, ["run", "c.yaml"], n // 2),
        "headers": (lambda count: {"in.txt": "x\n"} | {"args": [f"--header=x-h{i}: 1" for i in range(count)]}, ["batch", "in.txt"], n // 20),
        "fallback models": (
            lambda count: {"in.txt": "x\n"} | {"args": [f"--fallback-model=openai/m{i}" for i in range(count)]}, ["batch", "in.txt"], n // 40),
    }
    found = {}
    server = Server()
    for name, (files_of, words, few) in kinds.items():
        cpu = {}
        for count in (1, few, 4 * few):
            files = files_of(count)
            with Folder() as folder:
                more = [*files.pop("args", []), *([] if words[0] == "run" else ["-o", "-", "--show-progress", "none"])]
                more += [] if "--check" in words else ["-m", "openai/m", "--base-url", server.url]
                for path, text in files.items():
                    (folder.path / path).write_text(text)
                runs = [Ran(folder.path, [*words, *more]) for _ in range(1 if FAST else 3)]
                expect(all(run.code in (0, 2, 3) for run in runs), f"growth of {name}: {runs[0].code} {runs[0].stderr[:200]}")
                cpu[count] = statistics.median(run.cpu for run in runs)
        first, more = cpu[few] - cpu[1], cpu[4 * few] - cpu[1]
        # Times of a few milliseconds are noise.
        expect(more < 8 * max(first, 0.02 * SLOWER), f"growth of {name}: {first:.3f} s of {few}, {more:.3f} s of {4 * few}")
        found[name] = {f"{few}, CPU s": round(first, 3), f"{4 * few}, CPU s": round(more, 3)}
        print(f"  {name}: {found[name]}", flush=True)
    server.close()
    figures["growth"] = found


def planted():
    """30 planted configs, 14 forms of keys in all outputs: tests of the program."""
    if FAST:
        return print("  (these are tests of crates/fanweave-cli: planted, echoes)")
    words = ["cargo", "test", "--quiet", "--locked", "-p", "fanweave-cli", "--test", "cli", "--", "planted::", "echoes::"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    passed = done.stdout.split(" passed")[0].rsplit(" ", 1)[-1] if " passed" in done.stdout else "0"
    expect(done.returncode == 0, f"planted: {done.stdout[-500:]} {done.stderr[-500:]}")
    figures["planted"] = {"tests": int(passed), "configs": 30, "forms of keys": 14, "outputs": 16, "shown": 0}


def main():
    for attack in (kills, flips, disk, descriptors, desync, bombs, chains, signals, delay, tools, growth, planted):
        if ONLY not in attack.__name__:
            continue
        # A shared machine cannot compare times.
        if FAST and attack is delay:
            continue
        began = time.monotonic()
        before = len(failures)
        print(f"{attack.__name__}: {attack.__doc__.splitlines()[0]}", flush=True)
        attack()
        verdict = "ok" if len(failures) == before else "FAILED"
        print(f"  {verdict} in {time.monotonic() - began:.1f} s: {json.dumps(figures.get(attack.__name__, {}))}", flush=True)
    (ROOT / "target/attack/figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    if failures:
        sys.exit(f"{len(failures)} failed")


main()
