"""From the contract's requests for a reply to the domain, with every mistake in them named at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from headwater.v1 import agent_service_pb2
from headwater_server.attempts.request import ParsedRequest
from headwater_server.domain.errors import FieldViolation, invalid, invalid_request
from headwater_server.domain.limits import (
    MAX_CONTINUED_SEQUENCE,
    MAX_ITEMS,
    MAX_JSON,
    MAX_PROVIDER_KEY,
    MAX_TIMEOUT_SECONDS,
    MAX_VIOLATIONS,
    MIN_HEARTBEAT_SECONDS,
)
from headwater_server.domain.messages import PROVIDER_HEADER, PROVIDER_KEY, Message, Role, Text
from headwater_server.domain.stream_id import index_of, is_resumable
from headwater_server.streaming.terms import Continuation
from headwater_server.transport.convert.agents import KnownAgents
from headwater_server.transport.convert.durations import parse_duration
from headwater_server.transport.convert.messages import parse_message

Question: TypeAlias = agent_service_pb2.StreamRequest | agent_service_pb2.RunRequest

_AGENTS = KnownAgents()


def parse_stream_request(
    message: agent_service_pb2.StreamRequest,
    keys: Sequence[str],
    allow_caller_api_keys: bool,
    headers: Sequence[tuple[str, str]] = (),
) -> ParsedRequest:
    """The request as the domain has it. Raises HeadwaterError (INVALID_REQUEST) with every bad field.

    Args:
        message: the request.
        keys: the values of its metadata PROVIDER_KEY.
        allow_caller_api_keys: whether it may have one.
        headers: its metadata that begin with PROVIDER_HEADER, without this beginning.
    """
    bad: list[FieldViolation] = []
    names_stream = message.continues_stream_id or message.continues_sequence
    continues = _continuation(message, bad) if names_stream else None
    heartbeat = parse_heartbeat(message, bad) if message.HasField("heartbeat_interval") else None
    # The id of a plain stream stays plain in its later rounds.
    resumable = message.resumable and (continues is None or is_resumable(continues.stream_id))
    return _parse(message, keys, allow_caller_api_keys, headers, bad, continues, resumable, heartbeat)


def parse_run_request(
    message: agent_service_pb2.RunRequest,
    keys: Sequence[str],
    allow_caller_api_keys: bool,
    headers: Sequence[tuple[str, str]] = (),
) -> ParsedRequest:
    """As `parse_stream_request`."""
    return _parse(message, keys, allow_caller_api_keys, headers, [])


def _parse(
    message: Question,
    keys: Sequence[str],
    allow_keys: bool,
    headers: Sequence[tuple[str, str]],
    bad: list[FieldViolation],
    continues: Continuation | None = None,
    resumable: bool = False,
    heartbeat: float | None = None,
) -> ParsedRequest:
    if message.messages:
        _check_sizes(message)
    agent = _AGENTS.parse(message.agent, "agent", bad)
    key = _provider_key(keys, allow_keys, bad) if keys else ""
    messages, own_headers = _messages(message, bad), _provider_headers(headers, bad) if headers else {}
    if bad:
        raise invalid_request(bad)
    return ParsedRequest(
        agent, messages, key, own_headers, continues, resumable, message.ByteSize(), heartbeat_seconds=heartbeat
    )


def _check_sizes(message: Question) -> None:
    """Raises HeadwaterError for more than is ever needed, before any of it is looked at."""
    if len(message.messages) > MAX_ITEMS:
        raise invalid("messages", f"has more than {MAX_ITEMS} items")
    if sum(1 + len(part.tool_result.parts) for m in message.messages for part in m.parts) > MAX_ITEMS:
        raise invalid("messages", f"have more than {MAX_ITEMS} parts in all")
    arguments = sum(len(part.tool_call.arguments_json) for m in message.messages for part in m.parts)
    if arguments > MAX_JSON:
        raise invalid("messages", f"have arguments of tool calls of more than {MAX_JSON} characters in all")


def _provider_key(keys: Sequence[str], allowed: bool, bad: list[FieldViolation]) -> str:
    key = keys[0] if keys else ""
    if len(keys) > 1:
        bad.append(FieldViolation(PROVIDER_KEY, "is given more than once; give one key"))
    elif len(key) > MAX_PROVIDER_KEY or not (key.isascii() and key.isprintable()):
        bad.append(FieldViolation(PROVIDER_KEY, f"must be printable ASCII of at most {MAX_PROVIDER_KEY} characters"))
    elif key and not allowed:
        bad.append(FieldViolation(PROVIDER_KEY, "is not taken here: the server's allow_caller_api_keys is false"))
    return key


def _provider_headers(headers: Sequence[tuple[str, str]], bad: list[FieldViolation]) -> dict[str, str]:
    """The caller's headers. Whether the provider takes them is known when the provider is."""
    for name, value in headers:
        if len(value) > MAX_PROVIDER_KEY or not (value.isascii() and value.isprintable()):
            cure = f"must be printable ASCII of at most {MAX_PROVIDER_KEY} characters"
            bad.append(FieldViolation(PROVIDER_HEADER + name, cure))
    if len(headers) != len(found := dict(headers)):
        bad.append(FieldViolation(PROVIDER_HEADER, "names a header more than once; give each one value"))
    return found


def _messages(message: Question, bad: list[FieldViolation]) -> tuple[Message, ...]:
    messages = []
    for i, m in enumerate(message.messages):
        messages.append(parse_message(m, f"messages[{i}]", bad))
        if len(bad) > MAX_VIOLATIONS:
            break
    if message.prompt.strip():
        messages.append(Message(Role.USER, (Text(message.prompt),)))
    elif message.prompt or not message.messages:
        bad.append(FieldViolation("prompt", "is empty; ask something, here or in messages"))
    return tuple(messages)


def user_message(prompt: str) -> Message:
    """A question as a message."""
    return Message(Role.USER, (Text(prompt),))


def parse_heartbeat(
    message: agent_service_pb2.StreamRequest | agent_service_pb2.ResumeStreamRequest, bad: list[FieldViolation]
) -> float | None:
    """The heartbeat that the caller wants, in seconds; None for none."""
    if not message.HasField("heartbeat_interval"):
        return None
    try:
        seconds = parse_duration(message.heartbeat_interval)
        if not MIN_HEARTBEAT_SECONDS <= seconds <= MAX_TIMEOUT_SECONDS:
            raise ValueError(f"must be at least {MIN_HEARTBEAT_SECONDS} s and at most 1 day, is {seconds:g} s")
    except ValueError as error:
        bad.append(FieldViolation("heartbeat_interval", str(error)))
        return None
    return seconds


def _continuation(message: agent_service_pb2.StreamRequest, bad: list[FieldViolation]) -> Continuation:
    stream_id, sequence = message.continues_stream_id, message.continues_sequence
    if index_of(stream_id) is None:
        bad.append(FieldViolation("continues_stream_id", "must be the id of a stream, as its first chunk has it"))
    if not 1 <= sequence <= MAX_CONTINUED_SEQUENCE:
        what = f"must be 1 to {MAX_CONTINUED_SEQUENCE}, the sequence of the stream's last chunk, is {sequence}"
        bad.append(FieldViolation("continues_sequence", what))
    return Continuation(stream_id, sequence)
