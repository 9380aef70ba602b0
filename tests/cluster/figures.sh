#!/usr/bin/env bash
# Measures batches at workers: rows per second of submit, work and collect, and what the broker needs.
#
#   tests/cluster/figures.sh [path/to/fanweave]      a release build; ROWS (50000), NODES (1) and CONCURRENCY (256) are variables
#
# The model is a simulated provider on this machine without latency, and the same rows run in one process first: the difference is
# the price of the broker. Each message is on disk before it is acknowledged (sync_interval: always).
set -euo pipefail
source "$(dirname "$0")/lib.sh"

rows=${ROWS:-50000} nodes=${NODES:-1}
broker_of "$nodes"
submitter=(--on @conf/submitter.url)
python3 - "$rows" >rows.jsonl <<'PY'
import json, sys
for i in range(int(sys.argv[1])):
    print(json.dumps({"id": f"r{i}", "city": f"city {i} " + "x" * 150}))
PY
ask=("$fanweave" batch rows.jsonl --model openai/echo --prompt 'Where is {{ city }}?' --show-progress none)
concurrency=${CONCURRENCY:-256}
start_sim --latency 0ms
now() { python3 -c 'import time; print(time.time())'; }
rate() { python3 -c "print(f'{$rows / ($2 - $1):,.0f} rows/s in {$2 - $1:.1f} s')"; }
cpu() { awk '{print ($14 + $15) / 100}' "/proc/${started[$1]}/stat"; }
rss() { awk '/VmRSS/ {print int($2 / 1024)}' "/proc/${started[$1]}/status"; }

echo "machine: $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg), $nodes servers, $rows rows, $concurrency in flight"
every_sync() { python3 -c "
import os, time
file, began = os.open('sync', os.O_CREAT | os.O_WRONLY), time.time()
for _ in range(50): os.write(file, b'x' * 4096), os.fdatasync(file)
print(f'{(time.time() - began) * 20:.2f} ms')"; }
echo "a sync of the disk: $(every_sync)"
from=$(now)
OPENAI_API_KEY=none "${ask[@]}" --base-url "$url" --concurrency $concurrency -o one.jsonl >one.log 2>&1
echo "one process: $(rate "$from" "$(now)")"
from=$(now)
run=$("${ask[@]}" -o x.jsonl "${submitter[@]}" --detach 2>submit.log)
echo "submit: $(rate "$from" "$(now)")"
start_worker w1
from=$(now)
is_complete() { [ "$(field "$run" state)" = "done" ]; }
within 600 is_complete
echo "work, one worker: $(rate "$from" "$(now)"), worker $(cpu w1) s of CPU, $(rss w1) MB"
from=$(now)
"$fanweave" jobs collect "$run" -o out.jsonl "${submitter[@]}" >collect.log 2>&1
echo "collect: $(rate "$from" "$(now)")"
messages() { api "\$JS.API.STREAM.INFO.fw_$1" | python3 -c "import json, sys; print(json.load(sys.stdin)['state']['last_seq'])"; }
echo "messages: $(messages ROWS) shards, $(messages RES) records of results"
echo "broker: $(cpu broker1) s of CPU, $(rss broker1) MB, $(du -sm store* | awk '{sum += $1} END {print sum}') MB on disk"
has_lines out.jsonl "$rows"
