#!/usr/bin/env bash
# Compares the user instructions of two commits: those of one row of a batch, and those of chains without calls.
#
#     tests/measure/instructions.sh BASE [HEAD]
#
# Needs valgrind and about 15 minutes. Instructions are counted by callgrind: unlike times, they hardly depend on the
# machine's load (repeated runs differ by less than 0.5 %). A row costs (3,000 rows - 1,000 rows) / 2,000, which
# excludes the start of the program; a repetition of a chain costs (the run - an empty run) / repetitions.
set -euo pipefail
cd "$(dirname "$0")/../.."
base=$(git rev-parse --short "${1:?the commit to compare with}")
head=$(git rev-parse --short "${2:-HEAD}")
work=$PWD/target/measure
mkdir -p "$work"

for commit in "$base" "$head"; do
  tree=$work/$commit
  [ -d "$tree" ] || git worktree add --quiet --detach "$tree" "$commit"
  (
    cd "$tree"
    export CARGO_TARGET_DIR=$work/target CARGO_PROFILE_RELEASE_DEBUG=line-tables-only CARGO_PROFILE_BENCH_DEBUG=line-tables-only
    cargo build --release --quiet -p fanweave-cli
    cp "$CARGO_TARGET_DIR/release/fanweave" "$work/fanweave-$commit"
    steps=$(cargo bench -p fanweave-core --bench steps --no-run --message-format=json --quiet \
      | sed -n 's/.*"executable":"\([^"]*steps[^"]*\)".*/\1/p' | tail -1)
    cp "$steps" "$work/steps-$commit"
  )
done

for rows in 1000 3000; do
  for ((i = 0; i < rows; i++)); do
    echo "{\"id\":\"$i\",\"prompt\":\"Describe item $i in one sentence.\"}"
  done > "$work/in$rows.jsonl"
done

# One provider for both, from the later commit.
"$work/fanweave-$head" sim --port 0 --latency 50ms > "$work/sim.log" 2>&1 &
sim=$!
trap 'kill $sim' EXIT
for _ in $(seq 100); do
  url=$(grep -o 'http://127[^ ]*/v1' "$work/sim.log" | head -1) && break
  sleep 0.1
done

count() { # name of the output, command
  local out=$work/$1.callgrind
  shift
  valgrind --tool=callgrind --callgrind-out-file="$out" "$@" > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }
  sed -n 's/^\(summary\|totals\): \([0-9]*\).*/\2/p' "$out" | tail -1
}

batch() { # commit, rows
  local folder=$work/run-$1-$2
  rm -rf "$folder" && mkdir "$folder"
  OPENAI_API_KEY=sk-measure count "batch-$1-$2" "$work/fanweave-$1" batch "$work/in$2.jsonl" -o "$folder/out.jsonl" \
    -m openai/gpt-4o-mini --base-url "$url" -c 16 --no-hedging
}

show() { # name, base, head
  awk -v name="$1" -v base="$2" -v head="$3" \
    'BEGIN { printf "%-44s %14.0f %14.0f %+7.2f %%\n", name, base, head, (head / base - 1) * 100 }'
}

printf '%-44s %14s %14s\n' 'user instructions' "$base" "$head"
row() { echo $((($(batch "$1" 3000) - $(batch "$1" 1000)) / 2000)); }
show 'a row of a batch' "$(row "$base")" "$(row "$head")"
for commit in "$base" "$head"; do
  count "empty-$commit" "$work/steps-$commit" --count nothing > "$work/empty-$commit"
done
"$work/steps-$head" --list | while IFS=$'\t' read -r name times; do
  of() { echo $((($(count "steps-$1" "$work/steps-$1" --count "$name") - $(cat "$work/empty-$1")) / times)); }
  show "$name" "$(of "$base")" "$(of "$head")"
done
git worktree list --porcelain | sed -n "s|^worktree \($work/.*\)|\1|p" | xargs -r -n1 git worktree remove --force
