"""A program in the place of the embedded model: answers every request at once, until one asks it to stop.

It keeps to the protocol of `headwater_server.providers.local.process`: a line of settings comes in, a line with the
address goes out, and then signs of life.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BEAT_SECONDS = 0.05
DELTA = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def is_first() -> bool:
    """Whether no process before was asked this: a file that all of them know tells."""
    try:
        os.close(os.open(os.environ["FAKE_MODEL_MARK"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


class Handler(BaseHTTPRequestHandler):
    """Answers `Hi`. The words `stall`, `wait once` and `wait after` stop the process, and hold a reply back or open."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        if "stall" in body:
            os.kill(os.getpid(), signal.SIGSTOP)
            threading.Event().wait()  # the signal stops this thread only when the main thread has had its turn
        if "wait once" in body and is_first():
            threading.Event().wait()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(DELTA + END)))
        self.end_headers()
        self.wfile.write(DELTA)
        if "wait after" in body:
            threading.Event().wait()
        self.wfile.write(END)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def main() -> None:
    json.loads(sys.stdin.readline())
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    while True:
        print(flush=True)
        time.sleep(BEAT_SECONDS)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
