"""The composition root: the only place that knows which parts the server is made of."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog

from headwater_server import config
from headwater_server.config import Config
from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.process_identity import SINGLE_PROCESS, ProcessIdentity
from headwater_server.providers.anthropic import wire as anthropic
from headwater_server.providers.base import Provider
from headwater_server.providers.http.client import HttpClient
from headwater_server.providers.http.model_list import parse_models
from headwater_server.providers.http.provider import Endpoint, HttpProvider
from headwater_server.providers.local.provider import LocalProvider, availability
from headwater_server.providers.models import openai_api
from headwater_server.providers.ollama import wire as ollama
from headwater_server.providers.ollama.provider import OllamaProvider
from headwater_server.providers.openai import chat as openai_chat
from headwater_server.providers.openai import responses as openai_responses
from headwater_server.providers.registry import ProviderRegistry
from headwater_server.providers.scripted.provider import ScriptedProvider
from headwater_server.streaming.live import Timeouts
from headwater_server.streaming.running_streams import StreamRegistry
from headwater_server.transport.process_server import ProcessServer, RunServices, StreamServices
from headwater_server.transport.services.actions import Actions
from headwater_server.transport.services.opening import StreamOpener
from headwater_server.transport.services.worker import WorkerService
from headwater_server.transport.services.workflow import WorkflowService
from headwater_server.workflows.engine.runs import Runs
from headwater_server.workflows.engine.steps import StepRunner
from headwater_server.workflows.journal.sqlite import SqliteJournal
from headwater_server.workflows.workers.pool import WorkerPool

VERSION = version("headwater")
SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger("headwater.server")


async def serve(
    settings: Config, on_listening: Callable[[int], None], identity: ProcessIdentity = SINGLE_PROCESS
) -> None:
    """Serves until SIGTERM or SIGINT, then drains and closes everything; a second signal ends the waiting.

    Args:
        settings: what is in force.
        on_listening: called with the port, once calls are taken.
        identity: which of the server's processes this is.

    Raises PortTakenError, JournalError when the runs cannot be read or belong to another server, and HeadwaterError
    when the embedded model was to be started with the server and cannot.
    """
    stopping = asyncio.Event()
    _on_signals(stopping.set)
    server_settings = settings.settings.server
    async with AsyncExitStack() as stack:
        stack.callback(_ignore_signals)
        client = await stack.enter_async_context(HttpClient(f"headwater/{VERSION}"))
        providers = build_providers(settings, client)
        stack.push_async_callback(providers.aclose)
        _check_default(providers)
        if not await _or_stopping(_start_eager(settings, providers), stopping):
            return
        timeouts = Timeouts(server_settings.first_chunk_seconds, server_settings.next_chunk_seconds)
        streams = StreamRegistry(identity.index)
        stack.push_async_callback(streams.close)
        opener = partial(StreamOpener, providers, streams, timeouts)
        owned = await _open_runs(stack, server_settings, opener) if identity.owns_runs else None
        agents = StreamServices(opener(server_settings.allow_caller_api_keys), providers, streams, VERSION)
        server = ProcessServer(identity, agents, owned.services if owned else None)
        stack.push_async_callback(server.stop)
        if owned:
            await owned.runs.open()
        await server.start(server_settings.host, server_settings.port)
        names = [provider.name for provider in providers.configured()]
        log.info("listening", host=server_settings.host, port=server.port, version=VERSION, providers=names)
        if server_settings.host not in ("localhost", "127.0.0.1", "::1"):
            log.warning("open", why="the port is unencrypted and open to whoever reaches it", host=server_settings.host)
        gc.freeze()  # what is here now stays: the garbage collector need not look at it again and again
        on_listening(server.port)
        await stopping.wait()
        log.info("draining", streams=len(streams), runs=len(owned.runs) if owned else 0, relayed=server.relayed)
        await server.announce_end()
        drains = [streams.drain, server.drain, *([owned.runs.drain] if owned else [])]
        drains += [local.drain for _, local in _locals(settings, providers)]
        await _drain(server_settings.drain_seconds, drains)
        if owned:
            owned.services.workers.drain()
    log.info("stopped")


@dataclass(frozen=True, slots=True)
class _Owned:
    """What only the owner of the runs has."""

    runs: Runs
    services: RunServices


async def _open_runs(
    stack: AsyncExitStack, settings: config.ServerSettings, opener: Callable[[bool], StreamOpener]
) -> _Owned:
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
    return _Owned(runs, RunServices(WorkflowService(runs), workers))


async def _drain(seconds: float, drains: Sequence[Callable[[float], Awaitable[None]]]) -> None:
    """Waits for what runs, up to the limit or the next signal, and ends what is left.

    Args:
        seconds: the limit.
        drains: each waits for a part of it, up to a limit, and ends the rest.
    """

    async def drain(limit: float) -> None:
        await asyncio.gather(*(each(limit) for each in drains))

    draining = asyncio.create_task(drain(seconds))
    _on_signals(draining.cancel)
    await asyncio.wait([draining])
    if not draining.cancelled():
        draining.result()
    await drain(0)


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
    """Raises HeadwaterError for a default_model that nobody here has, before a caller is told so."""
    try:
        providers.default()
    except HeadwaterError as error:
        raise HeadwaterError(error.reason, f"default_model: {error.message}") from error


async def _start_eager(settings: Config, providers: ProviderRegistry) -> None:
    for local_settings, local in _locals(settings, providers):
        if local_settings.eager:
            await local.start()


def _locals(settings: Config, providers: ProviderRegistry) -> Iterator[tuple[config.LocalSettings, LocalProvider]]:
    """The embedded models, with their settings."""
    for name, found in settings.settings.providers.items():
        if isinstance(found, config.LocalSettings) and isinstance(local := providers.provider(name), LocalProvider):
            yield found, local


async def default_answer(settings: Config) -> str:
    """Which model answers a request that names nothing, as `provider/model`; empty for none.

    Raises HeadwaterError for a default_model that nobody here has.
    """
    async with HttpClient("headwater") as client:
        default = build_providers(settings, client).default()
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


def build_providers(settings: Config, client: HttpClient) -> ProviderRegistry:
    """All providers that the configuration names."""
    providers: dict[str, Provider] = {}
    models: dict[str, str] = {}
    configured = set(settings.configured)
    for name, provider in settings.settings.providers.items():
        if isinstance(provider, config.ScriptedSettings):
            if provider.enabled:
                providers[name] = ScriptedProvider(name)
            continue
        if isinstance(provider, config.LocalSettings):
            providers[name] = _local(name, provider, client)
            if availability(provider.model_path) is None:
                configured.add(name)
            continue
        providers[name] = _http(name, provider, settings.keys.get(name, ""), client)
        models.update(dict.fromkeys(provider.models, name))
    return ProviderRegistry(providers, frozenset(configured), settings.settings.server.default_model, models)


def _http(
    name: str,
    settings: config.OpenAISettings | config.AnthropicSettings | config.OllamaSettings,
    key: str,
    client: HttpClient,
) -> Provider:
    help_ = f"set {settings.api_key_env} for the server" if settings.api_key_env else ""
    endpoint = Endpoint(settings.base_url, key, help_)
    match settings:
        case config.OllamaSettings():
            return OllamaProvider(
                name=name,
                type="ollama",
                endpoint=endpoint,
                client=client,
                wires={"chat": ollama.OllamaWire()},
                default_model=settings.default_model,
                models_path="/api/tags",
                parse_models=ollama.parse_tags,
            )
        case config.AnthropicSettings():
            return HttpProvider(
                name=name,
                type="anthropic",
                endpoint=endpoint,
                client=client,
                wires={"messages": anthropic.AnthropicWire(settings.max_tokens)},
                default_model=settings.default_model,
                models_path=anthropic.MODELS_PATH,
                parse_models=parse_models,
            )
        case config.OpenAISettings():
            return _openai(name, settings, endpoint, client)


def _openai(name: str, settings: config.OpenAISettings, endpoint: Endpoint, client: HttpClient) -> HttpProvider:
    """OpenAI chooses the API by the model; a server that only speaks its language is asked for chat completions."""
    genuine = name == "openai"
    chosen = settings.api
    choose = (lambda _: chosen) if chosen else openai_api if genuine else None
    chat = openai_chat.OpenAIChatWire(genuine=genuine)
    return HttpProvider(
        name=name,
        type="openai",
        endpoint=endpoint,
        client=client,
        wires={"chat_completions": chat, "responses": openai_responses.OpenAIResponsesWire(genuine=genuine)},
        default_model=settings.default_model,
        models_path=openai_chat.MODELS_PATH,
        parse_models=parse_models,
        choose_api=choose,
    )


def _local(name: str, settings: config.LocalSettings, client: HttpClient) -> LocalProvider:
    def connect(base_url: str, api_key: str) -> Provider:
        endpoint = Endpoint(f"{base_url}/v1", api_key)
        return _openai(name, config.OpenAISettings(base_url=base_url), endpoint, client)

    return LocalProvider(
        name,
        connect,
        model_path=settings.model_path,
        context=settings.context,
        max_tokens=settings.max_tokens,
        parallel=settings.parallel,
        threads=settings.threads,
    )
