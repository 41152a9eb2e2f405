"""The exception with which a stream ends, from the status of its last call and from how far the stream had come."""

from __future__ import annotations

from dataclasses import dataclass

from headwater._call.request import PreparedCall
from headwater._grpc.errors import interrupted, to_exception
from headwater._grpc.loading import grpc
from headwater.exceptions import HeadwaterError, StreamInterruptedError


@dataclass(frozen=True, slots=True)
class Begun:
    """How far a stream had come.

    Attributes:
        has_chunks: a chunk had come.
        is_later_round: tools had run.
        was_lost: a connection was being replaced.
    """

    has_chunks: bool
    is_later_round: bool
    was_lost: bool


def failure_of(
    error: grpc.aio.AioRpcError, call: PreparedCall, text: str, begun: Begun, answers: str
) -> HeadwaterError:
    """The exception for the end of a call.

    Args:
        error: the end.
        call: as it was prepared.
        text: all that had come of the reply.
        begun: how far the stream had come.
        answers: the server that answers there instead of Headwater, in words; empty for none.
    """
    failure = to_exception(
        error,
        target=call.server.target,
        partial_response=text,
        started=begun.has_chunks,
        names=call.names,
        answers=answers,
    )
    if isinstance(failure, StreamInterruptedError):
        return failure
    if begun.is_later_round:
        return interrupted("the stream broke off in a later round of tool calls", failure, text)
    if begun.was_lost and begun.has_chunks:
        return interrupted("the connection was lost, and the stream is not resumed", failure, text)
    return failure


def not_accepted(target: str) -> str:
    """The words for a server that has accepted no call in time."""
    return (
        f"no server at {target} has accepted the call within its timeout; see that Headwater listens there, or allow "
        "more with timeout="
    )
