#!/usr/bin/env bash
# Builds the Python module and runs its tests. Arguments are those of pytest.
#
#   python/run-tests.sh [--lint] [argument..]
#   python/run-tests.sh --environment
#
# The second form only installs the packages that the tests need.
# Without arguments, all tests run, several at once. $FANWEAVE_PYTHON_LIBRARY is the folder of a library that is already
# built. Uses $PYTHON (default: python3) of at least 3.10, and an environment in target/venv. With --lint, also checks
# formatting, lints and types. Skips, with a reason, if there is no such Python.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

lint=
if [ "${1:-}" = --lint ]; then
    lint=1
    shift
fi

python=${PYTHON:-python3}
if ! "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "skipped: no Python of at least 3.10 with the module venv"
    exit 0
fi

venv=target/venv
stamp=$(cat python/requirements-test.txt <("$python" --version) | sha256sum)
if [ "$(cat $venv/stamp 2>/dev/null)" != "$stamp" ]; then
    rm -rf $venv
    "$python" -m venv $venv
    $venv/bin/pip install --quiet --disable-pip-version-check -r python/requirements-test.txt
    echo "$stamp" >$venv/stamp
fi

if [ "${1:-}" = --environment ]; then
    exit
fi

# The same build as that of the workspace. maturin, which makes the wheels, would build the dependencies again with other
# variables.
folder=${FANWEAVE_PYTHON_LIBRARY:-}
if [ -z "$folder" ]; then
    "${CARGO:-cargo}" build -p fanweave-python --locked
    folder=target/debug
fi
library=$folder/lib_core.so
[ -e $library ] || library=$folder/lib_core.dylib
# Replaced as a whole: a process may have the old one loaded.
cp $library python/fanweave/.new.so
mv python/fanweave/.new.so python/fanweave/_core.abi3.so

if [ -n "$lint" ]; then
    $venv/bin/ruff check python
    $venv/bin/ruff format --check python
    $venv/bin/mypy python/fanweave
fi
if [ $# = 0 ]; then
    # Tests wait most of the time.
    set -- -n "$((2 * $(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)))"
fi
exec $venv/bin/python -m pytest -q "$@"
