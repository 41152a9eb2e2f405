"""A server under steady load of all kinds: its memory stays, and at the end nothing is left open."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import psutil
import pytest

from tests.support.faults.chaos import left_running
from tests.support.faults.load import Load
from tests.support.faults.plan import Fault, Kind
from tests.support.faults.proxy import FaultyProxy
from tests.support.faults.source import Source
from tests.support.servers.server import ServerProcess

SECONDS = float(os.environ.get("SOAK_SECONDS", "20"))
WHOLE_SECONDS = 900.0
MOST_GROWTH = 1.1 if SECONDS >= WHOLE_SECONDS / 2 else 1.3
"""Of the memory, from a fifth of the time on; a short one sees the server still load modules then."""
ROWS = 15
VARIABLES = {"HEADWATER_RESUME_RETENTION_SECONDS": "20", "HEADWATER_DETACH_SECONDS": "5"}
FAULTS = [Fault(kind, after=20_000, seconds=0.2) for kind in (Kind.STALL, Kind.CUT, Kind.RESET, Kind.THROTTLE)]


@dataclass(frozen=True)
class Sample:
    """The state of a server's processes at a moment, and the connections to its provider."""

    seconds: float
    megabytes: float
    descriptors: int
    threads: int
    upstream: int


@dataclass
class Watch:
    """Looks at a server and at its provider."""

    server: ServerProcess
    source: Source
    began: float = field(default_factory=time.monotonic)

    def look(self) -> Sample:
        parent = psutil.Process(self.server.process.pid)
        found = [parent, *parent.children(recursive=True)]
        return Sample(
            time.monotonic() - self.began,
            sum(each.memory_info().rss for each in found) / 1e6,
            sum(each.num_fds() for each in found),
            sum(each.num_threads() for each in found),
            self.source.open,
        )

    def open_files(self) -> Counter[str]:
        """The names of all descriptors, without the numbers of sockets and pipes."""
        links = Path(f"/proc/{self.server.process.pid}/fd").iterdir()
        return Counter(re.sub(r"\d{3,}", "N", os.readlink(link)) for link in links)

    async def until(self, is_so: Callable[[Sample], bool]) -> Sample:
        """The first state that is so, or the one after 30 seconds."""
        gc.collect()  # gRPC closes a connection of this process with the last call over it that is freed
        for _ in range(300):
            if is_so(self.look()):
                break
            await asyncio.sleep(0.1)
        return self.look()


def configuration(folder: Path, steady: int, shaky: str) -> Path:
    path = folder / "headwater.toml"
    path.write_text(
        f"""
[providers.steady]
type = "openai"
base_url = "http://127.0.0.1:{steady}/v1"
[providers.shaky]
type = "openai"
base_url = "http://{shaky}/v1"
"""
    )
    return path


@pytest.mark.chaos
@pytest.mark.timeout(SECONDS + 180)
async def test_memory_and_descriptors_stay_under_steady_load(tmp_path) -> None:
    async with Source() as source, FaultyProxy(source.port, cycle(FAULTS)) as shaky:
        file = configuration(tmp_path, source.port, shaky.target)
        with ServerProcess("--scripted", "--config", str(file), variables=VARIABLES, fresh=True) as server:
            load, watch = Load(server.target), Watch(server, source)
            await warm_up(load)
            start = await watch.until(lambda sample: not sample.upstream)
            files = watch.open_files()
            samples = await soak(load, watch)
            left = await left_running(server)
            end = await watch.until(lambda now: now.descriptors <= start.descriptors and now.upstream <= start.upstream)
            more = watch.open_files() - files
    print(table([start, *samples, end]), dict(load.done), dict(shaky.happened), sep="\n")
    assert load.faults == []
    assert left == []
    assert end.descriptors <= start.descriptors, more
    assert end.upstream <= start.upstream
    assert end.threads <= start.threads
    third = ROWS // 5
    before, after = (
        statistics.median(each.megabytes for each in part) for part in (samples[third - 1 : third + 2], samples[-3:])
    )
    assert after <= before * MOST_GROWTH, f"{before:.1f} MB at a fifth of the time, {after:.1f} MB at its end"


async def warm_up(load: Load) -> None:
    """Lets each caller work once, so that the server has loaded all that it needs."""
    over = asyncio.Event()
    work = asyncio.create_task(load.run(over))
    while len(load.done) < 6 and not work.done():
        await asyncio.sleep(0.05)
    over.set()
    await work


async def soak(load: Load, watch: Watch) -> list[Sample]:
    """Works for the time, and looks at the server ROWS times."""
    over = asyncio.Event()
    work = asyncio.create_task(load.run(over))
    samples: list[Sample] = []
    for _ in range(ROWS):
        await asyncio.wait([work], timeout=SECONDS / ROWS)
        samples.append(watch.look())
    over.set()
    await work
    return samples


def table(samples: list[Sample]) -> str:
    lines = ["seconds  memory, MB  descriptors  threads  upstream connections"]
    for each in samples:
        lines.append(
            f"{each.seconds:7.0f}{each.megabytes:12.1f}{each.descriptors:13}{each.threads:9}{each.upstream:22}"
        )
    return "\n".join(lines)
