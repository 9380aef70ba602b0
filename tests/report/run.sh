#!/usr/bin/env bash
# Makes a run of 500 rows with faults, and looks at its report in a headless Chromium.
#
#   tests/report/run.sh [path/to/fanweave]
#
# Screenshots are left under target/report. Skips, with a reason, where node or chromium is missing.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work="$root/target/report"
fanweave=$(realpath "${1:-$root/target/debug/fanweave}")

chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -z "$chromium" ] || ! command -v npm >/dev/null; then
    echo "skipped: no chromium, or no npm"
    exit 0
fi

rm -rf "$work/run"
mkdir -p "$work/run"
cd "$work"
[ -d node_modules/puppeteer-core ] || npm install --silent --no-save --no-audit --no-fund puppeteer-core@24.10.0

listening=run/listening
"$fanweave" sim --port 0 --latency lognormal:60ms,0.5 --error-rate 0.15 --seed 3 >"$listening" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true' EXIT
for _ in $(seq 100); do
    if grep -q '^listening on ' "$listening"; then break; fi
    sleep 0.05
done
url=$(sed -n 's|^listening on ||p' "$listening")

for i in $(seq 0 499); do
    echo "{\"id\":\"row-$i\",\"prompt\":\"Write a sentence about topic $i </script><img src=x onerror=alert(1)>\"}"
done >run/in.jsonl
code=0
"$fanweave" batch run/in.jsonl -o run/out.jsonl -m openai/gpt-5-mini --base-url "$url" -c 32 --retries 1 -q || code=$?
if [ "$code" != 0 ] && [ "$code" != 3 ]; then exit "$code"; fi

"$fanweave" report run/out.jsonl --html run/report.html --input run/in.jsonl --chrome-trace run/trace.json
"$fanweave" report run/out.jsonl --json >run/figures.json
# A chain, whose page has the figures of its steps.
cat >run/chain.yaml <<'END'
version: 1
inputs: { topic: null }
steps:
  points: { prompt: "Three points on {{ topic }}", output: lines }
  summary: { prompt: "Sum up: {{ steps.points.output | join(' ') }}" }
END
for i in $(seq 0 9); do echo "{\"topic\":\"tide $i\"}"; done >run/topics.jsonl
"$fanweave" run run/chain.yaml --rows run/topics.jsonl -o run/chain.jsonl -m openai/gpt-5-mini --base-url "$url" -q
"$fanweave" report run/chain.jsonl --html run/chain.html
cp "$here/check.mjs" "$work/check.mjs"
CHROMIUM=$chromium node check.mjs
