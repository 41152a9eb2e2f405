"""The composition root: the only place that knows which parts the server is made of."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog

from headwater_server.attempts.circuits import Circuits
from headwater_server.attempts.offers import Offer, Offers
from headwater_server.attempts.opening import StreamOpener
from headwater_server.callers.accounts import Accounts
from headwater_server.callers.known_callers import KnownCallers
from headwater_server.config import CONFIG_EXIT, Config, ConfigError, ServerSettings, admin_place, is_private
from headwater_server.config.authentication import configured_callers, known_callers
from headwater_server.config.reloading import Use, attempt_settings, build_offer, reload_offers, timeouts
from headwater_server.domain.process_identity import SINGLE_PROCESS, ProcessIdentity
from headwater_server.eventlog.memory_log import MemoryLog
from headwater_server.providers.http.client import HttpClient
from headwater_server.providers.http.document import fetch
from headwater_server.providers.registry import ProviderRegistry
from headwater_server.streaming.replays import Replays
from headwater_server.streaming.running_streams import RunningStreams
from headwater_server.streaming.terms import ReplayLimits
from headwater_server.telemetry.background import in_background
from headwater_server.telemetry.loop_lag import watch_loop
from headwater_server.telemetry.metrics import Metrics
from headwater_server.telemetry.starved import StarvedClock
from headwater_server.telemetry.tracing.opening import NoOpenTelemetryError, tracing
from headwater_server.telemetry.tracing.spans import Tracer
from headwater_server.transport.certificates import CertificateError, TlsFiles
from headwater_server.transport.fronts import ServerLimits
from headwater_server.transport.port import PortTakenError, socket_path, target_of
from headwater_server.transport.process_server import ProcessServer, RunServices, StreamServices
from headwater_server.transport.services.actions import Actions
from headwater_server.transport.services.worker import WorkerService
from headwater_server.transport.services.workflow import WorkflowService
from headwater_server.workflows.engine.active import RunLimits
from headwater_server.workflows.engine.runs import Runs
from headwater_server.workflows.engine.steps import StepRunner
from headwater_server.workflows.expressions.evaluator import Evaluator
from headwater_server.workflows.expressions.expressions import Expressions
from headwater_server.workflows.journal.base import Journal, JournalFolderError
from headwater_server.workflows.journal.sqlite import SqliteJournal
from headwater_server.workflows.workers.pool import WorkerPool

VERSION = version("headwater")
USER_AGENT = f"headwater/{VERSION}"
SIGNALS = (signal.SIGTERM, signal.SIGINT)

_NO_PROVIDER = (
    "set OPENAI_API_KEY, ANTHROPIC_API_KEY or a key of another, or OLLAMA_HOST, or serve with --local or --scripted"
)

log = structlog.get_logger("headwater.server")


async def serve(
    config: Config,
    on_listening: Callable[[str], None],
    follow: Callable[[Use], Coroutine[Any, Any, None]],
    identity: ProcessIdentity = SINGLE_PROCESS,
) -> None:
    """Serves until SIGTERM or SIGINT, then drains and closes everything; a second signal ends the waiting.

    Args:
        config: the settings and keys in force.
        on_listening: called with the address for callers, once calls are taken.
        follow: runs beside the server; it calls its argument with the settings of each reload.
        identity: which of the server's processes this is.

    Raises ConfigError for a default_model that no provider here has and for a file of TLS that cannot be used,
    PortTakenError, JournalError when the runs cannot be read or belong to another server, and HeadwaterError when the
    embedded model was to be started with the server and cannot, or the accounts of callers cannot be used.
    """
    stopping = asyncio.Event()
    # Ctrl-C keeps its meaning until calls are taken: it ends a program that has not begun.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    server_settings = config.settings.server
    async with AsyncExitStack() as stack:
        stack.callback(_ignore_signals)
        offers = Offers(build_offer(config, USER_AGENT))
        stack.push_async_callback(offers.aclose)
        providers = offers.current.providers
        if not await _or_stopping(providers.open(), stopping):
            return
        client = HttpClient(USER_AGENT, server_settings.connect_seconds)
        stack.push_async_callback(client.aclose)
        fetch_keys = partial(fetch, client)
        callers = known_callers(config, fetch_keys, audits=identity.owns_runs)
        tracer = await _open_traces(stack, config, identity)
        parts = await _assemble(stack, server_settings, offers, identity, callers, tracer)
        server, owned = parts.server, parts.owned
        if server_settings.admin_address and owned:
            from headwater_server.transport.admin import serving_admin  # most servers have none, and need no h11

            host, port = admin_place(server_settings)
            admin = await stack.enter_async_context(serving_admin(host, port, server, parts.metrics))
            log.info("admin", host=host, port=admin)
        if owned and not await _or_stopping(owned.runs.open(), stopping):
            return
        await _listen(server, config)
        if owned:
            await stack.enter_async_context(_running(server.report_runs(owned.journal), "headwater health"))
        names = [provider.name for provider in providers.configured()]
        log.info("listening", **_where(server_settings, server.port), version=VERSION, providers=names)
        if not (server_settings.tls_cert_file or is_private(server_settings.host)):
            log.warning("open", why="the port is unencrypted and open to all that reach it", host=server_settings.host)
        if not names and identity.owns_runs:
            log.warning("no provider", why="no request can be answered", cure=_NO_PROVIDER)
        starved = stack.enter_context(StarvedClock())
        watching = watch_loop(starved.seconds, on_lag=parts.metrics.loop_was_late)
        await stack.enter_async_context(_running(watching, "headwater loop"))

        async def use(fresh: Config) -> None:
            configured = configured_callers(fresh, fetch_keys, callers.configured)
            named = parts.metrics.models.name
            await reload_offers(fresh, offers, parts.circuits, parts.accounts, USER_AGENT, named)
            await callers.replace(configured)

        await stack.enter_async_context(_running(follow(use), "headwater reload"))
        await asyncio.sleep(0)  # it begins, so that no signal after the line of `on_listening` is lost
        gc.freeze()  # the objects of now stay: the garbage collector need not look at them each time
        _on_signals(stopping.set)
        on_listening(target_of(server_settings.host, server.port, tls=bool(server_settings.tls_cert_file)))
        await stopping.wait()
        log.info("draining", streams=len(parts.streams), runs=len(owned.runs) if owned else 0, relayed=server.relayed)
        drains = [parts.streams.drain, server.drain, offers.drain, *([owned.runs.drain] if owned else [])]

        async def announce_end() -> None:
            await server.announce_end()
            parts.replays.drain()  # until now a caller whose connection was lost could come back

        await _drain(server_settings.drain_seconds, announce_end, drains)
        if owned:
            owned.services.workers.drain()
    log.info("stopped")


def _where(settings: ServerSettings, port: int) -> dict[str, Any]:
    """The facts of an address for the log; a Unix socket has no port."""
    if socket_path(settings.host):
        return {"host": target_of(settings.host, port)}
    return {"host": settings.host, "port": port, "tls": bool(settings.tls_cert_file)}


async def _listen(server: ProcessServer, config: Config) -> None:
    """Takes calls from now on. Raises PortTakenError, and ConfigError for a file of TLS that cannot be used."""
    try:
        await server.start(config.settings.server.host, config.settings.server.port)
    except CertificateError as error:
        origin = config.origins.get(("server", error.setting), error.setting)
        raise ConfigError([f"{origin}: {error}"]) from error


@dataclass(frozen=True, slots=True)
class _Owned:
    """The parts that only the owner of the runs has."""

    journal: Journal
    runs: Runs
    services: RunServices
    workers: WorkerPool


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of a process; `owned` only where it owns the runs."""

    server: ProcessServer
    streams: RunningStreams
    replays: Replays
    circuits: Circuits
    accounts: Accounts
    metrics: Metrics
    owned: _Owned | None


