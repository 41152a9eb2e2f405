"""Parts for the tests of the stub programs: the programs themselves, built once, and a server that streams known text.

A program is built in a copy of `clients/<language>` and `examples/stubs/<language>` under `.tools/stubs/<language>/`,
with the commands of examples/stubs/README.md. The copy is built again only when a file of the two folders has changed.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from headwater.v1 import AgentServiceServicer, StreamChunk, StreamRequest, add_AgentServiceServicer_to_server

ROOT = Path(__file__).resolve().parents[3]
BUILDS = ROOT / ".tools" / "stubs"
BUILD_TIMEOUT_SECONDS = 540
LEFT_BY_BUILDS = shutil.ignore_patterns("node_modules", "dist", "target")


@dataclass(frozen=True)
class Language:
    """A language, what must be on PATH for it, the commands that build its program (folder, command) and run it."""

    name: str
    toolchain: tuple[str, ...] = ()
    builds: tuple[tuple[str, str], ...] = ()
    run: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        """The programs of the toolchain that are not on PATH."""
        return [program for program in self.toolchain if shutil.which(program) is None]


LANGUAGES = {
    language.name: language
    for language in (
        Language("python", run=(sys.executable, "stream.py")),
        Language(
            "go",
            toolchain=("go",),
            builds=(("examples/stubs/go", "go build -buildvcs=false -o dist/stream ."),),
            run=("dist/stream",),
        ),
        Language(
            "typescript",
            toolchain=("node", "npm"),
            builds=(
                ("examples/stubs/typescript", "npm ci --no-audit --no-fund"),
                ("examples/stubs/typescript", "npm run build"),
            ),
            run=("node", "dist/stream.js"),
        ),
        Language(
            "java",
            toolchain=("java", "mvn"),
            builds=(("clients/java", "mvn --quiet --batch-mode package dependency:copy-dependencies"),),
            run=(
                "java",
                "-cp",
                "../../../clients/java/target/*:../../../clients/java/target/dependency/*",
                "Stream.java",
            ),
        ),
    )
}


@dataclass(frozen=True)
class Program:
    """A program that is ready to run."""

    command: tuple[str, ...]
    folder: Path

    @asynccontextmanager
    async def started(self, target: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Runs it against a server, with pipes; it is gone when the block is left."""
        process = await asyncio.create_subprocess_exec(
            *self.command,
            *arguments,
            cwd=self.folder,
            env={**os.environ, "HEADWATER_TARGET": target, "LC_ALL": "C.UTF-8"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


def build(language: Language) -> Program:
    """Builds the program of a language unless it is built already. Raises AssertionError with the compiler's words."""
    place = BUILDS / language.name
    sources = [f"clients/{language.name}", f"examples/stubs/{language.name}"]
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes side by side build once
        stamp = place / "built"
        fingerprint = _fingerprint(sources)
        if not stamp.exists() or stamp.read_text() != fingerprint:
            stamp.unlink(missing_ok=True)
            for source in sources:
                shutil.rmtree(place / source, ignore_errors=True)
                shutil.copytree(ROOT / source, place / source, ignore=LEFT_BY_BUILDS)
            for folder, command in language.builds:
                _run(command, place / folder)
            stamp.write_text(fingerprint)
    return Program(language.run, place / "examples" / "stubs" / language.name)


def _run(command: str, folder: Path) -> None:
    result = subprocess.run(
        command.split(), cwd=folder, capture_output=True, text=True, timeout=BUILD_TIMEOUT_SECONDS, check=False
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"


def _fingerprint(sources: list[str]) -> str:
    digest = hashlib.sha256()
    for source in sources:
        for folder, folders, files in os.walk(ROOT / source):
            folders[:] = sorted(set(folders) - LEFT_BY_BUILDS(folder, folders))
            for name in sorted(files):
                path = Path(folder, name)
                digest.update(f"{path.relative_to(ROOT)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


class _KnownReply(AgentServiceServicer):
    """Knows one provider, `scripted`, and one reply."""

    def __init__(self, chunks: list[str], go_on: asyncio.Event) -> None:
        self.chunks = chunks
        self.go_on = go_on

    async def Stream(  # noqa: N802
        self, request: StreamRequest, context: grpc.aio.ServicerContext[StreamRequest, StreamChunk]
    ) -> AsyncIterator[StreamChunk]:
        if request.provider not in ("", "scripted"):
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no provider named {request.provider}")
        for chunk in self.chunks:
            yield StreamChunk(content=chunk)
            await self.go_on.wait()
        yield StreamChunk(is_final=True)


@asynccontextmanager
async def serving(chunks: list[str], *, go_on: asyncio.Event) -> AsyncIterator[str]:
    """Serves these chunks on a free loopback port, all but the first once `go_on` is set. Gives the target."""
    server = grpc.aio.server()
    add_AgentServiceServicer_to_server(_KnownReply(chunks, go_on), server)  # type: ignore[abstract]  # answers Stream only
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
