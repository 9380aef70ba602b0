#!/usr/bin/env bash
# Runs a large batch at workers while faults of all kinds happen at random times: workers are killed, stopped and stand still,
# brokers are killed, the collecting command is killed. No row is lost or doubled, and calls are repeated only within the bounds.
#
#   tests/cluster/soak.sh [path/to/fanweave]
#
# ROWS (20000), FAULTS (20), NODES (1 or 3), SEED (1) and LATENCY (80ms) are variables. Not a part of test.sh: it takes as long as
# its faults.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

rows=${ROWS:-20000} faults=${FAULTS:-20} nodes=${NODES:-1} seed=${SEED:-1} latency=${LATENCY:-80ms}
RANDOM=$seed
broker_of "$nodes"
submitter=(--on @conf/submitter.url)
start_sim --latency "$latency"
concurrency=16
workers=(w1 w2 w3 w4)
for worker in "${workers[@]}"; do start_worker "$worker"; done
rows "$rows" >rows.jsonl
valid=$(grep -c '^{"id"' rows.jsonl)
follow() {
  start batch "$fanweave" batch rows.jsonl -o out.jsonl --model openai/writer --prompt 'Where is {{ city }}?' --show-progress none \
    "${submitter[@]}"
}
is_followed() { kill -0 "${started[batch]}" 2>/dev/null; }
began=$SECONDS
follow
within 60 grep -q 'run: ' batch.log
run=$(sed -n 's/.*run: \([^ ]*\)$/\1/p' batch.log | head -n 1)
bound=0
declare -A count=()
for ((fault = 1; fault <= faults; fault++)); do
  sleep "$((RANDOM % 3)).$((RANDOM % 10))"
  if ! is_followed; then break; fi
  at=$((RANDOM % 4))
  worker=${workers[$at]}
  case $((RANDOM % 6)) in
  0 | 1)
    kind="worker killed"
    stop "$worker" KILL
    workers[at]=w$((100 + fault))
    start_worker "${workers[$at]}"
    bound=$((bound + 2 * concurrency))
    ;;
  2)
    kind="worker stopped"
    # It ends by itself, when its calls have ended.
    signal TERM "$worker"
    workers[at]=w$((100 + fault))
    start_worker "${workers[$at]}"
    ;;
  3)
    kind="worker stands still"
    signal STOP "$worker"
    sleep 12
    signal CONT "$worker"
    bound=$((bound + 2 * concurrency))
    ;;
  4)
    kind="broker killed"
    node=$((RANDOM % nodes + 1))
    stop "broker$node" KILL
    sleep 2
    start_node $node
    # Three servers elect another leader first.
    if [ "$nodes" = 3 ]; then sleep 6; fi
    ;;
  5)
    kind="command killed"
    stop batch KILL
    follow
    ;;
  esac
  count[$kind]=$((${count[$kind]:-0} + 1))
done
code=0
wait "${started[batch]}" || code=$?
unset "started[batch]"
[ $code = 3 ] || failed "batch ended with $code: $(tail -n 5 batch.log)"
took=$((SECONDS - began))
[ "$(wc -l <out.jsonl)" = "$rows" ] || failed "the output has $(wc -l <out.jsonl) rows"
check_ids out.jsonl
stop_sim
for kind in "${!count[@]}"; do echo "${count[$kind]} times: $kind"; done
echo "seed $seed, $nodes servers, $rows rows in $took s: 0 lost, 0 doubled, $((calls - valid)) calls repeated of at most $bound"
check_calls "$calls" "$valid" "$bound"
