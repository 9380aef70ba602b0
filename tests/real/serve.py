"""Runs llama.cpp's server on a free port of loopback until it is killed.

    python serve.py path/to/model.gguf

Prints `listening on http://127.0.0.1:PORT` once it answers.
"""

import signal
import sys

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.hostnames = ["127.0.0.1"]
params.port = 0
params.n_parallel = 8
# A connection holds a thread of this server for as long as it is kept alive.
params.n_threads_http = 64
params.n_ctx = 8 * 2048
params.cont_batching = True
params.cpuparams.n_threads = 2
params.cpuparams_batch.n_threads = 2
params.warmup = False
# Tools are offered in the words of the chat template.
params.use_jinja = True
server = xllamacpp.Server(params)
print(f"listening on {server.listening_address}", flush=True)
signal.pause()
