#!/usr/bin/env bash
# Runs batches over files that other programs write, and reads the outputs with them: pandas, openpyxl, polars, DuckDB and
# Hugging Face datasets.
#
#   tests/files/run.sh [path/to/fanweave]
#
# The programs are installed from PyPI in target/venv, which the tests of the Python package use too. Skips, with the
# reason, only without Python or if they cannot be installed.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root"
fanweave=$(realpath "${1:-target/debug/fanweave}")
if [ ! -x "$fanweave" ]; then
  echo "no $fanweave: build it with 'cargo build'" >&2
  exit 1
fi

skip() {
  echo "SKIPPED: files of other programs, because $*" >&2
  exit 0
}
python=${PYTHON:-python3}
"$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null \
  || skip "there is no Python of at least 3.10 with the module venv"

venv=target/venv
lists=(python/requirements-test.txt tests/files/requirements.txt)
stamp=$(cat "${lists[@]}" <("$python" --version) | sha256sum)
if [ "$(cat $venv/files-stamp 2>/dev/null)" != "$stamp" ]; then
  [ -x $venv/bin/pip ] || "$python" -m venv $venv
  $venv/bin/pip install --quiet --disable-pip-version-check -r "${lists[0]}" -r "${lists[1]}" 2>target/pip.err \
    || skip "pip cannot install the packages: $(tail -n 1 target/pip.err)"
  echo "$stamp" >$venv/files-stamp
fi
exec $venv/bin/python "$here/check.py" "$fanweave" target/files
