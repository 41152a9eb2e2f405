"""Strict services behind one address: the first piece of the path is the name of the service."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol, Self

from tests.support.upstream.strict.rules import RefusedError


class Service(Protocol):
    """A service that answers a request or refuses it."""

    def answer(self, body: dict[str, Any], headers: Mapping[str, str]) -> bytes:
        """The stream. Raises RefusedError."""
        ...


class StrictServices:
    """The services, from `with` to the end of its block.

    Attributes:
        url: the address; `/NAME` below it is that of a service.
        bodies: the requests that came, by the name of the service.
    """

    def __init__(self, services: Mapping[str, Service]) -> None:
        self.bodies: dict[str, list[dict[str, Any]]] = {name: [] for name in services}
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                name = self.path.split("/")[1]
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                bodies[name].append(body)
                status, kind, answer = 200, "text/event-stream", b""
                try:
                    answer = services[name].answer(body, {key.lower(): value for key, value in self.headers.items()})
                except RefusedError as refusal:
                    status, kind = 400, "application/json"
                    answer = json.dumps({"error": {"type": "invalid_request_error", "message": str(refusal)}}).encode()
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
