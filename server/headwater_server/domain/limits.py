"""Bounds that several services have in common."""

from __future__ import annotations

MAX_NAME = 256
"""Most characters of a name or an id."""

MAX_MESSAGE_BYTES = 3 * 1024 * 1024
"""The largest message that is sent: stubs refuse more than 4 MiB unless their options say otherwise."""
