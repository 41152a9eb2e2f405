"""The messages between the server and its helper process.

The server sends a job. The helper asks for the values that the job reads, unless it is Check, and gets their JSON
texts. Then it answers. A message is its length in four bytes, and MessagePack.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

LENGTH_BYTES = 4


class Check(msgspec.Struct, tag=True):
    """Asks for the mistakes of a step.

    Attributes:
        condition: empty for none.
        texts: those with placeholders, by the names of their fields.
        depends_on: the steps whose results they may read.
    """

    condition: str
    texts: dict[str, str]
    depends_on: tuple[str, ...]


class Decide(msgspec.Struct, tag=True):
    """Asks whether a condition holds."""

    condition: str


class Fill(msgspec.Struct, tag=True):
    """Asks for texts with their placeholders filled in."""

    texts: list[str]


class Values(msgspec.Struct, tag=True):
    """The values that the helper has asked for, as JSON texts by key; those that there are."""

    texts: dict[str, str]


class Needs(msgspec.Struct, tag=True):
    """The keys that a job reads; None for all."""

    keys: tuple[str, ...] | None


class Mistakes(msgspec.Struct, tag=True):
    """The answer to Check: fields and what is wrong with each."""

    found: list[tuple[str, str]]
    seconds: float


class Decision(msgspec.Struct, tag=True):
    """The answer to Decide."""

    holds: bool
    seconds: float


class Filled(msgspec.Struct, tag=True):
    """The answer to Fill.

    Attributes:
        texts: the texts, in the order of the job's.
        named: the steps whose results they name.
    """

    texts: list[str]
    named: list[str]
    seconds: float


class Refused(msgspec.Struct, tag=True):
    """The job has no answer; `message` says why, as the end of a sentence about the step."""

    message: str
    seconds: float


Job: TypeAlias = Check | Decide | Fill
Answer: TypeAlias = Mistakes | Decision | Filled | Refused
"""Each has the computing time of its job in seconds."""

TO_HELPER: msgspec.msgpack.Decoder[Job | Values] = msgspec.msgpack.Decoder(Job | Values)
FROM_HELPER: msgspec.msgpack.Decoder[Needs | Answer] = msgspec.msgpack.Decoder(Needs | Answer)


def frame(message: msgspec.Struct) -> bytes:
    """A message with its length before it."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body
