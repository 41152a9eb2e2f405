"""Many resumable streams through faults of their connections, compared with the truth.

Theory of operation. Each caller has a faulty proxy before the server, so that a fault meets the streams of one caller
alone. It reads one stream after the other, by the Python client, or every seventh stream by a bare stub. The server has
three providers, which all say the same: `steady` is reached directly, and its streams must be whole, whatever happens
to their callers. `shaky` is behind a faulty proxy, and `sealed` too, over TLS with bytes that are flipped. Their streams
may also end with a typed error, and no more of them than connections to the provider were broken.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import trustme

from headwater import Connection
from headwater._grpc import channels
from headwater.v1.agent_service_pb2 import ListStreamsRequest
from tests.support.faults.plan import (
    HARMLESS,
    ON_THE_CALLERS_SIDE,
    ON_THE_PROVIDERS_SIDE,
    WITHIN_TLS,
    Kind,
    chance_of,
    draw,
)
from tests.support.faults.proxy import FaultyProxy
from tests.support.faults.reading import Got, read_with_client, read_with_stub
from tests.support.faults.source import Source
from tests.support.faults.truth import truth_of
from tests.support.servers.server import ServerProcess
from tests.support.stubs.stub import agent_stub

KEEPALIVE = {"grpc.keepalive_time_ms": 500, "grpc.http2.ping_timeout_ms": 1_000}
"""Far shorter than the client's own, so that a connection that swallows is noticed soon."""
_ENDING_TENTHS = 150
_SILENT = "first_chunk_seconds = 2.0\nnext_chunk_seconds = 2.0"
_BYTES_OF_CALLER = 4_000
_BYTES_OF_PROVIDER = 40_000


def quick_options() -> tuple[tuple[str, int | str], ...]:
    """The options of the client's channels, with a keepalive that is short."""
    return tuple({**dict(channels._OPTIONS), **KEEPALIVE}.items())


def authority_of(folder: Path) -> ssl.SSLContext:
    """The TLS of a server at 127.0.0.1, whose authority is in the file ca.pem of this folder."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    return context


@dataclass
class Report:
    """The outcome.

    Attributes:
        faults: all that was wrong, in words.
        errors: typed errors of streams whose provider may fail, by reason.
        resumed: how many streams were resumed, and `resumes` how often in all.
    """

    seed: int
    processes: int
    streams: int = 0
    by_stub: int = 0
    resumed: int = 0
    resumes: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    callers_side: Counter[Kind] = field(default_factory=Counter)
    providers_side: Counter[Kind] = field(default_factory=Counter)

    def __str__(self) -> str:
        return "\n".join(
            (
                f"seed {self.seed}, {self.processes} processes: {self.streams} streams in {self.seconds:.0f} s, "
                f"{self.by_stub} of them by a bare stub; {self.resumed} were resumed, {self.resumes} times in all",
                f"  faults between client and server: {_counts(self.callers_side)}",
                f"  between server and provider: {_counts(self.providers_side)}",
                f"  ended by the provider's fault: {_counts(self.errors)}",
                f"  wrong: {len(self.faults)}",
                *(f"  {fault}" for fault in self.faults[:20]),
            )
        )


def _counts(counter: Counter[Kind] | Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counter.most_common()) or "none"


async def run_chaos(folder: Path, seed: int, streams: int, processes: int, callers: int) -> Report:
    """Reads so many streams, by so many callers at the same time; `channels._OPTIONS` must be `quick_options()`."""
    report = Report(seed, processes)
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        source, sealed = [await stack.enter_async_context(Source(tls)) for tls in (None, authority_of(folder))]
        faults = draw(chance_of(seed, "shaky"), ON_THE_PROVIDERS_SIDE, _BYTES_OF_PROVIDER)
        shaky = await stack.enter_async_context(FaultyProxy(source.port, faults))
        faults = draw(chance_of(seed, "sealed"), WITHIN_TLS, _BYTES_OF_PROVIDER)
        flipping = await stack.enter_async_context(FaultyProxy(sealed.port, faults))
        configuration = folder / "headwater.toml"
        configuration.write_text(
            f"""
[providers.steady]
type = "openai"
base_url = "http://127.0.0.1:{source.port}/v1"
[providers.shaky]
type = "openai"
base_url = "http://{shaky.target}/v1"
{_SILENT}
[providers.sealed]
type = "openai"
base_url = "https://{flipping.target}/v1"
ca_file = "{folder / "ca.pem"}"
{_SILENT}
"""
        )
        server = stack.enter_context(ServerProcess("--config", str(configuration), processes=processes))
        numbers = iter(range(streams))
        async with asyncio.TaskGroup() as group:
            for index in range(callers):
                group.create_task(_call(report, int(server.target.rpartition(":")[2]), index, numbers))
        report.faults += [*source.wrong, *sealed.wrong, *await left_running(server)]
        report.providers_side = shaky.happened + flipping.happened
        broken = sum(count for kind, count in report.providers_side.items() if kind not in HARMLESS)
        if report.errors.total() > broken:
            report.faults.append(f"{report.errors.total()} streams were ended by {broken} faults of the provider")
    report.seconds = time.monotonic() - began
    return report


async def left_running(server: ServerProcess) -> list[str]:
    """The streams that the server does not end, in words."""
    async with agent_stub(server.target) as stub:
        for _ in range(_ENDING_TENTHS):
            running = (await stub.ListStreams(ListStreamsRequest())).streams
            if not running:
                break
            await asyncio.sleep(0.1)
        return [f"{each.stream_id} of {each.provider} is left running" for each in running]


async def _call(report: Report, port: int, index: int, numbers: Iterator[int]) -> None:
    """One caller: reads one stream after the other."""
    faults = draw(chance_of(report.seed, "caller", index), ON_THE_CALLERS_SIDE, _BYTES_OF_CALLER)
    async with (
        FaultyProxy(port, faults) as proxy,
        Connection(proxy.target) as connection,
        grpc.aio.insecure_channel(proxy.target, options=quick_options()) as channel,
    ):
        for number in numbers:
            truth = truth_of(report.seed, number)
            provider = chance_of("provider", truth.name).choice(("steady",) * 6 + ("shaky",) * 3 + ("sealed",))
            is_bare = number % 7 == 0 and len(truth.rounds) == 1
            if is_bare:
                got = await read_with_stub(channel, provider, truth)
            else:
                got = await read_with_client(connection, provider, truth)
            _add(report, got, is_bare=is_bare)
            report.faults += got.faults(truth, may_fail=provider != "steady")
        report.callers_side += proxy.happened


def _add(report: Report, got: Got, *, is_bare: bool) -> None:
    report.streams += 1
    report.by_stub += is_bare
    report.resumed += got.resumes > 0
    report.resumes += got.resumes
    if got.error:
        report.errors[got.error[:60]] += 1
