#!/usr/bin/env bash
# Runs everything of this folder that CI does not: figures, replicas, a full disk, leases, deployment, Ray, and soaks with one and
# three servers. Prints a line for each, and ends with 1 if one of them failed.
#
#   tests/cluster/nightly.sh path/to/fanweave [logs]      a release build; logs are in target/cluster/nightly by default
#
# ROWS (1000000), FAULTS (200) and SEED (the day) of the soak with one server are variables; that with three has a tenth of both.
# Takes about two hours.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "${1:?path of a release build of the program}")
logs=${2:-$here/../../target/cluster/nightly}
mkdir -p "$logs"
rows=${ROWS:-1000000} faults=${FAULTS:-200} seed=${SEED:-$(date +%j)}
status=0
# Runs the command after the name `$1`, with its output in a log of that name.
step() {
  local name=$1 began=$SECONDS
  shift
  if "$@" >"$logs/$name.log" 2>&1; then
    echo "ok      $name ($((SECONDS - began)) s): $(tail -n 1 "$logs/$name.log")"
  else
    echo "FAILED  $name ($((SECONDS - began)) s): see $logs/$name.log"
    status=1
  fi
}
step figures "$here/figures.sh" "$program"
step figures-of-three env NODES=3 "$here/figures.sh" "$program"
for name in replicas full leases deploy share; do step $name "$here/$name.sh" "$program"; done
step ray "$here/share.sh" "$program" --ray
soak=(LATENCY=20ms CONCURRENCY=64 SEED="$seed")
step soak env "${soak[@]}" ROWS="$rows" FAULTS="$faults" "$here/soak.sh" "$program"
step soak-of-three env "${soak[@]}" NODES=3 ROWS=$((rows / 10)) FAULTS=$((faults / 10)) "$here/soak.sh" "$program"
exit $status
