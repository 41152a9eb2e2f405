"""How much callers may take of a server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a server; 0 is no limit, unless it says otherwise.

    Attributes:
        max_streams: calls at once on a connection; further ones are refused, and callers know the number.
        max_connections: connections; further ones are closed.
        max_pending_calls: calls whose handler has not begun; further ones end with UNAVAILABLE.
        max_message_bytes: of a message; a longer one is refused when its length has come, before its bytes.
        max_held_bytes: of messages that have arrived and that no handler has taken, of all calls together. Beyond it
            the call with the most, on the connection with the most, ends with RESOURCE_EXHAUSTED.
        max_unsent_bytes: of messages that callers do not take, of all calls together. Beyond it the call with the most,
            on the connection with the most, is reset.
        max_header_bytes: of the metadata of a call; with more it ends with RESOURCE_EXHAUSTED. Never without limit.
        preface_seconds: how long the beginning of a connection, a frame or a header block may take. Never without
            limit.
        keepalive_seconds: how long a connection may be silent before it is pinged; without an answer within
            `keepalive_timeout_seconds` it is closed. Never without limit.
        idle_seconds: how long a connection may be without a call.
        age_seconds: how old a connection may be; then its caller gets GOAWAY, and its calls may run for
            `age_grace_seconds`.
    """

    max_streams: int = 0
    max_connections: int = 0
    max_pending_calls: int = 0
    max_message_bytes: int = 4 * 1024 * 1024
    max_held_bytes: int = 0
    max_unsent_bytes: int = 0
    max_header_bytes: int = 16 * 1024
    preface_seconds: float = 20.0
    keepalive_seconds: float = 30.0
    keepalive_timeout_seconds: float = 10.0
    idle_seconds: float = 0.0
    age_seconds: float = 0.0
    age_grace_seconds: float = 30.0


DEFAULT_LIMITS = Limits()
