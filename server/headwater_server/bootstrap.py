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

from headwater_server.config import Config, ConfigError, ServerSettings
from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.process_identity import SINGLE_PROCESS, ProcessIdentity
from headwater_server.providers.base import Provider
from headwater_server.providers.http.client import HttpClient
from headwater_server.providers.registry import ProviderRegistry
from headwater_server.providers.settings import HttpSettings
from headwater_server.providers.types import TYPES, build_provider
from headwater_server.streaming.live import Timeouts
from headwater_server.streaming.running_streams import RunningStreams
from headwater_server.transport.process_server import ProcessServer, RunServices, StreamServices
from headwater_server.transport.services.actions import Actions
from headwater_server.transport.services.opening import ProviderTerms, StreamOpener
from headwater_server.transport.services.worker import WorkerService
from headwater_server.transport.services.workflow import WorkflowService
from headwater_server.workflows.engine.runs import Runs
from headwater_server.workflows.engine.steps import StepRunner
from headwater_server.workflows.journal.base import Journal
from headwater_server.workflows.journal.sqlite import SqliteJournal
from headwater_server.workflows.workers.pool import WorkerPool

VERSION = version("headwater")
SIGNALS = (signal.SIGTERM, signal.SIGINT)

_NO_PROVIDER = "set OPENAI_API_KEY or another provider's key, or OLLAMA_HOST, or serve with --local or --scripted"

log = structlog.get_logger("headwater.server")


async def serve(
    config: Config, on_listening: Callable[[int], None], identity: ProcessIdentity = SINGLE_PROCESS
) -> None:
    """Serves until SIGTERM or SIGINT, then drains and closes everything; a second signal ends the waiting.

    Args:
        config: the settings and keys in force.
        on_listening: called with the port, once calls are taken.
        identity: which of the server's processes this is.

    Raises ConfigError for a default_model that no provider here has, PortTakenError, JournalError when the runs cannot
    be read or belong to another server, and HeadwaterError when the embedded model was to be started with the server
    and cannot.
    """
    stopping = asyncio.Event()
    # Ctrl-C keeps its meaning until calls are taken: it ends a program that has not begun.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    server_settings = config.settings.server
    async with AsyncExitStack() as stack:
        stack.callback(_ignore_signals)
        client = await stack.enter_async_context(HttpClient(f"headwater/{VERSION}"))
        providers = build_providers(config, client)
        stack.push_async_callback(providers.aclose)
        _check_default(providers)
        if not await _or_stopping(providers.open(), stopping):
            return
        timeouts = Timeouts(server_settings.first_chunk_seconds, server_settings.next_chunk_seconds)
        streams = RunningStreams(identity.index)
        stack.push_async_callback(streams.close)
        opener = partial(StreamOpener, providers, streams, timeouts, terms=provider_terms(config))
        owned = await _open_runs(stack, server_settings, opener) if identity.owns_runs else None
        agents = StreamServices(opener(server_settings.allow_caller_api_keys), providers, streams, VERSION)
        server = ProcessServer(identity, agents, owned.services if owned else None)
        stack.push_async_callback(server.stop)
        if owned and not await _or_stopping(owned.runs.open(), stopping):
            return
        await server.start(server_settings.host, server_settings.port)
        if owned:
            await stack.enter_async_context(_running(server.report_runs(owned.journal)))
        names = [provider.name for provider in providers.configured()]
        log.info("listening", host=server_settings.host, port=server.port, version=VERSION, providers=names)
        if server_settings.host not in ("localhost", "127.0.0.1", "::1"):
            log.warning("open", why="the port is unencrypted and open to all that reach it", host=server_settings.host)
        if not names and identity.owns_runs:
            log.warning("no provider", why="no request can be answered", cure=_NO_PROVIDER)
        gc.freeze()  # the objects of now stay: the garbage collector need not look at them each time
        _on_signals(stopping.set)
        on_listening(server.port)
        await stopping.wait()
        log.info("draining", streams=len(streams), runs=len(owned.runs) if owned else 0, relayed=server.relayed)
        drains = [streams.drain, server.drain, providers.drain, *([owned.runs.drain] if owned else [])]
        await _drain(server_settings.drain_seconds, server.announce_end, drains)
        if owned:
            owned.services.workers.drain()
    log.info("stopped")


@dataclass(frozen=True, slots=True)
class _Owned:
    """The parts that only the owner of the runs has."""

    journal: Journal
    runs: Runs
    services: RunServices


async def _open_runs(stack: AsyncExitStack, settings: ServerSettings, opener: Callable[[bool], StreamOpener]) -> _Owned:
    """The runs, which `Runs.open` sets going, and their services. Raises JournalError."""
    journal = await SqliteJournal.open(Path(settings.data_dir))
    stack.push_async_callback(journal.close)
    pool = WorkerPool(settings.worker_timeout_seconds)
    stack.callback(pool.close)
    # A run is stored, so no caller's key travels with it.
    actions = Actions(opener(False))
    runs = Runs(journal, StepRunner(pool, actions.act), settings.retention_days * 86_400)
    stack.push_async_callback(runs.close)
    workers = WorkerService(pool, journal.remember_handlers, VERSION)
    return _Owned(journal, runs, RunServices(WorkflowService(runs), workers))


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
async def _running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Does the work beside the block, and cancels it at its end."""
    task = asyncio.create_task(work)
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


def _check_default(providers: ProviderRegistry) -> None:
    """Raises ConfigError for a default_model that no provider here has, before a caller meets it."""
    try:
        providers.default()
    except HeadwaterError as error:
        raise ConfigError([f"default_model: {error.message}"]) from error


async def default_answer(config: Config) -> str:
    """Which model answers a request that names nothing, as `provider/model`; empty for none.

    Raises HeadwaterError for a default_model that no provider here has.
    """
    async with HttpClient("headwater") as client:
        default = build_providers(config, client).default()
    return f"{default.provider.name}/{default.model}" if default else ""


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


def build_providers(config: Config, client: HttpClient) -> ProviderRegistry:
    """All providers that the configuration offers."""
    providers: dict[str, Provider] = {}
    models: dict[str, str] = {}
    configured = set(config.configured)
    for name, settings in config.settings.providers.items():
        if not settings.is_offered:
            continue
        providers[name] = build_provider(name, settings, client, config.keys.get(name, ""), config.variables)
        if TYPES[settings.type].is_ready(settings):
            configured.add(name)
        if isinstance(settings, HttpSettings):
            models.update(dict.fromkeys(settings.models, name))
    return ProviderRegistry(providers, frozenset(configured), config.settings.server.default_model, models)


def provider_terms(config: Config) -> dict[str, ProviderTerms]:
    """The terms of calls to each provider that is asked over HTTP."""
    return {
        name: ProviderTerms(
            settings.first_chunk_seconds, settings.next_chunk_seconds, frozenset(settings.caller_headers)
        )
        for name, settings in config.settings.providers.items()
        if isinstance(settings, HttpSettings)
    }
