"""Hints to keep a part of the prompt, as callers write them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration

from headwater._values.validation import invalid
from headwater.v1 import agent_pb2


def cache_hint(name: str, value: Any) -> agent_pb2.CacheHint | None:
    """The hint of `True` (the provider's own time) or of seconds; None for False and None."""
    if value is None or isinstance(value, bool):
        return agent_pb2.CacheHint() if value else None
    if not isinstance(value, int | float) or not 0 < value <= 86_400:
        raise invalid(name, "must be True, or seconds above 0 and at most 86400")
    ttl = Duration()
    ttl.FromTimedelta(timedelta(seconds=value))
    return agent_pb2.CacheHint(ttl=ttl)


def show_cache(hint: agent_pb2.CacheHint) -> bool | float:
    """A hint as callers write it."""
    return hint.ttl.ToTimedelta().total_seconds() if hint.HasField("ttl") else True
