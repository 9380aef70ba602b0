#!/usr/bin/env bash
# Runs the official OpenAI and Anthropic SDKs, in Python and JavaScript, against `fanweave sim`.
#
#   tests/sdk/run.sh [path/to/fanweave]
#
# The SDKs are installed under target/sdk and are as new as the registries have them. Skips, with a reason, what
# cannot run for lack of python3 or node.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work="$root/target/sdk"

fanweave=${1:-}
if [ -z "$fanweave" ]; then
  for candidate in "$root/target/debug/fanweave" "$root/target/release/fanweave"; do
    if [ -x "$candidate" ]; then fanweave=$candidate; break; fi
  done
fi
if [ ! -x "$fanweave" ]; then
  echo "no fanweave binary: build one with 'cargo build', or name it: $0 path/to/fanweave" >&2
  exit 1
fi

FANWEAVE=$(realpath "$fanweave")
export FANWEAVE

mkdir -p "$work"
servers=()
stop_servers() {
  for pid in "${servers[@]}"; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
}
trap stop_servers EXIT

# Starts a simulator with the given flags; sets `origin` to http://host:port.
start_server() {
  local out
  out=$(mktemp "$work/listening.XXXXXX")
  "$fanweave" sim --port 0 "$@" >"$out" 2>"$out.err" &
  local pid=$!
  servers+=("$pid")
  for _ in $(seq 100); do
    if grep -q '^listening on ' "$out"; then break; fi
    if ! kill -0 "$pid" 2>/dev/null; then cat "$out.err" >&2; exit 1; fi
    sleep 0.05
  done
  origin=$(sed -n 's|^listening on \(.*\)/v1$|\1|p' "$out")
  rm -f "$out" "$out.err"
  if [ -z "$origin" ]; then echo "the simulator did not say where it listens" >&2; exit 1; fi
}

start_server --api-key sk-sim-0123456789 --models writer,echo,text-embedding-3-small
export SIM_ORIGIN=$origin SIM_KEY=sk-sim-0123456789
start_server --rpm 1 --quantum 60s
export SIM_LIMITED_ORIGIN=$origin
start_server --truncate-rate 1
export SIM_TRUNCATING_ORIGIN=$origin

if command -v python3 >/dev/null; then
  if [ ! -x "$work/venv/bin/python" ]; then python3 -m venv "$work/venv"; fi
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check --upgrade openai anthropic jsonschema
  # A failed call empties the bucket for all who come after it: each program gets a full one.
  for program in openai_sdk.py anthropic_sdk.py; do
    "$work/venv/bin/python" -c "import os, urllib.request as u; u.urlopen(u.Request(os.environ['SIM_LIMITED_ORIGIN'] + '/reset', method='POST'))"
    "$work/venv/bin/python" "$here/$program"
  done
else
  echo "SKIPPED: the Python SDKs, because there is no python3"
fi

if command -v node >/dev/null && command -v npm >/dev/null; then
  if [ ! -f "$work/package.json" ]; then echo '{"private":true,"type":"module"}' >"$work/package.json"; fi
  npm install --prefix "$work" --silent --no-audit --no-fund openai@latest @anthropic-ai/sdk@latest zod@latest ajv@latest
  # Modules are looked up beside the program that imports them.
  for program in openai_sdk.mjs anthropic_sdk.mjs; do
    cp "$here/$program" "$work/$program"
    node -e "fetch(process.env.SIM_LIMITED_ORIGIN + '/reset', { method: 'POST' })"
    node "$work/$program"
  done
else
  echo "SKIPPED: the JavaScript SDKs, because there is no node with npm"
fi
