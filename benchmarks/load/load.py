"""The load generator: reads one job as JSON from standard input, and measures it in this process alone.

    python -m benchmarks.load.load < job.json

A chunk here is a delta of the provider: where a gateway merges several into one message, each counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.load.processes import family, memory, raise_file_limit
from benchmarks.load.raw_grpc import RawGrpcReader
from benchmarks.load.readers import BadStreamError, HttpReader, Reader, StubReader
from benchmarks.load.relay import CountingRelay
from benchmarks.load.window import Window
from benchmarks.load.wire import STAMP_LENGTH, Order, now_us
from benchmarks.samples import Note, added_gaps, ages, percentile

OPENING_SECONDS = 1.0  # paced streams open evenly over so long
SETTLING_SECONDS = 1.0
ENDING_SECONDS = 120.0  # the time for a gateway that cannot keep the pace to finish paced streams
FIRST_SECONDS = 60.0  # after so long no further call is made to time its first chunk
MIN_CALLS = 20  # fewer say nothing about percentiles


@dataclass(frozen=True)
class Peer:
    """Whom to measure.

    Attributes:
        protocol: `http` or `grpc`, read with bare protocols, or `stub`: gRPC, read with gRPC's Python stub.
        host, port: where it listens.
        pid: the first of its processes; None where there is no gateway.
        upstream_pid: the upstream's process.
        ca_file: whose certificates its callers trust; empty for no TLS.
        resumable: whether its streams are asked for as resumable ones; for gRPC.
    """

    protocol: str
    host: str
    port: int
    pid: int | None
    upstream_pid: int
    ca_file: str = ""
    resumable: bool = False

    def reader(self) -> Reader:
        """A reader of its streams."""
        if self.protocol == "grpc":
            return RawGrpcReader(self.host, self.port, self.ca_file, resumable=self.resumable)
        if self.protocol == "stub":
            return StubReader(f"{self.host}:{self.port}", self.ca_file, resumable=self.resumable)
        return HttpReader(self.host, self.port, self.ca_file)


class Failures:
    """Why streams failed, and how many."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()

    async def read(self, reader: Reader, order: Order, take: Callable[[str | bytes], None]) -> None:
        """Reads a stream and keeps its failure."""
        try:
            await reader.read(order, take)
        except BadStreamError as error:
            self.reasons[str(error)] += 1

    def report(self) -> dict[str, Any]:
        """For the answer."""
        return {"failed": self.reasons.total(), "reasons": dict(self.reasons.most_common(3))}


