"""CPU times of all processes of a measurement, over a part of it."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import psutil

from benchmarks.load.processes import cpu_seconds, family
from benchmarks.load.wire import now_us

REST_SECONDS = 30  # at most so long it is waited for a gateway to come to rest


class Window:
    """CPU times of the processes over the time between `open` and `close`.

    Args:
        gateway: the first of its processes; None where there is none.
        upstream: the upstream's process.
    """

    def __init__(self, gateway: int | None, upstream: int) -> None:
        self._groups = {
            "gateway": family(gateway),
            "upstream": family(upstream),
            "load": [psutil.Process(os.getpid())],
        }

    def open(self) -> None:
        """Begins."""
        self._before = {name: cpu_seconds(group) for name, group in self._groups.items()}
        self.began = now_us()

    def close(self) -> None:
        """Ends."""
        self.ended = now_us()
        self.cpu = {name: cpu_seconds(group) - self._before[name] for name, group in self._groups.items()}

    async def close_at_rest(self) -> None:
        """Ends once the gateway has done what it does after its last stream: used under 2 % of a core for a second."""
        self.close()
        for _ in range(REST_SECONDS):
            used, seen = self.cpu["gateway"], time.monotonic()
            await asyncio.sleep(1.0)
            self.close()
            if self.cpu["gateway"] - used < 0.02 * (time.monotonic() - seen):
                return

    def report(self, chunks: int) -> dict[str, Any]:
        """Chunks a second, and CPU a chunk in microseconds. RuntimeError when no chunk came."""
        if not chunks:
            raise RuntimeError("no chunk came while the clock ran")
        seconds = (self.ended - self.began) / 1e6
        return {
            "chunks": chunks,
            "chunks_per_second": chunks / seconds,
            **{f"{name}_us_per_chunk": used / chunks * 1e6 for name, used in self.cpu.items()},
            **{f"{name}_cores": used / seconds for name, used in self.cpu.items()},
        }
