#!/usr/bin/env bash
# Runs all tests, after installing their missing dependencies.
#
#   ./test.sh [--no-install]
#
# Needs Rust and, for the tests against the official SDKs and in a browser, Python 3, Node.js and Chromium; they are
# installed from Debian packages if apt-get is available. --no-install names the packages instead, and the tests that need
# them are skipped.
#
# Everything is built with all features of all crates: one selection for all steps, so that nothing is built twice. What
# must build with fewer features has steps of its own.
set -euo pipefail
cd "$(dirname "$0")"

install=1
for argument; do
    case $argument in
        --no-install) install= ;;
        *)
            echo "usage: ./test.sh [--no-install]" >&2
            exit 2
            ;;
    esac
done

# Tests of the whole workspace are built once: the state of incremental builds would double the space they take.
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}

step() { printf '\n== %s\n' "$*"; }

# Installs Debian packages if a command is missing.
need() {
    local command=$1
    shift
    command -v "$command" >/dev/null && return
    if [ -z "$install" ]; then
        echo "no $command: without --no-install, this installs $*"
        return
    fi
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
need make make
need python3 python3 python3-venv
need node nodejs npm
need chromium chromium
need zsh zsh
need fish fish
need gnome-keyring-daemon gnome-keyring dbus dbus-daemon

# While the workspace compiles.
mkdir -p target
python/run-tests.sh --environment >target/environment.log 2>&1 </dev/null &
environment=$!

all=(--workspace --all-features --locked)

step 'tests'
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run "${all[@]}" --no-fail-fast
else
    cargo test "${all[@]}" --lib --bins --examples --tests --no-fail-fast
fi

step 'the table of flags'
python3 tests/docs/flags.py target/debug/fanweave --check

step 'the Python package'
# An example selects the features of development too, as the tests do.
cargo build "${all[@]}" --lib --example article
wait "$environment" || {
    cat target/environment.log
    exit 1
}
FANWEAVE_PYTHON_LIBRARY=target/debug python/run-tests.sh

step 'files that other programs write and read'
tests/files/run.sh target/debug/fanweave

# Copies: the last step replaces the program by one with fewer features.
copies=target/copies/debug
mkdir -p $copies
cp target/debug/fanweave target/debug/examples/{real_server,chroma_checks,calculator} $copies/

# Steps that wait most of the time, one after another. They run beside those that compile, which give way to them.
waiting() {
    local program=$copies/fanweave
    step 'batches at workers'
    tests/cluster/run.sh $program
    tests/cluster/remote.sh $program
    step 'a batch against a failing provider'
    tests/outage/run.sh $program
    step 'a slice of the attacks'
    tests/attack/run.sh $program --fast
    step 'official SDKs against the simulated provider'
    tests/sdk/run.sh $program
    step 'the report in a browser'
    tests/report/run.sh $program
    step 'a llama.cpp server'
    tests/real/run.sh $program $copies/real_server
    step 'a Chroma server'
    tests/chroma/run.sh $copies/chroma_checks
    step 'the calculator against numexpr and Python'
    tests/math/run.sh $copies/calculator 10000
}
set -m
(waiting) >target/waiting.log 2>&1 </dev/null &
others=$!
set +m
trap 'kill -- "-$others" 2>/dev/null || true; cat target/waiting.log' EXIT

step 'examples in the documentation'
# Only their names contain a path. `--doc` would also run those that tests/fresh runs.
nice cargo test "${all[@]}" --quiet -- src/
nice tests/fresh/run.py

step 'a crate outside of the workspace'
nice tests/outside/run.sh test

step 'fewer features'
nice tests/features/run.sh

# Their output follows, by the trap.
wait "$others"
