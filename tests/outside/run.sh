#!/usr/bin/env bash
# Runs a command of cargo, such as `test`, for the crate outside of the workspace, with the versions of dependencies that the
# workspace is tested with.
#
#   tests/outside/run.sh COMMAND [ARGUMENT ..]
set -euo pipefail
cd "$(dirname "$0")/../.."

command=${1:?the command of cargo}
shift
cp Cargo.lock tests/outside/Cargo.lock
"${CARGO:-cargo}" "$command" --manifest-path tests/outside/Cargo.toml --target-dir "${CARGO_TARGET_DIR:-target}" "$@"
