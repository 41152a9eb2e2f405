"""A provider that repeats the keys and the content of each request, wherever an answer has room for a text."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from urllib.parse import quote

from tests.support.upstream.upstream import Upstream

KEY_HEADERS = ("authorization", "x-api-key", "x-goog-api-key", "api-key", "x-tenant-secret")

Answer = tuple[str, dict[str, str], bytes]
"""The rest of the status line, headers, body."""
Shape = Callable[[str, str], Answer]
"""Makes an answer of the keys and of the content of a request."""


def _error(keys: str, text: str) -> dict[str, object]:
    said = f"cannot use {keys} for {text}"
    fields = ("code", "type", "param", "status", "reason", "request_id")
    return {"error": {"message": said, **dict.fromkeys(fields, keys), "details": [{"reason": said, "x": {keys: text}}]}}


def _json(status: str, body: object, **headers: str) -> Answer:
    return status, {"content-type": "application/json", **headers}, json.dumps(body).encode()


def _events(*events: object) -> Answer:
    body = b"".join(
        b"data: %s\n\n" % (item if isinstance(item, bytes) else json.dumps(item).encode()) for item in events
    )
    return "200 OK", {"content-type": "text/event-stream"}, body


def _chunk(keys: str, text: str, **choice: object) -> dict[str, object]:
    names = dict.fromkeys(("id", "model", "object", "system_fingerprint", "provider", "service_tier"), keys)
    return {**names, "choices": [{"index": 0, "delta": {"content": text}, **choice}]}


def _encoded(keys: str) -> str:
    return f"{base64.b64encode(keys.encode()).decode()} {quote(keys, safe='')} {json.dumps(keys)[1:-1]} {keys.encode().hex()}"


SHAPES: dict[str, Shape] = {
    "keys in an error": lambda keys, text: _json(
        "400 Bad", _error(keys, "it"), **{"x-request-id": keys, "retry-after": keys}
    ),
    "content in an error": lambda keys, text: _json(
        "400 Bad", _error(text, text), **{"x-request-id": quote(text[-60:])}
    ),
    "a refused key": lambda keys, text: _json("401 No", _error(keys, text), **{"www-authenticate": keys}),
    "encoded keys": lambda keys, text: _json("401 No", _error(_encoded(keys), text)),
    "a limit": lambda keys, text: _json("429 Slow", _error(keys, text), **{"retry-after": keys, "request-id": keys}),
    "text": lambda keys, text: ("500 Bad", {"content-type": "text/html"}, f"<h1>{keys}</h1>{text}".encode()),
    "a model": lambda keys, text: _json("404 No", {"error": f"model {keys} not found {text}"}),
    "an error among events": lambda keys, text: _events(_chunk(keys, "x"), _error(keys, text)),
    "an error as the first event": lambda keys, text: _events({**_error(keys, text), "type": "error"}),
    "odd names": lambda keys, text: _events(_chunk(keys, text), _chunk(keys, "", finish_reason=keys), b"[DONE]"),
    "content for names": lambda keys, text: _events(_chunk(text, "x"), _chunk(text, "", finish_reason=text), b"[DONE]"),
    "malformed events": lambda keys, text: _events(b"{" + keys.encode() + text.encode(), b'{"a": ' + text.encode()),
    "malformed JSON": lambda keys, text: (
        "200 OK",
        {"content-type": "application/json"},
        f'{{"{keys}": {text}'.encode(),
    ),
    "a redirect": lambda keys, text: (
        "302 Found",
        {"location": f"http://example.org/{quote(keys)}?{quote(text)}"},
        b"",
    ),
    "an odd type": lambda keys, text: ("200 OK", {"content-type": f"{keys}/{keys}"}, text.encode()),
    "an odd encoding": lambda keys, text: ("200 OK", {"content-encoding": keys}, text.encode()),
    "an odd phrase": lambda keys, text: (f"200 {keys}", {keys: keys}, text.encode()),
    "no HTTP": lambda keys, text: (f"{keys} {keys}", {}, b""),
    "an odd length": lambda keys, text: ("200 OK", {"content-length": keys, "transfer-encoding": keys}, text.encode()),
}
"""The answers by name."""


class Echo(Upstream):
    """Answers each request in the shape that the test has set.

    Attributes:
        shape: a key of SHAPES.
    """

    def __init__(self) -> None:
        super().__init__(self._echo)
        self.shape = next(iter(SHAPES))

    async def _echo(self, writer: asyncio.StreamWriter) -> None:
        target, *lines = self.requests[-1].strip().split("\r\n")
        headers = dict(line.partition(": ")[::2] for line in lines)
        keys = next(
            (value.removeprefix("Bearer ") for name, value in headers.items() if name.lower() in KEY_HEADERS), target
        )
        status, sent, body = SHAPES[self.shape](keys, f"{target} {self.bodies[-1].decode()}")
        head = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in sent.items())]
        if "content-length" not in sent:
            head.append(f"content-length: {len(body)}")
        writer.write("\r\n".join([*head, "", ""]).encode("latin-1", "replace") + body)
        await writer.drain()
