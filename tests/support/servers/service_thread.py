"""A gRPC server on a separate thread and event loop, for tests that need to look into it."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import grpc


@dataclass(kw_only=True)
class ServiceThread(ABC):
    """Listens from `with` to the end of its block. Entered again, it has the port that it had before.

    Attributes:
        port: where it listens, on this host.
        loop: its event loop.
    """

    port: int = 0
    loop: asyncio.AbstractEventLoop = field(init=False)

    @property
    def target(self) -> str:
        """Its address."""
        return f"127.0.0.1:{self.port}"

    @abstractmethod
    def _begin(self, server: grpc.aio.Server) -> None:
        """Adds the services; on the loop, before the server listens."""

    def _interceptors(self) -> Sequence[grpc.aio.ServerInterceptor]:
        """Those through which each call passes."""
        return ()

    def _end(self) -> None:  # noqa: B027  most have nothing to end
        """On the loop, after the server has ended."""

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    async def _serve(self, ready: threading.Event) -> None:
        self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = grpc.aio.server(
            interceptors=self._interceptors(),
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 32 << 20)],
        )
        self._begin(server)
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        await server.start()
        ready.set()
        await self._stop.wait()
        await server.stop(None)
        self._end()
        await asyncio.sleep(0.05)  # completions that gRPC's own thread still delivers
