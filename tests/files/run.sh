#!/usr/bin/env bash
# Runs batches over files that other programs write, and reads the outputs with them: pandas, openpyxl, polars, DuckDB and
# Hugging Face datasets.
#
#   tests/files/run.sh [path/to/fanweave]
#
# The packages are installed from PyPI under target/files, in the versions of requirements.txt. Skips, with the reason, only
# without python3 or if they cannot be installed.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work="$root/target/files"
fanweave=$(realpath "${1:-$root/target/debug/fanweave}")
if [ ! -x "$fanweave" ]; then
  echo "no $fanweave: build it with 'cargo build'" >&2
  exit 1
fi

skip() {
  echo "SKIPPED: files of other programs, because $*" >&2
  exit 0
}
command -v python3 >/dev/null || skip "there is no python3"
mkdir -p "$work"
if [ ! -x "$work/venv/bin/pip" ]; then python3 -m venv "$work/venv"; fi
if ! cmp -s "$here/requirements.txt" "$work/installed.txt"; then
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r "$here/requirements.txt" \
    2>"$work/pip.err" || skip "pip cannot install the packages: $(tail -n 1 "$work/pip.err")"
  cp "$here/requirements.txt" "$work/installed.txt"
fi
"$work/venv/bin/python" "$here/check.py" "$fanweave" "$work/run"
