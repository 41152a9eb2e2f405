"""The rounds, the refusals and the events of all strict services."""

from __future__ import annotations

import json
from typing import Any

ROUNDS = 12
"""The calls that each makes after a prompt, one a round, before its last word."""


class RefusedError(Exception):
    """The request breaks a rule of the service."""


def refuse(breaks: bool, rule: str) -> None:
    """Raises RefusedError with the rule if the request breaks it."""
    if breaks:
        raise RefusedError(rule)


def sse(event: dict[str, Any], name: str = "") -> bytes:
    """An event of the stream."""
    line = f"event: {name}\n" if name else ""
    return f"{line}data: {json.dumps(event)}\n\n".encode()