@asynccontextmanager
async def running(coroutines: list[Any]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """The coroutines as tasks; those that still run at the end are cancelled."""
    tasks = [asyncio.create_task(one) for one in coroutines]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def paced(peer: Peer, streams: int, pace: float, seconds: float) -> dict[str, Any]:
    """Streams at an even pace, opened over a second. Gaps and delays are those from a second later on.

    CPU a chunk is that of whole streams, from before the first opens until the gateway is at rest after the last: some
    gateways do half of their work at a stream's end. `running_us_per_chunk` is that of the time in between alone.
    """
    lead = OPENING_SECONDS + SETTLING_SECONDS
    order = Order(pace=pace, count=max(round(pace * (lead + seconds + 0.5)), 1))
    notes: list[list[Note]] = [[] for _ in range(streams)]
    failures = Failures()

    async def one(reader: Reader, number: int) -> None:
        await asyncio.sleep(OPENING_SECONDS * number / streams)
        mine = notes[number]
        await failures.read(reader, order, lambda text: mine.append((now_us(), text)))

    whole, window = (Window(peer.pid, peer.upstream_pid) for _ in range(2))
    async with peer.reader() as reader:
        await failures.read(reader, Order(count=1), lambda _: None)  # connections and caches
        whole.open()
        async with running([one(reader, number) for number in range(streams)]) as tasks:
            await asyncio.sleep(lead)
            window.open()
            await asyncio.sleep(seconds)
            window.close()
            _, late = await asyncio.wait(tasks, timeout=ENDING_SECONDS)
        await whole.close_at_rest()
    if late:
        failures.reasons["not over in time"] += len(late)
    inside = [[note for note in mine if window.began <= note[0] < window.ended] for mine in notes]
    gaps = [gap for mine in inside for gap in added_gaps(mine)]
    delays = [age for mine in inside for age in ages(mine)]
    between = window.report(len(delays))
    chunks = sum(len(text) // STAMP_LENGTH for mine in notes for _, text in mine)
    return {
        **whole.report(chunks),
        **failures.report(),
        "running_us_per_chunk": between["gateway_us_per_chunk"],
        "chunks_per_second": between["chunks_per_second"],
        "messages_per_chunk": sum(map(len, notes)) / chunks,
        "share_of_pace": between["chunks_per_second"] / (streams * pace),
        "gap_p99_ms": percentile(gaps, 0.99) / 1000,
        "delay_p50_ms": percentile(delays, 0.5) / 1000,
        "delay_p99_ms": percentile(delays, 0.99) / 1000,
    }


async def saturated(peer: Peer, streams: int, seconds: float) -> dict[str, Any]:
    """Streams as fast as they go, all at once, measured after a second and then left; after them a few to their end.

    The many are left because a slow gateway would take minutes to pass on the data in the system's buffers.
    """
    counts = [0, 0]
    failures = Failures()

    def take(text: str | bytes) -> None:
        counts[0] += len(text) // STAMP_LENGTH
        counts[1] += 1

    window = Window(peer.pid, peer.upstream_pid)
    endless = Order(seconds=600.0)
    async with peer.reader() as reader:
        async with running([failures.read(reader, endless, take) for _ in range(streams)]) as tasks:
            await asyncio.sleep(SETTLING_SECONDS)
            before = list(counts)
            window.open()
            await asyncio.sleep(seconds)
            window.close()
            deltas, messages = (now - then for now, then in zip(counts, before, strict=True))
            if over := sum(task.done() for task in tasks):
                failures.reasons["ended before it was left"] += over
        whole = [failures.read(reader, Order(count=500), lambda _: None) for _ in range(10)]
        async with running(whole) as tasks:
            _, late = await asyncio.wait(tasks, timeout=60)
    if late:
        failures.reasons["not over in time"] += len(late)
    report = window.report(deltas)
    return {**report, **failures.report(), "messages_per_chunk": messages / deltas}


async def first(peer: Peer, direct: Peer, calls: int, streams: int, pace: float) -> dict[str, Any]:
    """Time to the first chunk, a call through the gateway and a direct one in turn, beside `streams` that run.

    Raises RuntimeError when hardly any call is answered.
    """
    times: dict[str, list[float]] = {"through": [], "direct": []}
    failures = Failures()
    order = Order(count=1)

    async def one(reader: Reader, into: list[float]) -> None:
        seen: list[float] = []
        began = time.perf_counter()
        try:
            await asyncio.wait_for(
                failures.read(reader, order, lambda _: seen.append(time.perf_counter())), FIRST_SECONDS / 6
            )
        except TimeoutError:
            failures.reasons["a call was not answered in time"] += 1
        into.extend((moment - began) * 1000 for moment in seen[:1])

    async with AsyncExitStack() as stack:
        gc.disable()  # its pauses would be most of the slowest calls, and are not the gateway's
        stack.callback(gc.enable)
        reader = await stack.enter_async_context(peer.reader())
        straight = await stack.enter_async_context(direct.reader())
        background = [failures.read(reader, Order(pace=pace, seconds=600.0), lambda _: None) for _ in range(streams)]
        tasks = await stack.enter_async_context(running(background))
        if streams:
            await asyncio.sleep(SETTLING_SECONDS * 2)
        for _ in range(3):  # connections and caches
            await one(reader, [])
            await one(straight, [])
        deadline = time.monotonic() + FIRST_SECONDS
        while len(times["direct"]) < calls and time.monotonic() < deadline:
            await one(reader, times["through"])
            await one(straight, times["direct"])
        if any(task.done() for task in tasks):
            failures.reasons["a stream in the background ended"] += sum(task.done() for task in tasks)
    if len(times["through"]) < MIN_CALLS <= calls:
        raise RuntimeError(f"only {len(times['through'])} calls were answered in {FIRST_SECONDS:.0f} s")
    answer: dict[str, Any] = {"calls": len(times["through"]), **failures.report()}
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        through, straight_time = (percentile(times[way], share) for way in ("through", "direct"))
        answer |= {f"through_{name}_ms": through, f"direct_{name}_ms": straight_time}
        answer[f"added_{name}_ms"] = through - straight_time
    return answer


async def silent(peer: Peer, streams: int) -> dict[str, Any]:
    """Memory of the gateway after its first calls, and with streams that have fallen silent, opened 50 at a time."""
    failures = Failures()
    speaking = 0
    opening = asyncio.Semaphore(50)
    ready = asyncio.Event()

    async def one(reader: Reader) -> None:
        await opening.acquire()

        def take(_: str | bytes) -> None:
            nonlocal speaking
            speaking += 1
            opening.release()
            if speaking == streams:
                ready.set()

        await failures.read(reader, Order(), take)
        ready.set()  # a silent stream does not end: one that did has failed, and the others need not be waited for

    async with peer.reader() as reader:
        for _ in range(5):
            await failures.read(reader, Order(count=5), lambda _: None)
        await asyncio.sleep(SETTLING_SECONDS)
        idle = memory(family(peer.pid))
        async with running([one(reader) for _ in range(streams)]):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ready.wait(), 30 + streams / 50)
            await asyncio.sleep(SETTLING_SECONDS)
            full = memory(family(peer.pid))
    if not speaking:
        raise RuntimeError(f"none of the silent streams opened: {failures.report()}")
    if speaking < streams:
        failures.reasons["never spoke"] += streams - speaking
    return {
        **failures.report(),
        "idle_rss_mb": idle.rss / 1e6,
        "idle_pss_mb": idle.pss / 1e6,
        "streams": speaking,
        "kb_per_stream": (full.pss - idle.pss) / speaking / 1024,
    }


async def wire(peer: Peer, chunks: int) -> dict[str, Any]:
    """Bytes that one stream of so many chunks takes from the gateway to its caller, above TCP."""
    failures = Failures()
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(CountingRelay(peer.host, peer.port))
        reader = await stack.enter_async_context(replace(peer, host="127.0.0.1", port=relay.port).reader())
        await failures.read(reader, Order(pace=200.0, count=10), lambda _: None)
        before = relay.received
        await failures.read(reader, Order(pace=200.0, count=chunks), lambda _: None)
        received = relay.received - before
    return {**failures.report(), "bytes_per_chunk": received / chunks}


_JOBS: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
    "paced": paced,
    "saturated": saturated,
    "first": first,
    "silent": silent,
    "wire": wire,
}


async def run(job: dict[str, Any]) -> dict[str, Any]:
    """Does a job: `kind`, `peer`, and the arguments of its function."""
    arguments: dict[str, Any] = {
        name: Peer(**value) if name in ("peer", "direct") else value for name, value in job.items()
    }
    kind: str = arguments.pop("kind")
    return await _JOBS[kind](**arguments)


def describe(kind: str, peer: Peer, **arguments: Any) -> dict[str, Any]:
    """The job as this program reads it."""
    plain = {name: asdict(value) if isinstance(value, Peer) else value for name, value in arguments.items()}
    return {"kind": kind, "peer": asdict(peer), **plain}


if __name__ == "__main__":
    raise_file_limit()
    print(json.dumps(asyncio.run(run(json.load(sys.stdin)))))
