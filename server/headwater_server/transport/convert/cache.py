"""Between the contract's cache hints and the domain's."""

from __future__ import annotations

from headwater.v1 import agent_pb2
from headwater_server.domain.errors import FieldViolation
from headwater_server.domain.messages import CacheHint
from headwater_server.transport.convert.durations import duration, parse_duration

_MAX_SECONDS = 86_400.0


def parse_cache(
    message: agent_pb2.ChatMessage | agent_pb2.Tool | agent_pb2.AgentConfig,
    path: str,
    bad: list[FieldViolation],
    name: str = "cache",
) -> CacheHint | None:
    """The hint on a message, a tool or the instructions; its mistakes are added to `bad`."""
    if not message.HasField(name):
        return None
    hint: agent_pb2.CacheHint = getattr(message, name)
    if not hint.HasField("ttl"):
        return CacheHint()
    try:
        seconds = parse_duration(hint.ttl)
    except ValueError as error:
        bad.append(FieldViolation(f"{path}.{name}.ttl", str(error)))
        return None
    if not 0 < seconds <= _MAX_SECONDS:
        bad.append(FieldViolation(f"{path}.{name}.ttl", f"must be above 0 and at most 1 day, is {seconds:g} s"))
    return CacheHint(seconds)


def cache_message(hint: CacheHint) -> agent_pb2.CacheHint:
    """A hint as a message of the contract."""
    return agent_pb2.CacheHint(ttl=None if hint.seconds is None else duration(hint.seconds))
