"""The program in which the embedded model runs: `python -m headwater_server.providers.local_process`.

Theory of operation. The parent writes one line of JSON, the settings, to standard input and then keeps that pipe open
as long as it lives; the kernel closes it however the parent ends. A thread waits for that end of file and then leaves
at once, so this process never outlives its parent, not even one that was killed. The API key comes the same way, since
arguments can be read by every user of the machine.

When the model is loaded, one line of JSON with the address goes to standard output. Until then llama.cpp's log goes to
standard error, for the parent's error message; from then on it goes nowhere, because it may hold prompts.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

HTTP_THREADS = 64
"""A connection holds one of the server's threads while it waits for the model, or idles before the next request."""


def main() -> None:
    """Serves the model until standard input ends."""
    settings = json.loads(sys.stdin.buffer.readline())
    watcher = threading.Thread(target=_leave_with_parent, name="parent", daemon=True)
    watcher.start()
    # Whatever writes to descriptor 1 in C must not get between the parent and our one line.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = _serve(settings)
    _silence()
    with answer:
        json.dump({"url": server.listening_address}, answer)
        answer.write("\n")
    watcher.join()


def _leave_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)  # llama.cpp's orderly end waits for streams under way


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _serve(settings: dict[str, Any]) -> Any:
    """llama.cpp's HTTP server, listening on a free port of the loopback interface with the model loaded."""
    import xllamacpp  # here, so that what it prints when it cannot be loaded is seen

    params = xllamacpp.CommonParams()
    params.model.path = settings["model_path"]
    params.model_alias = {settings["model"]}
    params.chat_template = settings["chat_template"]
    params.use_jinja = True
    params.n_ctx = settings["context"] * settings["parallel"]  # llama.cpp divides it between the slots
    params.n_parallel = settings["parallel"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [settings["api_key"]]
    params.n_threads_http = HTTP_THREADS
    params.cache_ram_mib = 0  # no copies of earlier conversations beside those in the slots
    params.endpoint_slots = False  # shows prompts
    params.ui = False
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
