#!/usr/bin/env bash
# Runs batches over files that other programs wrote: pandas, polars, DuckDB, Hugging Face datasets and Excel's format by
# openpyxl; and reads the answers with them.
#
#   tests/inputs/run.sh [path/to/fanweave]
#
# The programs are installed in target/venv, which the tests of the Python package use too. Skips, with a reason, without
# a Python of at least 3.10.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root"
fanweave=$(realpath "${1:-target/debug/fanweave}")

python=${PYTHON:-python3}
if ! "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "skipped: no Python of at least 3.10 with the module venv"
    exit 0
fi

venv=target/venv
requirements=(-r python/requirements-test.txt -r tests/inputs/requirements.txt)
stamp=$(cat python/requirements-test.txt tests/inputs/requirements.txt <("$python" --version) | sha256sum)
if [ "$(cat $venv/inputs-stamp 2>/dev/null)" != "$stamp" ]; then
    [ -x $venv/bin/pip ] || "$python" -m venv $venv
    $venv/bin/pip install --quiet --disable-pip-version-check "${requirements[@]}"
    echo "$stamp" >$venv/inputs-stamp
fi
rm -rf target/inputs
mkdir -p target/inputs
HF_DATASETS_OFFLINE=1 HF_HOME="$root/target/inputs/huggingface" \
    exec $venv/bin/python "$here/inputs.py" "$fanweave" target/inputs
