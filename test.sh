#!/usr/bin/env bash
# Runs all tests, after installing their missing dependencies.
#
# Needs Rust and, for the tests against the official SDKs and in a browser, Python 3, Node.js and Chromium; they are
# installed from Debian packages if apt-get is available.
set -euo pipefail
cd "$(dirname "$0")"

# Tests of the whole workspace are built once: the state of incremental builds would double the space they take.
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}

step() { printf '\n== %s\n' "$*"; }

# Installs Debian packages if a command is missing.
need() {
    local command=$1
    shift
    command -v "$command" >/dev/null && return
    command -v apt-get >/dev/null || return 0
    local sudo=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || return 0
        sudo=(sudo -n)
    fi
    step "installing $*"
    "${sudo[@]}" apt-get update -q >/dev/null || true
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@" || true
}

need cc gcc libc6-dev
need python3 python3 python3-venv
need node nodejs npm
need chromium chromium
need zsh zsh
need fish fish
need gnome-keyring-daemon gnome-keyring dbus dbus-daemon

step 'build'
cargo build --workspace --all-targets --locked

step 'the table of flags'
python3 tests/docs/flags.py target/debug/fanweave --check

step 'tests'
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --workspace --locked --no-fail-fast
    cargo nextest run -p fanweave-batch --features parquet --locked parquet
    cargo nextest run -p fanweave -p fanweave-cli --features fanweave-cli/telemetry,fanweave-cli/keyring --locked telemetry keyring
else
    cargo test --workspace --all-targets --locked --no-fail-fast
    cargo test -p fanweave-batch --features parquet --locked --test output parquet
    cargo test -p fanweave -p fanweave-cli --features fanweave-cli/telemetry,fanweave-cli/keyring --locked -- telemetry keyring
fi

step 'features of the facade'
tests/features/run.sh

step 'examples in the documentation'
tests/fresh/run.py
cargo test -p fanweave-sim --doc --locked

step 'a crate outside of the workspace'
cargo test --manifest-path tests/outside/Cargo.toml --target-dir target

step 'the Python package'
python/run-tests.sh

step 'official SDKs against the simulated provider'
tests/sdk/run.sh target/debug/fanweave

step 'the report in a browser'
tests/report/run.sh target/debug/fanweave

step 'a llama.cpp server'
tests/real/run.sh target/debug/fanweave

step 'a Chroma server'
tests/chroma/run.sh

step 'a batch against a failing provider'
tests/outage/run.sh target/debug/fanweave
