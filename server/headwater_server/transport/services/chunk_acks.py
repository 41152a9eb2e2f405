"""Says to a worker which of its chunks have arrived, so that it need not keep them.

Not each of them: that would cost a message for a message. The worker keeps what is not acknowledged, and the contract
tells it how much that can be (`TaskChunkAck`). One count for all tasks, so that many slow tasks do not add up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from headwater.v1 import worker_service_pb2

ACK_CHUNKS = 100
ACK_CHARACTERS = 64 * 1024


class ChunkAcks:
    """The chunks of one connection that have arrived and are not acknowledged.

    Args:
        send: sends an acknowledgement; waits while too many wait.
    """

    def __init__(self, send: Callable[[worker_service_pb2.TaskChunkAck], Awaitable[None]]) -> None:
        self._send = send
        self._ends: dict[str, int] = {}
        self._chunks = 0
        self._characters = 0

    async def arrived(self, chunk: worker_service_pb2.TaskChunk) -> None:
        """A chunk with a position has arrived, for the first time or again."""
        size = len(chunk.content) + len(chunk.thinking)
        self._ends[chunk.task_id] = chunk.position + size
        self._chunks += 1
        self._characters += size
        if self._chunks < ACK_CHUNKS and self._characters < ACK_CHARACTERS:
            return
        ends, self._ends, self._chunks, self._characters = self._ends, {}, 0, 0
        for task_id, position in ends.items():
            await self._send(worker_service_pb2.TaskChunkAck(task_id=task_id, position=position))
