#!/usr/bin/env bash
# Compares the evaluator of the math chain with numexpr and Python over generated expressions.
#
#     tests/math/run.sh [path/to/the/example calculator] [COUNT] [SEED]
#
# Builds the example if no path is given.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check numexpr==2.14.2

calculator=${CARGO_TARGET_DIR:-target}/debug/examples/calculator
if [ -x "${1:-}" ]; then
    calculator=$1
    shift
else
    cargo build --quiet --locked -p fanweave --example calculator
fi
"$work/venv/bin/python" tests/math/compare.py "$calculator" "$@"
