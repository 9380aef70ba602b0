#!/usr/bin/env bash
# Kills `fanweave batch` with SIGKILL at random moments over one file of rows, each time resuming it, and compares
# what it wrote and how often it called the simulated provider with a run that was left alone. Then kills a chain of three
# calls 50 times over 500 rows, without and with outages: no call whose answer is journalled is made a second time.
#
#   tests/kill/run.sh [kills] [rows] [seed]
#
# FANWEAVE_TEST_PROGRAM is the program to kill. Default: that of the debug build.
set -euo pipefail
cd "$(dirname "$0")/../.."

export FANWEAVE_TEST_KILLS=${1:-200} FANWEAVE_TEST_ROWS=${2:-5000} FANWEAVE_TEST_SEED=${3:-1}
run() {
    cargo test --quiet --locked -p fanweave-cli --test cli -- --exact "kills::$1" --nocapture
}
run rows_have_one_result_each_however_often_the_run_is_killed
export FANWEAVE_TEST_CHAIN_KILLS=50 FANWEAVE_TEST_CHAIN_ROWS=500
run a_chain_of_three_calls_pays_for_no_journalled_answer_twice_however_often_it_is_killed
FANWEAVE_TEST_CHAIN_OUTAGES=1 \
    run a_chain_of_three_calls_pays_for_no_journalled_answer_twice_however_often_it_is_killed
