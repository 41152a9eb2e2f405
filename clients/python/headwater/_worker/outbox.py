"""The messages of a worker to its server, over its reconnects.

Theory of operation. A message that is written may still be lost with its connection. So the outbox keeps chunks until
they are acknowledged, and of each task the last progress and the run that it waits for, and says them again over the
next connection. The server knows a chunk by its position and drops one that it has. Chunks that wait and those that are
kept share one bound; past it the handlers wait, so no chunk is ever dropped here.

A server without the feature `chunk_acks` acknowledges none: chunks that were written to it are not kept.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Container, Iterable
from itertools import chain

from headwater.v1 import worker_service_pb2

MAX_WAITING_CHARACTERS = 256 * 1024
_MESSAGE_COST = 100

CHUNK_ACKS = "chunk_acks"
"""Feature of the protocol: chunks have positions, and are acknowledged."""


class Outbox:
    """The messages that wait to be sent, or to be acknowledged. Belongs to the background loop."""

    def __init__(self) -> None:
        self._waiting: deque[worker_service_pb2.AttachRequest] = deque()
        self._sent: dict[str, deque[worker_service_pb2.AttachRequest]] = {}  # chunks, by task
        self._states: dict[tuple[str, str], worker_service_pb2.AttachRequest] = {}  # the last, by task and kind
        self._keeps_chunks = False
        self._size = 0
        self._room = asyncio.Event()
        self._room.set()
        self.changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    async def room(self) -> None:
        """Waits while very much waits."""
        await self._room.wait()

    def put(self, message: worker_service_pb2.AttachRequest) -> None:
        """Adds at the end."""
        kind = message.WhichOneof("kind") or ""
        if kind in ("progress", "waiting"):
            self._states[getattr(message, kind).task_id, kind] = message
        self._waiting.append(message)
        self._resized(_size(message))
        self.changed.set()

    def take(self) -> worker_service_pb2.AttachRequest:
        """Takes the oldest."""
        message = self._waiting.popleft()
        if self._keeps_chunks and message.HasField("chunk"):
            self._sent.setdefault(message.chunk.task_id, deque()).append(message)
        else:
            self._resized(-_size(message))
        return message

    def put_back(self, message: worker_service_pb2.AttachRequest) -> None:
        """Undoes `take`."""
        self._waiting.appendleft(message)
        sent = self._sent.get(message.chunk.task_id)
        if sent and sent[-1] is message:
            sent.pop()
        else:
            self._resized(_size(message))

    def acknowledged(self, task_id: str, position: int) -> None:
        """The chunks of a task that end there or before have arrived."""
        sent = self._sent.get(task_id, deque())
        while sent and _end(sent[0].chunk) <= position:
            self._resized(-_size(sent.popleft()))
        if not sent:
            self._sent.pop(task_id, None)

    def forget(self, task_id: str) -> None:
        """The task has ended, or is not wanted: nothing of it is said again, and its chunks need not be said at all."""
        for message in self._sent.pop(task_id, ()):
            self._resized(-_size(message))
        for kind in ("progress", "waiting"):
            self._states.pop((task_id, kind), None)
        dropped = [message for message in self._waiting if message.chunk.task_id == task_id]
        if dropped:
            self._waiting = deque(message for message in self._waiting if message.chunk.task_id != task_id)
            self._resized(-sum(map(_size, dropped)))

    def restart(
        self, results: Iterable[worker_service_pb2.TaskResult], wanted: Container[str], features: Container[str]
    ) -> None:
        """Begins a connection: the messages of tasks that are still wanted, then all results.

        Args:
            results: those that are not acknowledged.
            wanted: ids of tasks.
            features: the parts of the protocol that the server knows too.
        """
        sent = chain.from_iterable(self._sent.values()) if CHUNK_ACKS in features else ()
        chunks = [m for m in chain(sent, self._waiting) if m.HasField("chunk") and m.chunk.task_id in wanted]
        states = [m for (task_id, kind), m in self._states.items() if task_id in wanted and kind in features]
        self._waiting.clear()
        self._sent.clear()
        self._states.clear()
        self._keeps_chunks = CHUNK_ACKS in features
        self._size = 0
        self._resized(0)
        for message in chain(chunks, states):
            self.put(message)
        for result in results:
            self.put(worker_service_pb2.AttachRequest(result=result))

    def _resized(self, by: int) -> None:
        self._size += by
        if self._size < MAX_WAITING_CHARACTERS:
            self._room.set()
        else:
            self._room.clear()


def _end(chunk: worker_service_pb2.TaskChunk) -> int:
    """The position after the chunk."""
    return chunk.position + len(chunk.content) + len(chunk.thinking)


def _size(message: worker_service_pb2.AttachRequest) -> int:
    said = len(message.chunk.content) + len(message.chunk.thinking) + len(message.progress.progress_json)
    return said + _MESSAGE_COST
