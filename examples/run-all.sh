#!/usr/bin/env bash
# Runs every example without a key. Fails if an example fails.
#
#   examples/run-all.sh [TARGET/debug]
#
# With a folder, runs the programs that are built there instead of building them.
set -euo pipefail
cd "$(dirname "$0")/.."

built=${1:-}
if [ -z "$built" ]; then
    cargo build --quiet --locked -p fanweave --examples
    cargo build --quiet --locked
    built=${CARGO_TARGET_DIR:-target}/debug
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# They wait for simulated models most of the time: all at once, and shown in their order.
declare -A started=()
for example in examples/*.rs; do
    name=$(basename "$example" .rs)
    "$built/examples/$name" >"$out/$name.log" 2>&1 </dev/null &
    started[$name]=$!
done
for example in examples/*.rs; do
    name=$(basename "$example" .rs)
    code=0
    wait "${started[$name]}" || code=$?
    printf '\n== %s\n' "$example"
    cat "$out/$name.log"
    if [ $code != 0 ]; then
        echo "ended with $code" >&2
        exit 1
    fi
done

fanweave() {
    printf '\n== fanweave %s\n' "$*"
    "$built/fanweave" "$@"
}

fanweave ask --model sim/writer 'Write a haiku about tides.'
fanweave batch examples/questions.jsonl -o "$out/answers.jsonl" --model sim/writer
fanweave batch examples/products.csv -o "$out/names.jsonl" --model sim/writer \
    --prompt 'Name a shop that sells a {{ product }} to {{ audience }}.'
fanweave batch examples/openai_batch.jsonl -o "$out/results.jsonl" --model sim/writer
fanweave run examples/article.yaml --model sim/writer
fanweave run examples/article.yaml --model sim/writer --rows examples/topics.txt -o "$out/articles.jsonl"
fanweave batch examples/topics.txt -o - --model sim/writer --prompt 'List 3 titles about {{ input }}.'

# One line for each row, in input order.
[ "$(wc -l < "$out/answers.jsonl")" = "$(wc -l < examples/questions.jsonl)" ]
