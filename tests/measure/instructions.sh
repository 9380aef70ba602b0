#!/usr/bin/env bash
# Compares the user instructions of two commits: those of one row of a batch, and those of chains without calls.
#
#     tests/measure/instructions.sh BASE [HEAD]
#
# Needs valgrind and about 15 minutes, most of them for two release builds; the programs stay in target/measure for the next
# comparison. Prints a table with the instructions of both commits and their ratio: above 1, HEAD needs more. Instructions are
# counted by callgrind: unlike times, they hardly depend on the machine's load (repeated runs differ by less than 0.5 %). A row
# costs (3,000 rows - 1,000 rows) / 2,000, which excludes the start of the program; a repetition of a chain costs (the run - an
# empty run) / repetitions.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v valgrind >/dev/null || { echo "there is no valgrind" >&2; exit 1; }
base=$(git rev-parse --short "${1:?the commit to compare with}")
head=$(git rev-parse --short "${2:-HEAD}")
work=$PWD/target/measure
mkdir -p "$work"

sim=
trees=()
end() {
  [ -z "$sim" ] || kill "$sim" 2>/dev/null || true
  for tree in "${trees[@]}"; do git worktree remove --force "$tree" || true; done
}
trap end EXIT

for commit in "$base" "$head"; do
  if [ -x "$work/fanweave-$commit" ] && [ -x "$work/steps-$commit" ]; then continue; fi
  echo "building $commit" >&2
  tree=$work/tree-$commit
  git worktree prune
  [ -d "$tree" ] || git worktree add --quiet --detach "$tree" "$commit"
  trees+=("$tree")
  (
    cd "$tree"
    export CARGO_TARGET_DIR=$work/target CARGO_INCREMENTAL=0
    export CARGO_PROFILE_RELEASE_DEBUG=line-tables-only CARGO_PROFILE_BENCH_DEBUG=line-tables-only
    cargo build --release --quiet --locked -p fanweave-cli
    cp "$CARGO_TARGET_DIR/release/fanweave" "$work/fanweave-$commit"
    steps=$(cargo bench -p fanweave-core --bench steps --no-run --message-format=json --quiet --locked \
      | sed -n 's/.*"executable":"\([^"]*\/steps-[^"]*\)".*/\1/p' | tail -1)
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
url=
for _ in $(seq 100); do
  url=$(grep -o 'http://127[^ ]*/v1' "$work/sim.log" | head -1) && break
  sleep 0.1
done
[ -n "$url" ] || { echo "the simulator did not start:" >&2; cat "$work/sim.log" >&2; exit 1; }

# Prints the instructions of a command.
count() { # name of the output, command
  local out=$work/$1.callgrind
  shift
  valgrind --tool=callgrind --callgrind-out-file="$out" "$@" > "$work/log" 2>&1 < /dev/null || { cat "$work/log" >&2; exit 1; }
  sed -n 's/^\(summary\|totals\): \([0-9]*\).*/\2/p' "$out" | tail -1
}

batch() { # commit, rows
  local folder=$work/run-$1-$2
  rm -rf "$folder" && mkdir "$folder"
  OPENAI_API_KEY=sk-measure count "batch-$1-$2" "$work/fanweave-$1" batch "$work/in$2.jsonl" -o "$folder/out.jsonl" \
    -m openai/gpt-4o-mini --base-url "$url" -c 16 --no-hedging
}

row() { # commit
  local few many
  few=$(batch "$1" 1000)
  many=$(batch "$1" 3000)
  echo $(((many - few) / 2000))
}

show() { # name, base, head
  awk -v name="$1" -v base="$2" -v head="$3" \
    'BEGIN { printf "%-44s %14.0f %14.0f %8s\n", name, base, head, (base > 0 ? sprintf("%.3f", head / base) : "-") }'
}

printf '%-44s %14s %14s %8s\n' 'user instructions' "$base" "$head" ratio
base_row=$(row "$base")
head_row=$(row "$head")
show 'a row of a batch' "$base_row" "$head_row"

base_empty=$(count "empty-$base" "$work/steps-$base" --count nothing)
head_empty=$(count "empty-$head" "$work/steps-$head" --count nothing)
"$work/steps-$base" --list > "$work/works-$base"
"$work/steps-$head" --list > "$work/works-$head"
while IFS=$'\t' read -r name times; do
  # Only what both commits have can be compared.
  base_times=$(awk -F '\t' -v name="$name" '$1 == name { print $2 }' "$work/works-$base")
  if [ -z "$base_times" ]; then continue; fi
  of_base=$(count "steps-$base" "$work/steps-$base" --count "$name")
  of_head=$(count "steps-$head" "$work/steps-$head" --count "$name")
  show "$name" $(((of_base - base_empty) / base_times)) $(((of_head - head_empty) / times))
done < "$work/works-$head"
