#!/usr/bin/env bash
# Reads a million streams of all dialects with the oddities of real servers at random places.
#
#   tests/measure/mutations.sh [COUNT] [FIRST SEED]
#
# Benign oddities must cost nothing, and harmful ones must be errors of their kind. Prints how often each was tried.
# One stream again: tests/measure/mutations.sh 1 SEED
set -euo pipefail

cd "$(dirname "$0")/../.."
export FANWEAVE_MUTATIONS=${1:-1000000} FANWEAVE_MUTATIONS_SEED=${2:-0}
cargo test --release --package fanweave-models --all-features --lib -- \
  --nocapture benign_oddities_cost_nothing_and_harmful_ones_are_errors_of_their_kind
