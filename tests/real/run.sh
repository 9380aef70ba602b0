#!/usr/bin/env bash
# Runs fanweave against a server that nobody here wrote: llama.cpp's, with a tiny random model.
#
#   tests/real/run.sh [path/to/fanweave] [path/to/the/example real_server]
#
# The server is the latest version of the PyPI package xllamacpp, installed under target/real. Skips, with the reason,
# only without python3 or without a package for this platform.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work="$root/target/real"
fanweave=${1:-$root/target/debug/fanweave}
checks=${2:-$(dirname "$fanweave")/examples/real_server}
for binary in "$fanweave" "$checks"; do
  if [ ! -x "$binary" ]; then
    echo "no $binary: build it with 'cargo build --workspace --all-targets'" >&2
    exit 1
  fi
done

skip() {
  echo "SKIPPED: the real server, because $*" >&2
  exit 0
}
command -v python3 >/dev/null || skip "there is no python3"
mkdir -p "$work"
if [ ! -x "$work/venv/bin/pip" ]; then python3 -m venv "$work/venv"; fi
pip="$work/venv/bin/pip --quiet --disable-pip-version-check"
# Never from source: that would compile llama.cpp.
if ! $pip install --upgrade --only-binary :all: xllamacpp gguf numpy 2>"$work/pip.err"; then
  # Packages of an earlier run are sufficient.
  "$work/venv/bin/python" -c 'import gguf, numpy, xllamacpp' 2>/dev/null \
    || skip "pip cannot install xllamacpp: $(tail -n 1 "$work/pip.err")"
fi

"$work/venv/bin/python" "$here/tiny_model.py" "$work/tiny.gguf"
"$work/venv/bin/python" "$here/serve.py" "$work/tiny.gguf" >"$work/listening" 2>"$work/server.log" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true' EXIT
for _ in $(seq 300); do
  if grep -q '^listening on ' "$work/listening"; then break; fi
  if ! kill -0 "$server" 2>/dev/null; then break; fi
  sleep 0.1
done
origin=$(sed -n 's|^listening on ||p' "$work/listening")
if [ -z "$origin" ]; then
  echo "the server did not start:" >&2
  tail -n 20 "$work/server.log" >&2
  exit 1
fi

failed() {
  echo "FAILED: $*" >&2
  exit 1
}

# One question, as text and as JSON.
ask=("$fanweave" ask --model llamacpp/tiny --base-url "$origin/v1" --max-tokens 40)
"${ask[@]}" "Name a bear." >"$work/ask.out"
"${ask[@]}" --json "Name a bear." >"$work/ask.json"
grep -q '"finish_reason":"\(stop\|length\)".*"usage":{"input_tokens":[1-9]' "$work/ask.json" \
  || failed "ask --json printed: $(cat "$work/ask.json")"

# A batch of 300 rows, a second run that has nothing left to do, and the answers in order.
for row in $(seq 300); do echo "Question number $row"; done >"$work/questions.txt"
rm -f "$work"/answers.jsonl*
batch=("$fanweave" batch "$work/questions.txt" -o "$work/answers.jsonl" --model llamacpp/tiny
  --base-url "$origin/v1" --max-tokens 40 --concurrency 32 --show-progress none)
"${batch[@]}"
status=0
"${batch[@]}" || status=$?
[ "$status" = 0 ] || failed "the second run of a finished batch ended with $status, not 0"
"$work/venv/bin/python" - "$work/answers.jsonl" <<'CHECK' || failed "the answers of the batch"
import json, sys

rows = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
assert [row["index"] for row in rows] == list(range(300)), "not every row once and in order"
assert all(row["error"] is None and row["usage"]["output_tokens"] > 0 for row in rows), "a row failed"
CHECK

"$checks" "$origin"
echo "the real server: all as it must be"
