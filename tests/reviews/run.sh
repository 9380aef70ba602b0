#!/usr/bin/env bash
# The job of a data scientist at full size: 5,000 reviews of a CSV file are rated by a schema, in a run that is
# killed twice and resumed, with failures retried. Each rating must be beside the columns of its own review.
#
#   tests/reviews/run.sh [ROWS]
set -euo pipefail
cd "$(dirname "$0")/../.."
export FANWEAVE_TEST_REVIEWS="${1:-5000}"
cargo test --quiet --locked -p fanweave-cli --test cli -- --nocapture \
    --exact columns::reviews_are_rated_with_their_own_columns_through_kills_and_failures
