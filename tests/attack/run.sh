#!/usr/bin/env bash
# Attacks `fanweave` with hostile servers, files, templates and signals, and prints figures for docs/reliability.md.
#
#   tests/attack/run.sh [path/to/fanweave] [--fast] [--only TEXT]
#
# --fast runs a slice of less than a minute, as CI does. --only TEXT runs the attacks with TEXT in their name: kills, flips,
# disk, descriptors, desync, bombs, chains, signals, delay, tools, growth, planted. The figures are also in target/attack/figures.json.
# Times and memory are those of a release build: a debug build passes with limits that are ten times as large.
# Needs python3, nothing else, and skips without it. `planted` and `keys` are tests of the program, which cargo runs.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
fanweave=$root/target/debug/fanweave
if [ $# -gt 0 ] && [ "${1#--}" = "$1" ]; then
  fanweave=$(realpath "$1")
  shift
fi
if [ ! -x "$fanweave" ]; then
  echo "no $fanweave: build it with 'cargo build -p fanweave-cli'" >&2
  exit 1
fi
if ! command -v python3 >/dev/null; then
  echo "SKIPPED: attacks, because there is no python3" >&2
  exit 0
fi
mkdir -p "$root/target/attack"
exec python3 -B "$here/attacks.py" "$fanweave" "$root" "$@"
