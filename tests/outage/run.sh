#!/usr/bin/env bash
# Runs `fanweave batch` against a simulated provider in trouble: outages, random failures, a limit at the start, kills.
#
#   tests/outage/run.sh [path/to/fanweave] [--full] [--only TEXT] [--jobs N]
#
# Without --full it runs a slice of about a minute. --only TEXT runs the cases with TEXT in their name, of all.
# FANWEAVE_SIM names another program for `fanweave sim`. Results of failed cases stay in target/outage.
# Needs python3, nothing else, and skips without it.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
fanweave=$root/target/debug/fanweave
if [ $# -gt 0 ] && [ "${1#--}" = "$1" ]; then
  fanweave=$1
  shift
fi
if [ ! -x "$fanweave" ]; then
  echo "no $fanweave: build it with 'cargo build -p fanweave-cli'" >&2
  exit 1
fi
if ! command -v python3 >/dev/null; then
  echo "SKIPPED: outages, because there is no python3" >&2
  exit 0
fi
mkdir -p "$root/target/outage"
exec python3 -B "$here/cases.py" "$fanweave" "$root/target/outage" "$@"
