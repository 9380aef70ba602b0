#!/usr/bin/env bash
# Runs every example without a key. Fails if an example fails.
#
#   examples/run-all.sh [TARGET/debug]
#
# With a folder, runs the programs that are built there instead of building them.
set -euo pipefail
cd "$(dirname "$0")/.."

run() {
    printf '\n== %s\n' "$*"
    "$@"
}

built=${1:-}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

for example in examples/*.rs; do
    name=$(basename "$example" .rs)
    if [ -n "$built" ]; then
        run "$built/examples/$name"
    else
        run cargo run --quiet --locked -p fanweave --example "$name"
    fi
done

fanweave() {
    if [ -n "$built" ]; then
        run "$built/fanweave" "$@"
    else
        run cargo run --quiet --locked -- "$@"
    fi
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
