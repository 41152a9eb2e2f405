"""Marked secrets, and the search for them in any text: plain, and in the encodings in which a text may travel.

Example: the mark of the place `prompt` is `zq7xpromptxq7z` within a sentence of words. It is found in
`{"q": "zq7\\u0078promptxq7z"}`, in `enE3eHByb21wdHhxN3o=` at any offset, and in `%7aq7xpromptxq7z`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterable
from functools import cache
from urllib.parse import unquote

KEYS = (
    "environment_key", "file_key", "command_key", "header_key", "query_key", "proxy_password", "callers_key",
    "right_token", "wrong_token", "revoked_token", "other_token", "tls_key",
)  # fmt: skip
"""The places of keys and tokens: no one may see these."""
CONTENT = (
    "prompt", "instructions", "message", "arguments", "result", "schema", "description", "thinking", "signature", "image",
    "image_url", "options", "user", "caller_header", "provider_data", "reply", "context", "action", "condition", "metadata",
    "step_result", "worker_chunk", "worker_thinking", "worker_error", "worker_progress", "changes", "grpc_metadata",
)  # fmt: skip
"""The places of content: its caller alone may see it."""

_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})")


def core(place: str) -> str:
    """The letters that no other text has: lower case letters and digits."""
    return f"zq7x{place.replace('_', '')}xq7z"


def secret(place: str) -> str:
    """A key: visible ASCII with signs that JSON, URLs and base64 write in other ways."""
    return f"sk-{core(place)}+/=%41&"


def words(place: str) -> str:
    """A sentence of the caller's, which looks like no name."""
    return f"my card, {core(place)}, is 4111-1111 \u00fc"


@cache
def _encoded(place: str) -> tuple[str, ...]:
    """The mark in lower case, plain, in base64 at each offset without the letters that depend on its neighbours, and in
    hexadecimal digits.
    """
    mark = core(place).encode()
    found = [mark.decode(), mark.hex()]
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + mark).decode().rstrip("=")
        found.append(text[(0, 2, 3)[offset] : -2].lower())
    return tuple(found)


def found(text: str, places: Iterable[str]) -> set[str]:
    """The places whose marks stand in a text, in any encoding."""
    plain = _ESCAPE.sub(lambda match: chr(int(match[1] or match[2], 16)), text)
    forms = {form.lower() for form in (text, unquote(text), plain, unquote(plain), text.replace("\n", ""))}
    return {place for place in places if any(code in form for form in forms for code in _encoded(place))}


def lines_with(text: str, places: Collection[str]) -> list[str]:
    """The lines of a text in which a mark stands, each with the places."""
    return [f"{sorted(hits)}: {line[:600]}" for line in text.splitlines() if (hits := found(line, places))]
