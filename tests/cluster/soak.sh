#!/usr/bin/env bash
# Runs a large batch at workers while faults of all kinds happen, spread over its rows: workers are killed, stopped and stand still,
# brokers are killed and stand still, tickets are lost, the provider stands still, the collecting command is killed, the run is
# submitted once more, cancelled and continued. No row is lost or doubled, and calls are repeated only within the bounds.
#
#   tests/cluster/soak.sh [path/to/fanweave]
#
# ROWS (20000), FAULTS (20), MAX_SECONDS of faults (no limit), NODES (1 or 3), SEED (1), CONCURRENCY (16) and LATENCY (80ms) are
# variables. Not a part of test.sh: it takes as long as its faults.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

rows=${ROWS:-20000} faults=${FAULTS:-20} nodes=${NODES:-1} seed=${SEED:-1} latency=${LATENCY:-80ms}
max_seconds=${MAX_SECONDS:-1000000}
RANDOM=$seed
broker_of "$nodes"
submitter=(--on @conf/submitter.url)
start_sim --latency "$latency"
concurrency=${CONCURRENCY:-16}
workers=(w1 w2 w3 w4)
for worker in "${workers[@]}"; do start_worker "$worker"; done
rows "$rows" >rows.jsonl
valid=$(grep -c '^{"id"' rows.jsonl)
ask=(--model openai/writer --prompt 'Where is {{ city }}?' --show-progress none --no-hedging
  "${submitter[@]}")
follow() { start batch "$fanweave" batch rows.jsonl -o out.jsonl "${ask[@]}"; }
is_complete() { [ "$(field "$run" state)" = "done" ] && [ -e out.jsonl ]; }
is_followed() { kill -0 "${started[batch]}" 2>/dev/null; }
# Starts a worker in place of one that was ended.
replace_worker() {
  workers[at]=w$((100 + fault))
  start_worker "${workers[$at]}"
}
# Waits until the rows before the fault `$1` are done, or all of them.
reach() {
  local end=$((SECONDS + 900)) now=0
  while true; do
    # A broker that stands still does not answer.
    now=$(field "$run" done 2>/dev/null) || now=0
    if [ "$now" -ge $((($1 - 1) * rows / faults)) ]; then return; fi
    if [ $SECONDS -gt $end ]; then failed "only $now rows were done before fault $1"; fi
    if ! is_followed && ! is_complete 2>/dev/null; then follow; fi
    sleep 0.5
  done
}
began=$SECONDS
follow
within 60 grep -q 'run: ' batch.log
run=$(run_of batch)
bound=0
declare -A count=()
for ((fault = 1; fault <= faults; fault++)); do
  if [ $((SECONDS - began)) -gt "$max_seconds" ]; then break; fi
  reach "$fault"
  sleep "0.$((RANDOM % 10))"
  if ! is_followed; then
    # The run was cancelled before it was continued.
    if is_complete; then break; fi
    follow
  fi
  at=$((RANDOM % 4))
  worker=${workers[$at]}
  case $((RANDOM % 11)) in
  0 | 1)
    kind="worker killed"
    stop "$worker" KILL
    replace_worker
    bound=$((bound + 2 * concurrency))
    ;;
  2)
    kind="worker stopped"
    # It ends by itself, when its calls have ended.
    signal TERM "$worker"
    replace_worker
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
    kind="broker stands still"
    node=$((RANDOM % nodes + 1))
    signal STOP "broker$node"
    sleep $((RANDOM % 8 + 1))
    signal CONT "broker$node"
    ;;
  6)
    kind="command killed"
    stop batch KILL
    follow
    ;;
  7)
    kind="tickets lost"
    api '$JS.API.STREAM.PURGE.fw_JOBS' >/dev/null
    ;;
  8)
    kind="provider stands still"
    signal STOP sim
    sleep $((RANDOM % 4 + 1))
    signal CONT sim
    ;;
  9)
    kind="run submitted once more"
    start "detached$fault" "$fanweave" batch rows.jsonl -o "detached$fault.jsonl" "${ask[@]}" --detach
    ;;
  10)
    kind="run cancelled and continued"
    # A run that is being submitted cannot be continued.
    if [ "$(field "$run" sealed)" != True ]; then continue; fi
    # The command ends with what is there, and collects the rest when it is repeated.
    within 60 "$fanweave" jobs cancel "$run" "${submitter[@]}"
    sleep 1
    within 60 "$fanweave" jobs retry "$run" "${submitter[@]}"
    ;;
  esac
  count[$kind]=$((${count[$kind]:-0} + 1))
done
code=0
wait "${started[batch]}" || code=$?
unset "started[batch]"
if [ $code = 5 ]; then
  follow
  wait_for batch 3
elif [ $code != 3 ] && ! grep -q 'nothing to do' batch.log; then
  failed "batch ended with $code: $(tail -n 5 batch.log)"
fi
took=$((SECONDS - began))
has_lines out.jsonl "$rows"
check_ids out.jsonl
stop_sim
for kind in "${!count[@]}"; do echo "${count[$kind]} times: $kind"; done
echo "seed $seed, $nodes servers, $rows rows in $took s: 0 lost, 0 doubled, $((calls - valid)) calls repeated of at most $bound"
check_calls "$calls" "$valid" "$bound"
