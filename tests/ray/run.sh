#!/usr/bin/env bash
# Runs the recipe for Ray Data of docs/cluster.md over a simulated provider. Not a part of test.sh: ray has 200 MB.
#
#   tests/ray/run.sh [folder/with/fanweave]
#
# The folder has the Python package with its library, by default python/ after python/run-tests.sh. Installs ray from PyPI
# into target/ray. Skips, with the reason, without python3 or a wheel of ray for it.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
package=$(realpath "${1:-$root/python}")
venv="$root/target/ray"
skip() {
  echo "SKIPPED: Ray Data, because $*" >&2
  exit 0
}
command -v python3 >/dev/null || skip "there is no python3"
ls "$package"/fanweave/_core.* >/dev/null 2>&1 || skip "$package has no library: run python/run-tests.sh first"
if [ ! -x "$venv/bin/python" ]; then
  python3 -m venv "$venv" || skip "python3 has no venv"
fi
if ! "$venv/bin/python" -c 'import ray.data' 2>/dev/null; then
  "$venv/bin/pip" --quiet --disable-pip-version-check install --only-binary :all: 'ray[data]==2.60.0' 2>"$venv/pip.err" ||
    skip "pip cannot install ray: $(tail -n 1 "$venv/pip.err")"
fi
PYTHONPATH="$package" RAY_USAGE_STATS_ENABLED=0 "$venv/bin/python" "$root/tests/ray/rows.py"
