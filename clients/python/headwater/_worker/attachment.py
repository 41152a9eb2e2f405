"""One connection of a worker to its server, from its registration to its end.

Theory of operation. Reading is what tells how a connection ends; writing, whose errors say less, only stops. To leave,
a worker sends all that it has, closes its side and reads on: the server acknowledges what has come and ends the call.
So nothing is lost on the way, as it could be when a call is cancelled.

A write that finds the call ended puts INTERNAL in the place of its status, if gRPC has not read that yet. So INTERNAL
says no more than that the connection is gone; a refusal is met again at the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeAlias

from headwater._grpc.channels import open_channel
from headwater._grpc.loading import grpc
from headwater._grpc.server import Server
from headwater._grpc.wrong_server import UNREADABLE, wrong
from headwater._values.durations import seconds_of
from headwater._worker.outbox import Outbox
from headwater.exceptions import ServerUnavailableError
from headwater.v1 import worker_service_pb2

_LEAVE_SECONDS = 2.0
_SHORTEST_INTERVAL = 0.01  # also where the server asks for less
_EARLY = 0.8  # of the heartbeat interval: when a heartbeat is sent

Take: TypeAlias = Callable[[worker_service_pb2.AttachResponse], None]
Call: TypeAlias = "grpc.aio.StreamStreamCall[worker_service_pb2.AttachRequest, worker_service_pb2.AttachResponse]"


class Attachment:
    """One call of Attach.

    Args:
        server: the server.
        outbox: the messages to send.
        take: gets each message after `registered`.
    """

    def __init__(self, server: Server, outbox: Outbox, take: Take) -> None:
        self._server = server
        self._outbox = outbox
        self._take = take
        self._leaving = False
        self._reading: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None

    def leave(self) -> None:
        """End the connection once everything is sent; at once while the worker is not registered."""
        self._leaving = True
        self._outbox.changed.set()
        if self._reading is not None and self._writing is None:
            self._reading.cancel()

    async def run(
        self,
        registration: worker_service_pb2.WorkerRegistration,
        registered: Callable[[worker_service_pb2.WorkerRegistered], None],
    ) -> None:
        """Serves until the connection ends.

        Raises:
            grpc.aio.AioRpcError: it ended with a status.
            ServerUnavailableError: it ended without one, and this side did not end it.
            AuthenticationError: the function that gives the token failed.
            HeadwaterError: no right server sends such messages.
        """
        call = (await open_channel(self._server)).workers.Attach(metadata=await self._server.headers())
        # A separate task that the leaving side cancels: a call that is cancelled directly, before it is connected, lets
        # its writer wait for ever.
        self._reading = asyncio.create_task(self._read(call, registration, registered))
        try:
            await asyncio.wait([self._reading])
        finally:
            tasks = [task for task in (self._reading, self._writing) if task is not None]
            for task in tasks:
                task.cancel()
            call.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()
        if not self._leaving:
            raise ServerUnavailableError(f"the server at {self._server.target} ended the connection")

    async def _read(
        self,
        call: Call,
        registration: worker_service_pb2.WorkerRegistration,
        registered: Callable[[worker_service_pb2.WorkerRegistered], None],
    ) -> None:
        with contextlib.suppress(asyncio.InvalidStateError):  # the call has ended; reading tells how
            await call.write(worker_service_pb2.AttachRequest(registration=registration))
        while (message := await call.read()) is not grpc.aio.EOF:
            if not isinstance(message, worker_service_pb2.AttachResponse):
                raise wrong(UNREADABLE)
            if message.HasField("registered"):
                interval = seconds_of(message.registered.heartbeat_interval)
                if self._writing is not None or interval <= 0:
                    raise wrong("a second answer to a registration" if self._writing else "no heartbeat interval")
                self._writing = asyncio.create_task(self._write(call, max(interval * _EARLY, _SHORTEST_INTERVAL)))
                self._writing.add_done_callback(self._wrote)
                registered(message.registered)
            else:
                self._take(message)

    async def _write(self, call: Call, interval: float) -> None:
        try:
            while self._outbox or not self._leaving:
                message = await self._next(interval)
                if message is not None:
                    await self._put(call, message)
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # the call has ended; reading tells how
        await asyncio.sleep(_LEAVE_SECONDS)
        if self._reading is not None:
            self._reading.cancel()

    def _wrote(self, writing: asyncio.Task[None]) -> None:
        """A writer that failed by itself ends the connection."""
        if not writing.cancelled() and writing.exception() is not None and self._reading is not None:
            self._reading.cancel()

    async def _put(self, call: Call, message: worker_service_pb2.AttachRequest) -> None:
        try:
            await call.write(message)
        except BaseException:
            self._outbox.put_back(message)
            raise

    async def _next(self, interval: float) -> worker_service_pb2.AttachRequest | None:
        """The next message; a heartbeat after an interval of silence; None when it is time to leave."""
        if not self._outbox and not self._leaving:
            self._outbox.changed.clear()
            try:
                async with asyncio.timeout(interval):
                    await self._outbox.changed.wait()
            except TimeoutError:
                return worker_service_pb2.AttachRequest(heartbeat=worker_service_pb2.WorkerHeartbeat())
        return self._outbox.take() if self._outbox else None
