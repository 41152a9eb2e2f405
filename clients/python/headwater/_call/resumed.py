"""A stream that another program has begun."""

from __future__ import annotations

from headwater._call.request import PreparedCall
from headwater._call.stream import AgentStream
from headwater._grpc.errors import CallersNames
from headwater._grpc.server import Server
from headwater.v1.agent_service_pb2 import StreamRequest


def resumed(server: Server, stream_id: str, after: int = 0, timeout: float | None = None) -> AgentStream:
    """The rest of a resumable stream, read as if this program had begun it.

    Args:
        server: has the stream.
        stream_id: its id.
        after: the sequence of the last chunk that came; 0 for all of it.
        timeout: seconds that it may take in all.
    """
    names = CallersNames(0, None, frozenset())
    call = PreparedCall(server, StreamRequest(resumable=True), timeout, None, names, resumes=(stream_id, after))
    return AgentStream(call, None, _names_provider)


async def _names_provider(call: PreparedCall) -> str:
    """A stream that runs has its provider."""
    return ""
