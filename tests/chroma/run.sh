#!/usr/bin/env bash
# Checks the Chroma store against a real Chroma server, which comes from PyPI and listens on loopback.
#
#     tests/chroma/run.sh [path/to/the/example chroma_checks] [PORT]
#
# Builds the example if no path is given.
set -euo pipefail
cd "$(dirname "$0")/../.."

checks=${1:-}
port=${2:-8471}
work=$(mktemp -d)
server=
stop() { [ -z "$server" ] || kill "$server" 2>/dev/null || true; }
trap 'stop; wait; rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check chromadb==1.5.9
if [ -z "$checks" ]; then
    cargo build --quiet --locked -p fanweave --example chroma_checks
    checks=${CARGO_TARGET_DIR:-target}/debug/examples/chroma_checks
fi

ANONYMIZED_TELEMETRY=false "$work/venv/bin/chroma" run --path "$work/data" --host 127.0.0.1 --port "$port" \
    > "$work/server.log" 2>&1 &
server=$!
for _ in $(seq 100); do
    curl --silent --fail --output /dev/null "http://127.0.0.1:$port/api/v2/heartbeat" && break
    kill -0 "$server" 2>/dev/null || { cat "$work/server.log"; exit 1; }
    sleep 0.2
done
"$checks" "http://127.0.0.1:$port"
