"""The program in which the embedded model runs: `python -m headwater_server.providers.local.process`.

Theory of operation. The parent writes one line of JSON, the settings, to standard input and then keeps that pipe open
as long as it lives; the kernel closes it however the parent ends, and the end of file ends this process, so it never
outlives its parent, not even one that was killed. llama.cpp holds Python's lock while it loads a model, which may take
a minute; therefore the kernel is asked to send SIGIO when the pipe changes, which ends a process that does not handle
it. SIGIO does not end a process that is stopped, so the kernel is asked for SIGKILL at the end of the parent too. The
API key comes through the pipe, since arguments can be read by every user of the machine.

When the model is loaded, one line of JSON with the address goes to standard output, and then an empty line each second.
These wait for llama.cpp's counts, which it gives between two steps of its work. Lines that stop say that it computes
without end, or that the process was stopped, and the parent ends it. Until the address llama.cpp's log goes to standard
error, for the parent's error message; from then on it goes nowhere, because it may hold prompts.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

HTTP_THREADS = 64
"""A connection holds one of the server's threads while it waits for the model, or idles before the next request."""

BEAT_SECONDS = 1.0
"""The time between two signs of life."""

BATCH = 128
"""Tokens of a prompt that are read in one step. Other requests, and the sign of life, wait for its end."""

GROWTH = 1024 * 1024 * 1024
"""Bytes that the process may take beyond those of the loaded model."""

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serves the model until standard input ends."""
    settings = json.loads(sys.stdin.buffer.readline())
    _die_with_parent()
    # Output of C code on descriptor 1 must not get between the parent and our one line.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = _serve(settings)
    _limit_memory()
    _silence()
    with answer:
        json.dump({"url": server.listening_address}, answer)
        answer.write("\n")
        while True:
            answer.write("\n")
            answer.flush()
            time.sleep(BEAT_SECONDS)
            server.handle_metrics()


def _die_with_parent() -> None:
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    pipe = select.poll()
    pipe.register(0, select.POLLIN)
    if pipe.poll(0):  # it ended before the signal was asked for
        sys.exit()


def _limit_memory() -> None:
    """Lets the process grow by GROWTH only: the model has what it needs, and a grammar must not take the rest."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    used = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
    resource.setrlimit(resource.RLIMIT_DATA, (used + GROWTH, used + GROWTH))


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _serve(settings: dict[str, Any]) -> Any:
    """llama.cpp's HTTP server, listening on a free port of the loopback interface with the model loaded."""
    import xllamacpp  # here, so that its output is seen when it cannot be loaded

    params = xllamacpp.CommonParams()
    params.model.path = settings["model_path"]
    params.model_alias = {settings["model"]}
    params.chat_template = settings["chat_template"]
    params.use_jinja = True
    params.n_ctx = settings["context"] * settings["parallel"]  # llama.cpp divides it between the slots
    params.n_parallel = settings["parallel"]
    params.n_predict = settings["max_tokens"]  # for requests that set none: a small model may never stop by itself
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [settings["api_key"]]
    params.n_threads_http = HTTP_THREADS
    params.cache_ram_mib = 0  # no copies of earlier conversations beside those in the slots
    params.n_batch = params.n_ubatch = BATCH
    params.endpoint_slots = False  # shows prompts
    params.endpoint_metrics = True
    params.ui = False
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
