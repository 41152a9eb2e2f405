"""The way of the output of one task to the server: pieces of its text, and how far it is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from headwater._worker.outbox import Outbox
from headwater.v1 import worker_service_pb2

CHUNK_CHARACTERS = 16 * 1024
PROGRESS_SECONDS = 1.0
"""Progress is sent at most once in this time, because the server stores it; newer progress replaces it."""


class Output:
    """The output of a task, for the outbox of its worker. Belongs to the background loop.

    Args:
        task_id: the task.
        outbox: gets the messages.
        takes_progress: whether the server of the moment takes progress.
    """

    def __init__(self, task_id: str, outbox: Outbox, takes_progress: Callable[[], bool]) -> None:
        self._task_id = task_id
        self._outbox = outbox
        self._takes_progress = takes_progress
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._waiting = ""  # the latest progress that is not sent
        self._timer: asyncio.TimerHandle | None = None
        self._sent = -PROGRESS_SECONDS
        self._position = 0
        self._closed = False

    async def emit(self, content: str, thinking: str) -> None:
        """Sends text and thinking. Waits while very much waits to be sent."""
        for start in range(0, max(len(content), len(thinking)), CHUNK_CHARACTERS):
            await self._outbox.room()
            end = start + CHUNK_CHARACTERS
            chunk = worker_service_pb2.TaskChunk(
                task_id=self._task_id,
                content=content[start:end],
                thinking=thinking[start:end],
                position=self._position,
            )
            self._position += len(chunk.content) + len(chunk.thinking)
            self._outbox.put(worker_service_pb2.AttachRequest(chunk=chunk))

    def progress(self, progress: str) -> None:
        """Sends how far the task is, as JSON text; from any thread, without waiting."""
        with self._lock:
            scheduled, self._waiting = bool(self._waiting), progress
        if not scheduled:
            self._loop.call_soon_threadsafe(self._schedule)

    def close(self) -> None:
        """Sends the progress that waits, and no more from then on."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._send()

    def _send(self) -> None:
        with self._lock:
            progress, self._waiting = self._waiting, ""
        if progress and self._takes_progress():
            self._sent = self._loop.time()
            message = worker_service_pb2.TaskProgress(task_id=self._task_id, progress_json=progress)
            self._outbox.put(worker_service_pb2.AttachRequest(progress=message))

    def _schedule(self) -> None:
        if not self._closed:
            self._timer = self._loop.call_at(self._sent + PROGRESS_SECONDS, self._send)
