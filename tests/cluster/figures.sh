#!/usr/bin/env bash
# Measures batches at workers: rows per second and CPU time of submit, work and collect, and what the broker needs.
#
#   tests/cluster/figures.sh [path/to/fanweave]      a release build
#
# ROWS (50000), NODES (1), CONCURRENCY (256) and MODEL (openai/echo) are variables. The model is a simulated provider on this
# machine without latency, and the same rows run in one process first: the difference is the price of the broker. With
# MODEL=sim/echo, rows need no request, but take as long as at a small model: CONCURRENCY=5000 then is 5,000 rows/s. Each message is
# on disk before it is acknowledged (sync_interval: always). Shards have 200 rows, and 1,000 from ROWS=1000001 on.
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
model=${MODEL:-openai/echo}
ask=("$fanweave" batch rows.jsonl --model "$model" --prompt 'Where is {{ city }}?' --show-progress none)
concurrency=${CONCURRENCY:-256}
# A simulated model within the program needs no server.
to=()
if [[ "$model" != sim/* ]]; then
  start_sim --latency 0ms
  to=(--base-url "$url")
fi
now() { python3 -c 'import time; print(time.time())'; }
rate() { python3 -c "print(f'{$rows / ($2 - $1):,.0f} rows/s in {$2 - $1:.1f} s')"; }
cpu() { awk '{print ($14 + $15) / 100}' "/proc/${started[$1]}/stat"; }
# The sum of seconds of CPU time, for a row.
of_row() { python3 -c "import sys; print(f'{sum(map(float, sys.argv[1:])) / $rows * 1e6:.1f} us of CPU a row')" "$@"; }
# Runs a command with its output in `$1.log`, and sets `took` to its CPU time: that of the program, and of the system for it.
timed() {
  local log=$1.log TIMEFORMAT='%U %S'
  shift
  read -ra took <<<"$({ time "$@" >"$log" 2>&1; } 2>&1)"
}
rss() { awk '/VmRSS/ {print int($2 / 1024)}' "/proc/${started[$1]}/status"; }

echo "machine: $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg), $nodes servers, $rows rows, $concurrency in flight"
every_sync() { python3 -c "
import os, time
file, began = os.open('sync', os.O_CREAT | os.O_WRONLY), time.time()
for _ in range(50): os.write(file, b'x' * 4096), os.fdatasync(file)
print(f'{(time.time() - began) * 20:.2f} ms')"; }
echo "a sync of the disk: $(every_sync)"
export OPENAI_API_KEY=none
from=$(now)
timed one "${ask[@]}" "${to[@]}" --concurrency "$concurrency" -o one.jsonl
one=("${took[@]}")
echo "one process: $(rate "$from" "$(now)"), $(of_row "${one[@]}")"
from=$(now)
timed submit "${ask[@]}" -o x.jsonl "${submitter[@]}" --detach
all=("${took[@]}")
run=$(grep -v ' ' submit.log)
echo "submit: $(rate "$from" "$(now)"), $(of_row "${took[@]}")"
start_worker w1
from=$(now)
# Few looks: each of them takes CPU time of the broker.
is_complete() { sleep 0.7 && [ "$(field "$run" state)" = "done" ]; }
within 3600 is_complete
all+=("$(cpu w1)")
echo "work, one worker: $(rate "$from" "$(now)"), $(of_row "$(cpu w1)"), $(rss w1) MB"
from=$(now)
timed collect "$fanweave" jobs collect "$run" -o out.jsonl "${submitter[@]}"
all+=("${took[@]}")
echo "collect: $(rate "$from" "$(now)"), $(of_row "${took[@]}")"
for ((node = 1; node <= nodes; node++)); do all+=("$(cpu "broker$node")"); done
echo "all of them, with the broker: $(of_row "${all[@]}"), which is more than one process by $(of_row "${all[@]}" "-${one[0]}" "-${one[1]}")"
messages() { api "\$JS.API.STREAM.INFO.fw_$1" | python3 -c "import json, sys; print(json.load(sys.stdin)['state']['last_seq'])"; }
echo "messages: $(messages ROWS) shards, $(messages RES) records of results"
echo "server 1: $(of_row "$(cpu broker1)"), $(rss broker1) MB, $(du -sm store* | awk '{sum += $1} END {print sum}') MB on disk"
has_lines out.jsonl "$rows"