async def _open_traces(stack: AsyncExitStack, config: Config, identity: ProcessIdentity) -> Tracer | None:
    """The tracer of this process; None where no traces are wanted. Raises ConfigError."""
    settings = config.settings.server
    traces = tracing(settings.otlp_endpoint, VERSION, identity.index, has_content=settings.trace_content)
    try:
        return await stack.enter_async_context(traces)
    except NoOpenTelemetryError as error:
        origin = config.origins.get(("server", "otlp_endpoint"), "server.otlp_endpoint")
        raise ConfigError([f"{origin}: {error}"]) from error


async def _assemble(
    stack: AsyncExitStack,
    settings: ServerSettings,
    offers: Offers,
    identity: ProcessIdentity,
    callers: KnownCallers,
    tracer: Tracer | None = None,
) -> _Parts:
    """Makes the parts, which do not listen or run yet; the stack closes them. Raises JournalError and ConfigError."""
    gc.enable()  # `prepare_imports` has stopped it
    await stack.enter_async_context(_running(callers.watch(), "headwater callers"))
    metrics = Metrics()
    accounts = Accounts(Path(settings.data_dir), identity.index, identity.count)
    stack.push_async_callback(accounts.aclose)
    streams = RunningStreams(identity.index, settings.max_streams, metrics)
    stack.push_async_callback(streams.close)
    replays = Replays(replay_limits(settings), MemoryLog, metrics)
    stack.push_async_callback(replays.close)
    circuits = Circuits(settings.cool_down_seconds)
    opener = partial(StreamOpener, offers, streams, circuits, accounts, tracer=tracer)
    owned = await _open_runs(stack, settings, opener, metrics, tracer) if identity.owns_runs else None
    if offers.current.callers.has_accounts:
        await accounts.open()
    own = opener(settings.allow_caller_api_keys)
    agents = StreamServices(own, offers, streams, replays, VERSION, settings.idle_reader_seconds)
    services = owned.services if owned else None
    door = (callers, _limits(settings), _tls(settings))
    server = ProcessServer(identity, agents, services, *door, metrics, settings.front, tracer, settings.reflection)
    stack.push_async_callback(server.stop)
    metrics.watch_circuits(circuits.states)
    metrics.models.name(offers.current.named_models())
    metrics.watch("stream_log_bytes", "Memory of the logs of resumable streams.", lambda: replays.size)
    return _Parts(server, streams, replays, circuits, accounts, metrics, owned)


