"""The message of a chunk: the bytes of a common one, the generated class for any other.

Theory of operation. The generated class takes about 2 µs for a chunk, most of it for `create_time`, a message within
the message. A chunk with text or thinking alone, which nearly all are, is put together from its fields instead. Each
field is its tag, the number and the kind of the field, and its value; a text has its length before it. Fields stand in
the order of their numbers, and those that say nothing are left out, so the bytes are those of the generated class.

Example. `Chunk(7, 1_700_000_000.5, Delta("Hi"))` is

    0a 02 48 69                                field 1, content: 2 bytes, "Hi"
    10 07                                      field 2, sequence: 7
    1a 0c 08 80 e2 cf aa 06 10 80 ca b5 ee 01  field 3, create_time: 12 bytes, seconds and nanos
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct

from headwater.v1 import agent_pb2, agent_service_pb2
from headwater_server.domain.chunks import Chunk, FinalChunk
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.limits import MAX_MESSAGE_BYTES
from headwater_server.transport.convert import replies

_VARINT, _SIZED = 0, 2
_five_bytes, _six_bytes = Struct("5B").pack, Struct("6B").pack
_LONGEST_NAME = 64
"""Characters of a name of an event in a common chunk: providers have few names, and short ones."""


def _varint(number: int) -> bytes:
    """A number that is not negative, seven bits a byte, the lowest first."""
    if number < 128:
        return _SMALL[number]
    if number < 1 << 14:
        return bytes((number & 127 | 128, number >> 7))
    pieces = bytearray()
    while number > 127:
        pieces.append(number & 127 | 128)
        number >>= 7
    pieces.append(number)
    return bytes(pieces)


_SMALL = [bytes((number,)) for number in range(128)]


def _tag(name: str, kind: int) -> bytes:
    return _varint(agent_pb2.StreamChunk.DESCRIPTOR.fields_by_name[name].number << 3 | kind)


_CONTENT, _THINKING = _tag("content", _SIZED), _tag("thinking", _SIZED)
_SEQUENCE, _BLOCK_INDEX = _tag("sequence", _VARINT), _tag("block_index", _VARINT)
_CREATE_TIME, _EVENT_TYPE = _tag("create_time", _SIZED), _tag("event_type", _SIZED)
_TEXTS = [_CONTENT + number for number in _SMALL]
_SEQUENCES = [_SEQUENCE + number for number in _SMALL]


def message_of(chunk: Chunk | FinalChunk) -> agent_pb2.StreamChunk:
    """The message of a chunk, by the generated class. Raises HeadwaterError (REPLY_TOO_LARGE)."""
    message = replies.final_chunk(chunk) if isinstance(chunk, FinalChunk) else replies.stream_chunk(chunk)
    check_size(message)
    return message


def chunk_bytes(chunk: Chunk) -> bytes:
    """The bytes of the message of a chunk. Raises HeadwaterError (REPLY_TOO_LARGE)."""
    delta = chunk.delta
    if (
        delta.beside is not None
        or delta.tool_calls
        or delta.refusal
        or delta.thinking_signature
        or delta.redacted_thinking
    ):
        return message_of(chunk).SerializeToString()
    # `merging` has limited the text and the thinking, so their message is not too large.
    text, when, sequence = delta.content.encode(), chunk.create_time, chunk.sequence
    whole = int(when)
    number = int((when - whole) * 1_000_000) * 1000
    # Most numbers have five bytes of seven bits, the lowest first. They are made without a call, for this is much of
    # the work for a chunk.
    nanos = (
        _six_bytes(
            0x10,
            number & 127 | 128,
            number >> 7 & 127 | 128,
            number >> 14 & 127 | 128,
            number >> 21 & 127 | 128,
            number >> 28,
        )
        if number >> 28
        else _nanos(number)
    )
    time = _time(whole, len(nanos))
    counted = _SEQUENCES[sequence] if sequence < 128 else _SEQUENCE + _varint(sequence)
    if text and not (delta.block or delta.thinking or delta.event_type):
        size = len(text)
        begin = _TEXTS[size] if size < 128 else _CONTENT + _varint(size)
        return b"".join((begin, text, counted, time, nanos))
    if not 0 <= delta.block < len(_SMALL) or len(delta.event_type) > _LONGEST_NAME:
        return message_of(chunk).SerializeToString()
    thinking = delta.thinking.encode()
    fields = [_CONTENT, _varint(len(text)), text] if text else []
    fields += (counted, time, nanos)
    if delta.block:
        fields += (_BLOCK_INDEX, _SMALL[delta.block])
    if thinking:
        fields += (_THINKING, _varint(len(thinking)), thinking)
    fields.append(_event_type(delta.event_type))
    return b"".join(fields)


def _nanos(number: int) -> bytes:
    """The field with the nanoseconds of a time."""
    if 1 << 21 <= number < 1 << 28:
        return _five_bytes(0x10, number & 127 | 128, number >> 7 & 127 | 128, number >> 14 & 127 | 128, number >> 21)
    return b"\x10" + _varint(number) if number else b""


@lru_cache(maxsize=16)
def _time(seconds: int, rest: int) -> bytes:
    """The field of a time up to its seconds, which many chunks share; `rest` bytes of nanoseconds follow."""
    said = b"\x08" + _varint(seconds) if seconds else b""
    return _CREATE_TIME + _varint(len(said) + rest) + said


@lru_cache(maxsize=64)
def _event_type(name: str) -> bytes:
    """The field with the name of the event, which is one of a few."""
    text = name.encode()
    if not text:
        return b""
    return _EVENT_TYPE + _varint(len(text)) + text


def check_size(message: agent_pb2.StreamChunk | agent_service_pb2.RunResponse) -> None:
    """Raises HeadwaterError (REPLY_TOO_LARGE) for a message of more than 3 MiB."""
    if message.ByteSize() > MAX_MESSAGE_BYTES:
        raise too_large()


def too_large() -> HeadwaterError:
    """The error of a reply that fits into no message."""
    return HeadwaterError(
        Reason.REPLY_TOO_LARGE, "the reply does not fit into a message of 3 MiB; Stream sends text in pieces"
    )
