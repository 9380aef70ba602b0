#!/usr/bin/env bash
# Checks builds with fewer features: each feature of the facade builds alone, a service that only calls a model builds few
# crates, the facade without features passes its tests, and the program without the keyring says so.
#
# usage: tests/features/run.sh [FEATURE ..]   default: every feature
set -euo pipefail
cd "$(dirname "$0")/../.."

# Every crate of a service is compiled, audited and updated with it.
max_crates=89

crates=$(cargo tree -p fanweave --no-default-features -e normal --no-dedupe --prefix none --locked | sort -u | wc -l)
echo "a service that only calls a model: $crates crates"
if [ "$crates" -gt "$max_crates" ]; then
    echo "more than $max_crates: make the dependency optional" >&2
    exit 1
fi

if [ $# -eq 0 ]; then
    mapfile -t features < <(cargo metadata --no-deps --format-version 1 --locked | python3 -c '
import json, sys
[facade] = [p for p in json.load(sys.stdin)["packages"] if p["name"] == "fanweave"]
print("\n".join(sorted(set(facade["features"]) - {"default"})))')
    set -- "${features[@]}"
fi
for feature; do
    echo "feature $feature"
    cargo clippy -p fanweave --no-default-features --features "$feature" --locked --quiet -- -D warnings
done
cargo test -p fanweave --no-default-features --lib --test without_features --locked --quiet

echo "the program with its default features"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test -p fanweave-cli --test cli --locked -- keys:: 2>&1 | tee "$log"
if grep -q '^warning: `fanweave' "$log"; then
    echo "the compiler warns" >&2
    exit 1
fi
