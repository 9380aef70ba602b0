#!/usr/bin/env bash
# Times an exact search of 100,000 vectors of 384 numbers, and numpy's over the same vectors.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check numpy
cargo build --quiet --release --locked -p fanweave --example vector_scan
"${CARGO_TARGET_DIR:-target}/release/examples/vector_scan" "$work/vectors.bin"
OPENBLAS_NUM_THREADS=1 "$work/venv/bin/python" - "$work/vectors.bin" <<'PYTHON'
import sys, time
import numpy
all = numpy.fromfile(sys.argv[1], dtype=numpy.float32).reshape(-1, 384)
all /= numpy.linalg.norm(all, axis=1, keepdims=True)
rows, wanted = all[:100_000], all[100_000:]
times = []
for vector in wanted:
    started = time.perf_counter()
    scores = rows @ vector
    best = numpy.argpartition(scores, -10)[-10:]
    best = best[numpy.argsort(-scores[best])]
    times.append(time.perf_counter() - started)
times.sort()
print(f"numpy, one thread: a search in {times[len(times) // 2] * 1e3:.1f}ms (median of {len(times)}), {times[0] * 1e3:.1f}ms at best")
PYTHON
