#!/usr/bin/env bash
# Processes that submit nothing share the limit of an account through a broker (`share=` of the Python package), over a real
# NATS server and a simulated provider: a pool of processes, while the broker is killed as well, and errors.
#
#   tests/cluster/share.sh [path/to/fanweave] [--ray]
#
# The Python package is python/ after python/run-tests.sh, with the feature workers. With --ray, only runs the recipe for Ray
# Data, which installs ray from PyPI into target/ray. Takes about ten seconds.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

python=python3
export PYTHONPATH="$root/python"
ls "$root"/python/fanweave/_core.* >/dev/null 2>&1 || skip "python/ has no library: run python/run-tests.sh first"
is_built() { python3 -c 'import fanweave as fw; fw.Share("nats://127.0.0.1:4222")'; }
is_built 2>built.log || skip "the Python package is without the feature workers: $(tail -n 1 built.log)"
here="$root/tests/cluster/share"
broker_of 1
FANWEAVE_ON=$(cat conf/worker.url)
export FANWEAVE_ON

if [ "${2:-}" = --ray ]; then
  venv="$root/target/ray"
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv" || skip "python3 has no venv"
  if ! "$venv/bin/python" -c 'import ray.data' 2>/dev/null; then
    "$venv/bin/pip" --quiet --disable-pip-version-check install --only-binary :all: 'ray[data]==2.60.0' 2>"$venv/pip.err" ||
      skip "pip cannot install ray: $(tail -n 1 "$venv/pip.err")"
  fi
  RAY_USAGE_STATS_ENABLED=0 "$venv/bin/python" "$here/ray_data.py"
  exit
fi

# A server that `broker init` has not prepared, with a user who may do nothing.
read -r port <<<"$(free_ports 1)"
cat >other.conf <<EOF2
listen: 127.0.0.1:$port
jetstream { store_dir: "$runs/other" }
authorization { users: [
  { user: open, password: secret },
  { user: none, password: secret, permissions: { publish: ["none"], subscribe: ["_INBOX.>"] } }
] }
EOF2
start other "$FANWEAVE_NATS_SERVER" --config other.conf
within 20 python3 -c "import socket; socket.create_connection(('127.0.0.1', $port)).close()"
start errors "$python" "$here/pool.py" errors "nats://open:secret@127.0.0.1:$port" "nats://none:secret@127.0.0.1:$port"

echo "a pool of processes keeps to the limit of one account, and uses what idle processes leave"
"$python" "$here/pool.py" limit

echo "a broker that is killed fails no row"
"$python" "$here/pool.py" broker-killed "${started[broker1]}"

echo "what is missing is said"
wait_for errors 0
cat errors.log
echo "limits of processes: all cases passed"
