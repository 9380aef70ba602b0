#!/usr/bin/env bash
# Makes batch.svg: the terminal during a run of `fanweave batch` and after it. The provider, `fanweave sim`, answers 502 for
# five seconds in between.
#
#   docs/images/terminal.sh path/to/fanweave
#
# Needs tmux, and python3 with the package rich.
set -euo pipefail

fanweave=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
questions=$here/../../examples/questions.jsonl
work=$(mktemp -d)
session=fanweave-picture-$$
trap 'tmux kill-session -t "$session" 2>/dev/null || true; kill "$sim" 2>/dev/null || true; rm -rf "$work"' EXIT

cp "$questions" "$work/questions.jsonl"
mkdir "$work/bin"
ln -s "$fanweave" "$work/bin/fanweave"
"$fanweave" sim --port 8080 --latency lognormal:1200ms,0.5 --outage 4s..9s=502 >"$work/sim.log" 2>&1 &
sim=$!
sleep 1

tmux new-session -d -s "$session" -x 100 -y 24 "cd '$work' && PATH='$work/bin':\$PATH OPENAI_API_KEY=simulated PS1='\$ ' COLORTERM=truecolor bash --norc"
tmux send-keys -t "$session" 'fanweave batch questions.jsonl -o answers.jsonl --model openai/gpt-5-mini --base-url http://127.0.0.1:8080/v1 -c 16' Enter
sleep 7
tmux capture-pane -e -p -t "$session" >"$work/during.ansi"
sleep 25
tmux capture-pane -e -p -t "$session" >"$work/after.ansi"

python3 - "$work/during.ansi" "$work/after.ansi" "$here/batch.svg" <<'PYTHON'
import sys

from rich.console import Console
from rich.text import Text

*screens, picture = sys.argv[1:]
console = Console(record=True, width=100, file=open("/dev/null", "w"), force_terminal=True)
for screen in screens:
    console.print(Text.from_ansi(open(screen).read().rstrip()))
    console.print()
console.save_svg(picture, title="fanweave batch")
PYTHON
echo "$here/batch.svg"
