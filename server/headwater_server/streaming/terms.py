"""The facts of a stream that are known before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class Continuation:
    """The point from which a round of tool calls continues: the stream's id, and the sequence of its last chunk."""

    stream_id: str
    sequence: int


class StreamTerms(msgspec.Struct, frozen=True):
    """The facts of a stream that are known before it runs.

    Attributes:
        collects: whether the reply is collected from its start, because it may end in tool calls or is wanted whole.
        labels: the caller's labels.
        resumable: whether a caller can resume it; its id says so.
        owner: name of the caller that it belongs to; see `callers.caller`.
    """

    collects: bool = False
    resumable: bool = False
    labels: Mapping[str, str] = {}
    owner: str = ""


NO_TERMS = StreamTerms()


@dataclass(frozen=True, slots=True)
class ReplayLimits:
    """The bounds of resumable streams; `replay` says what each does.

    Attributes:
        max_bytes: of the log of one stream.
        max_bytes_in_all: of the logs of all streams of this process.
    """

    detach_seconds: float = 60.0
    retention_seconds: float = 300.0
    lagging_seconds: float = 10.0
    max_bytes: int = 8 * 1024 * 1024
    max_bytes_in_all: int = 256 * 1024 * 1024
