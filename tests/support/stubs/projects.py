"""Builds the projects of examples/stubs outside the repository, as docs/clients.md says, and runs them.

Each project stands beside a copy of the parts of this repository that its language needs, named `headwater`, as it would
beside a clone. It is built once for all test processes, and again only when a file of it, of its copy, or a command
has changed.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "clients.md"
PROJECTS = ROOT / "examples" / "stubs"
BUILDS = Path(tempfile.gettempdir()) / f"headwater-stubs-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]}"
BUILD_TIMEOUT_SECONDS = 540
KEPT = {"target"}
"""Folders that a new build uses again: Rust compiles its libraries for a minute."""
LEFT_BY_BUILDS = {"node_modules", "dist", "build", "target", "googleapis", ".venv", "__pycache__", "headwater.egg-info"}


@dataclass(frozen=True)
class Language:
    """A language.

    Attributes:
        name: its folder in examples/stubs.
        heading: its heading in docs/clients.md.
        toolchain: the programs that must be on PATH for it.
        sources: the files and folders of this repository that its project depends on.
    """

    name: str
    heading: str
    toolchain: tuple[str, ...]
    sources: tuple[str, ...]

    def missing(self) -> list[str]:
        """The programs of the toolchain that are not on PATH."""
        return [program for program in self.toolchain if shutil.which(program) is None]

    @property
    def project(self) -> Path:
        """Its folder in the repository."""
        return PROJECTS / self.name

    def blocks(self) -> list[tuple[str, str, str]]:
        """The blocks of its section of the page: kind, title and text."""
        section = re.search(rf"^## {re.escape(self.heading)}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
        assert section, f"docs/clients.md has no section {self.heading}"
        return re.findall(r'^```(\w+)(?: title="([\w./]+)")?\n(.*?)^```', section[1], re.M | re.S)

    def commands(self) -> list[str]:
        """Its commands on the page, in order. The last one runs the program."""
        return [line for kind, _, text in self.blocks() if kind == "bash" for line in text.splitlines()]


PYTHON_PACKAGE = ("pyproject.toml", "README.md", "LICENSE", "server", "clients/python")
LANGUAGES = {
    language.name: language
    for language in (
        Language("python", "Python", ("python3",), PYTHON_PACKAGE),
        Language("go", "Go", ("go",), ("clients/go",)),
        Language("typescript", "TypeScript", ("node", "npm"), ("clients/typescript",)),
        Language("java", "Java", ("java", "mvn"), ("clients/java", "protos")),
        Language("cpp", "C++", ("cmake", "g++", "protoc", "grpc_cpp_plugin"), ("protos",)),
        Language("rust", "Rust", ("cargo", "protoc"), ("protos",)),
    )
}


@dataclass(frozen=True)
class Program:
    """A program that is ready to run."""

    command: tuple[str, ...]
    folder: Path

    @asynccontextmanager
    async def started(
        self, target: str, *arguments: str, variables: Mapping[str, str] | None = None
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Runs it against a server, with pipes and further variables; it is gone when the block is left."""
        process = await asyncio.create_subprocess_exec(
            *self.command,
            *arguments,
            cwd=self.folder,
            env={**os.environ, "HEADWATER_TARGET": target, "LC_ALL": "C.UTF-8", **(variables or {})},
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
    folder = place / "stream"
    *builds, run = [line for line in language.commands() if not line.startswith("sudo apt-get")]
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = place / "built"
        fingerprint = _fingerprint([*map(ROOT.joinpath, language.sources), language.project], language.commands())
        if not stamp.exists() or stamp.read_text() != fingerprint:
            stamp.unlink(missing_ok=True)
            lay_out(language, place)
            for command in builds:
                run_in(folder, command)
            stamp.write_text(fingerprint)
    program, *arguments = shlex.split(run)
    assert arguments[-1:] == ["Hello"], run
    return Program((program, *arguments[:-1]), folder)


def lay_out(language: Language, place: Path, project: str = "stream") -> None:
    """Copies the sources of the language to `place/headwater`, and the project to `place/<project>`."""
    shutil.rmtree(place / "headwater", ignore_errors=True)
    for source in language.sources:
        _copy(ROOT / source, place / "headwater" / source)
    folder = place / project
    for entry in folder.iterdir() if folder.exists() else ():
        if entry.is_dir() and entry.name not in KEPT:
            shutil.rmtree(entry)
        elif entry.is_file():
            entry.unlink()
    _copy(language.project, folder)


def run_in(folder: Path, command: str) -> str:
    """Runs a command that builds and returns its output. Raises AssertionError with that when it fails."""
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PIP_CONSTRAINT": str(ROOT / ".ci" / "constraints.txt"),
        # `install` writes to this folder, not to the one that other clones share.
        "MAVEN_OPTS": f"-Dmaven.repo.local={BUILDS / 'maven'}",
        "npm_config_audit": "false",
        "npm_config_fund": "false",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def files_of(source: Path) -> Iterator[Path]:
    """The files below a folder that no build has left there, or the file itself, in order."""
    if source.is_file():
        yield source
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(set(folders) - LEFT_BY_BUILDS)
        yield from (Path(folder, name) for name in sorted(files))


def _copy(source: Path, target: Path) -> None:
    """Copies a file or a folder. The copies are new, so that build tools see that they changed."""
    for path in files_of(source):
        copied = target / path.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copied)


def _fingerprint(sources: list[Path], commands: list[str]) -> str:
    digest = hashlib.sha256("\n".join(commands).encode())
    for path in (path for source in sources for path in files_of(source)):
        digest.update(f"{path.relative_to(ROOT)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