def _tls(settings: ServerSettings) -> TlsFiles | None:
    if not settings.tls_cert_file:
        return None
    may_do_without = settings.tls_client_auth == "optional"
    return TlsFiles(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file, may_do_without)


def _limits(settings: ServerSettings) -> ServerLimits:
    return ServerLimits(
        max_concurrent_streams=settings.max_concurrent_streams,
        max_connections=settings.max_connections,
        max_pending_calls=settings.max_pending_calls,
        max_connection_idle_seconds=settings.max_connection_idle_seconds,
        max_connection_age_seconds=settings.max_connection_age_seconds,
        max_connection_age_grace_seconds=settings.total_seconds,
        keepalive_seconds=settings.keepalive_seconds,
        max_request_bytes=settings.max_requests_mib * 1024 * 1024,
    )


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs: its port, and its workers."""

    port: int
    workers: WorkerPool


@asynccontextmanager
async def running(settings: ServerSettings, providers: ProviderRegistry) -> AsyncIterator[Running]:
    """A server with these providers for the length of the block, at whose end all that runs is ended.

    Raises PortTakenError, and JournalError when the runs cannot be read.
    """
    async with AsyncExitStack() as stack:
        offers = Offers(Offer(providers, timeouts(settings), attempt_settings(settings)))
        callers = KnownCallers(Path(settings.data_dir))
        parts = await _assemble(stack, settings, offers, SINGLE_PROCESS, callers)
        assert parts.owned is not None  # noqa: S101  the only process owns the runs
        await parts.owned.runs.open()
        await parts.server.start(settings.host, settings.port)
        await stack.enter_async_context(_running(parts.server.report_runs(parts.owned.journal), "headwater health"))
        try:
            yield Running(parts.server.port, parts.owned.workers)
        finally:
            await asyncio.gather(parts.streams.drain(0), parts.owned.runs.drain(0))
            parts.owned.services.workers.drain()


async def _open_runs(
    stack: AsyncExitStack,
    settings: ServerSettings,
    opener: Callable[[bool], StreamOpener],
    metrics: Metrics,
    tracer: Tracer | None,
) -> _Owned:
    """The runs, which `Runs.open` sets going, and their services. Raises JournalError."""
    journal = await SqliteJournal.open(Path(settings.data_dir), settings.journal_mib * 2**20)
    stack.push_async_callback(journal.close)
    pool = WorkerPool(settings.worker_timeout_seconds, settings.max_workers)
    stack.callback(pool.close)
    # A run is stored, so no caller's key travels with it.
    actions = Actions(opener(False))
    evaluator = Evaluator()
    stack.push_async_callback(evaluator.close)
    expressions = Expressions(evaluator)
    runs = Runs(
        journal,
        StepRunner(pool, actions.act, expressions, metrics, tracer),
        expressions,
        settings.retention_days * 86_400,
        limits=RunLimits(settings.max_runs, settings.active_runs_mib * 2**20),
    )
    stack.push_async_callback(runs.close)
    metrics.watch("runs_open", "Runs of workflows that have not ended.", lambda: len(runs))
    metrics.watch_queues("workers", "Workers that are attached.", pool.attached)
    metrics.watch_queues("tasks_waiting", "Tasks that wait for a worker.", pool.waiting)
    metrics.watch_queues("tasks_running", "Tasks that workers have.", pool.running)
    metrics.watch("journal_bytes", "Size of the journal's files.", journal.disk_bytes)
    workers = WorkerService(pool, journal.remember_handlers, VERSION, runs.all_resumed)
    return _Owned(journal, runs, RunServices(WorkflowService(runs), workers), pool)


async def _drain(
    seconds: float, announce: Callable[[], Awaitable[None]], drains: Sequence[Callable[[float], Awaitable[None]]]
) -> None:
    """Waits for running work, up to the limit or the next signal, and ends the rest.

    Args:
        seconds: the limit.
        announce: sends callers elsewhere, before the drains refuse them.
        drains: each waits for a part of it, up to a limit, and ends the rest.
    """

    async def drain(limit: float) -> None:
        await asyncio.gather(*(each(limit) for each in drains))

    async def announce_and_drain() -> None:
        await announce()
        await drain(seconds)

    draining = asyncio.create_task(announce_and_drain())
    _on_signals(draining.cancel)
    await asyncio.wait([draining])
    if not draining.cancelled():
        draining.result()
    await drain(0)


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Does the work beside the block, and cancels it at its end."""
    task = in_background(work, name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _or_stopping(work: Coroutine[Any, Any, None], stopping: asyncio.Event) -> bool:
    """Does the work, unless a signal comes first: then it is cancelled, and the answer is False."""
    working, waiting = asyncio.create_task(work), asyncio.create_task(stopping.wait())
    await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED)
    done = working.done()
    for task in (working, waiting):
        task.cancel()
    await asyncio.wait([working, waiting])
    if done:
        working.result()
    return done


def exit_code_of(error: Exception) -> int:
    """The exit code of a server that cannot start: whether the mistake is in its settings."""
    if isinstance(error, PortTakenError):
        return CONFIG_EXIT if error.is_setting else 1
    return CONFIG_EXIT if isinstance(error, ConfigError | JournalFolderError) else 1


def replay_limits(settings: ServerSettings) -> ReplayLimits:
    """The bounds of resumable streams."""
    return ReplayLimits(
        settings.detach_seconds,
        settings.resume_retention_seconds,
        settings.lagging_reader_seconds,
        settings.resume_stream_mib * 1024 * 1024,
        settings.resume_mib * 1024 * 1024,
    )


def _on_signals(handler: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, handler)


def _ignore_signals() -> None:
    """For a process that is on its way out, so that no signal kills it in the middle of that.

    The loop is not asked to remove its handlers: for a moment, a signal would then do what it does by default.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
