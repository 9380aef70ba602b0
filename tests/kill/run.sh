#!/usr/bin/env bash
# Kills `fanweave batch` with SIGKILL at random moments over one file of rows, each time resuming it, and compares
# what it wrote and how often it called the simulated provider with a run that was left alone.
#
#   tests/kill/run.sh [kills] [rows] [seed]
set -euo pipefail
cd "$(dirname "$0")/../.."

export FANWEAVE_TEST_KILLS=${1:-200} FANWEAVE_TEST_ROWS=${2:-5000} FANWEAVE_TEST_SEED=${3:-1}
exec cargo test --quiet --locked -p fanweave-cli --test cli -- \
    --exact kills::rows_have_one_result_each_however_often_the_run_is_killed --nocapture
