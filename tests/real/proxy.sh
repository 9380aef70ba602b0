#!/usr/bin/env bash
# Runs fanweave against a gateway that nobody here wrote: a LiteLLM proxy in front of `fanweave sim`, which it calls in
# three dialects and which answers in three others.
#
#   tests/real/proxy.sh [path/to/fanweave] [path/to/the/example real_proxy]
#
# The proxy knows from the name of a model what it supports, so that of Gemini is a real one.
#
# The proxy is the PyPI package litellm, installed under target/real (520 MB). `proxy.txt` beside this script pins it and
# its dependencies. Skips, with the reason, only without python3 or if pip cannot install it.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work="$root/target/real/proxy"
fanweave=${1:-$root/target/debug/fanweave}
checks=${2:-$(dirname "$fanweave")/examples/real_proxy}
for binary in "$fanweave" "$checks"; do
  if [ ! -x "$binary" ]; then
    echo "no $binary: build it with 'cargo build --workspace --all-targets'" >&2
    exit 1
  fi
done

skip() {
  echo "SKIPPED: the proxy, because $*" >&2
  exit 0
}
command -v python3 >/dev/null || skip "there is no python3"
mkdir -p "$work"
if [ ! -x "$work/venv/bin/pip" ]; then python3 -m venv "$work/venv" || skip "python3 has no venv"; fi
if ! cmp --silent "$here/proxy.txt" "$work/installed.txt"; then
  "$work/venv/bin/pip" --quiet --disable-pip-version-check install --only-binary :all: -r "$here/proxy.txt" 2>"$work/pip.err" \
    || skip "pip cannot install the proxy: $(tail -n 1 "$work/pip.err")"
  cp "$here/proxy.txt" "$work/installed.txt"
fi

pids=()
end() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
}
trap end EXIT

# Starts a simulated provider. Prints its origin to the file $1.
provider() {
  local out=$1
  shift
  "$fanweave" sim --port 0 "$@" >"$out" 2>&1 &
  pids+=($!)
  for _ in $(seq 100); do
    if grep -q 'http://127.0.0.1:' "$out"; then return; fi
    sleep 0.1
  done
  echo "the simulator did not start: $(cat "$out")" >&2
  exit 1
}
origin() { grep -o 'http://127.0.0.1:[0-9]*' "$1" | head -n 1; }
provider "$work/sim.out"
provider "$work/limited.out" --first-429 4:1s
provider "$work/failing.out" --error-rate 1
sim=$(origin "$work/sim.out") limited=$(origin "$work/limited.out") failing=$(origin "$work/failing.out")

cat >"$work/config.yaml" <<CONFIG
model_list:
  - model_name: openai
    litellm_params: { model: openai/writer, api_base: "$sim/v1", api_key: sk-upstream }
  - model_name: anthropic
    litellm_params: { model: anthropic/writer, api_base: "$sim", api_key: sk-upstream }
  - model_name: gemini
    litellm_params: { model: gemini/gemini-2.5-flash, api_base: "$sim/v1beta/models/gemini-2.5-flash", api_key: sk-upstream }
  - model_name: limited
    litellm_params: { model: openai/writer, api_base: "$limited/v1", api_key: sk-upstream }
  - model_name: failing
    litellm_params: { model: openai/writer, api_base: "$failing/v1", api_key: sk-upstream }
general_settings: { master_key: sk-proxy-1234 }
router_settings: { disable_cooldowns: true }
litellm_settings: { num_retries: 0, telemetry: false }
CONFIG

# The table of prices in the package, instead of one from the network.
export LITELLM_LOCAL_MODEL_COST_MAP=True
port=$("$work/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$work/venv/bin/litellm" --config "$work/config.yaml" --host 127.0.0.1 --port "$port" --telemetry False \
  >"$work/proxy.log" 2>&1 &
proxy=$!
pids+=("$proxy")
alive() {
  "$work/venv/bin/python" - "$port" 2>/dev/null <<'ALIVE'
import sys, urllib.request

urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/health/liveliness", timeout=2).read()
ALIVE
}
for _ in $(seq 120); do
  if alive; then break; fi
  if ! kill -0 "$proxy" 2>/dev/null; then break; fi
  sleep 1
done
if ! alive; then
  echo "the proxy did not start:" >&2
  tail -n 20 "$work/proxy.log" >&2
  exit 1
fi

"$checks" "http://127.0.0.1:$port"

# Rows whose upstream asks all of them to wait first.
for row in $(seq 40); do echo "Question number $row"; done >"$work/questions.txt"
rm -f "$work"/answers.jsonl*
LITELLM_API_KEY=sk-proxy-1234 "$fanweave" batch "$work/questions.txt" -o "$work/answers.jsonl" --model litellm/limited \
  --base-url "http://127.0.0.1:$port/v1" --concurrency 4 --show-progress none
"$work/venv/bin/python" - "$work/answers.jsonl" <<'CHECK'
import json, sys

rows = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
assert [row["index"] for row in rows] == list(range(40)), "not every row once and in order"
assert all(row["error"] is None and row["answer"] for row in rows), "a row failed"
CHECK
echo "the proxy: all as it must be"
