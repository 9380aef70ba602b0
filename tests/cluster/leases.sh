#!/usr/bin/env bash
# Lets 32 workers share one limit of requests per minute by leases at a real NATS server: together they use it, and no more. The provider
# has the same limit, so that it would refuse what is too much.
#
#   tests/cluster/leases.sh [path/to/fanweave]
#
# WORKERS (32), RPM (12000) and ROWS (4000) are variables. Not a part of test.sh.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

workers=${WORKERS:-32} rpm=${RPM:-12000} rows=${ROWS:-4000}
concurrency=16
submitter=(--on @conf/submitter.url)
broker_of 1
start_sim --latency 50ms --rpm $((rpm * 105 / 100)) --quantum 2s
for ((n = 1; n <= workers; n++)); do start_worker "w$n"; done
python3 - "$rows" >rows.jsonl <<'PY'
import json, sys
for i in range(int(sys.argv[1])):
    print(json.dumps({"id": f"r{i}", "city": f"city {i}"}))
PY
began=$(date +%s.%N)
ends_with 0 batch "$fanweave" batch rows.jsonl -o out.jsonl --model openai/writer --prompt 'Where is {{ city }}?' --show-progress none \
  --no-hedging --rpm "$rpm" "${submitter[@]}"
ended=$(date +%s.%N)
"$fanweave" jobs show "$(run_of batch)" --json "${submitter[@]}" >status.json
stop sim
python3 - "$began" "$ended" "$rows" "$rpm" <<'PY'
import json, re, sys
began, ended, rows, rpm = map(float, sys.argv[1:])
seconds, least = ended - began, rows / rpm * 60
counts = sorted(worker["ok"] for worker in json.load(open("status.json"))["workers"])
(line,) = [line for line in open("sim.log") if re.match(r"\d+ requests", line)]
refused = re.search(r"(\d+) over the limits", line)
refused = int(refused.group(1)) if refused else 0
print(f"{rows:.0f} rows at {rpm:.0f} per minute by {len(counts)} workers in {seconds:.1f} s of {least:.1f} s: {least / seconds:.0%} of the limit")
print(f"rows of a worker: {counts[0]} to {counts[-1]}; {refused} requests refused by the provider; {line.strip()}")
assert seconds > least * 0.95, "more than the limit was used"
assert refused <= rows * 0.02, "the provider refused requests"
PY
echo "leases: all cases passed"
