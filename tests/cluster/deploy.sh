#!/usr/bin/env bash
# Checks the systemd units and the Kubernetes manifest of docs/cluster.md: systemd and a schema of Kubernetes accept them, and the
# commands in them run with a broker that the page's configuration starts.
#
#   tests/cluster/deploy.sh [path/to/fanweave]
#
# Installs kubernetes-validate from PyPI into target/cluster. Not a part of test.sh.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

validate="$work/validate/bin/kubernetes-validate"
if [ ! -x "$validate" ]; then
  python3 -m venv "$work/validate"
  "$work/validate/bin/pip" --quiet --disable-pip-version-check install kubernetes-validate==1.37.0
fi
python3 - "$root/docs/cluster.md" <<'PY'
import re, sys
page = open(sys.argv[1]).read()
for unit in re.findall(r"```ini\n(# /etc/systemd/system/(\S+)\n.*?)```", page, re.S):
    open(unit[1], "w").write(unit[0])
(manifest,) = re.findall(r"```yaml\n(.*?)```", page, re.S)
open("manifest.yaml", "w").write(manifest)
PY

echo "Kubernetes accepts the manifest"
"$validate" --strict manifest.yaml

echo "systemd accepts the units"
if command -v systemd-analyze >/dev/null; then
  # It looks for the programs.
  sed -i.bak "s#=/usr/local/bin/fanweave #=$fanweave #; s#=/usr/local/bin/nats-server #=$FANWEAVE_NATS_SERVER #" ./*.service
  systemd-analyze verify ./*.service
else
  echo "SKIPPED: there is no systemd-analyze" >&2
fi

echo "the commands of the units and of the manifest run, with certificates of both sides"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout ca.key -out ca.pem -subj '/CN=fanweave broker' 2>openssl.log
for name in hub client; do
  openssl req -newkey rsa:2048 -nodes -keyout $name.key -out $name.csr -subj "/CN=$name" 2>>openssl.log
  printf 'subjectAltName=DNS:localhost\n' >$name.ext
  openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile $name.ext -out $name.pem 2>>openssl.log
done
read -r port health_port <<<"$(free_ports 2)"
node_ports=("$port")
"$fanweave" broker config --out conf --nodes "localhost:$port" --store "$runs/store" --tls-cert "$PWD/hub.pem" --tls-key "$PWD/hub.key" \
  --tls-ca "$PWD/ca.pem" --tls-verify >config.log 2>&1
start_node 1
tls=(--ca ca.pem --cert client.pem --cert-key client.key)
within 20 "$fanweave" broker init --on @conf/operator.url "${tls[@]}"
# The arguments of a unit or of a container, with the paths and ports of this test.
arguments() {
  "$work/validate/bin/python" - "$1" <<'PY'
import re, shlex, sys
import yaml
if sys.argv[1].endswith(".service"):
    words = shlex.split(re.search(r"^ExecStart=(.*)$", open(sys.argv[1]).read(), re.M).group(1))[1:]
else:
    (worker,) = [d for d in yaml.safe_load_all(open(sys.argv[1])) if d["metadata"]["name"] == "fanweave-worker"]
    words = worker["spec"]["template"]["spec"]["containers"][0]["args"]
print(*words)
PY
}
started_worker() {
  within 20 grep -q '^worker .* 256 rows in flight' "$1.log"
  stop "$1"
}
words=$(arguments fanweave-worker.service)
words=${words//\/etc\/fanweave\/worker.url/conf/worker.url}
# shellcheck disable=SC2086
start unit "$fanweave" ${words//\/etc\/fanweave\//} --cert client.pem --cert-key client.key
started_worker unit
words=$(arguments manifest.yaml)
words=${words//\/broker\//}
# shellcheck disable=SC2086
start container env FANWEAVE_ON=@conf/worker.url "$fanweave" ${words//0.0.0.0:9090/127.0.0.1:$health_port} --cert client.pem \
  --cert-key client.key
healthy() { python3 -c "import urllib.request as u; assert u.urlopen('http://127.0.0.1:$health_port/healthz').read() == b'ok\n'"; }
within 20 healthy
python3 -c "import urllib.request as u; print(u.urlopen('http://127.0.0.1:$health_port/metrics').read().decode())" >metrics.log
grep -q '^fanweave_worker_broker_up 1$' metrics.log || failed "no metrics"
started_worker container

echo "a client without a certificate is refused"
ends_with 1 without "$fanweave" jobs list --on @conf/submitter.url --ca ca.pem

echo "a run has its rows answered over encrypted connections"
start_sim
rows 60 >rows.jsonl
start_worker w1 "${tls[@]}"
ends_with 3 batch "$fanweave" batch rows.jsonl -o out.jsonl --model openai/writer --prompt 'Where is {{ city }}?' --on @conf/submitter.url \
  "${tls[@]}"
has_lines out.jsonl 60
echo "deployment: all cases passed"
