"""A server with callers that have limits, for tests that ask it as one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from click.testing import CliRunner

from headwater.cli.main import headwater
from headwater.v1 import agent_pb2, agent_service_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.support.servers.processes import channel_to
from tests.support.servers.server import ServerProcess

SCRIPTED = "[providers.scripted]\nenabled = true\n"


class Served:
    """A server with callers, in a folder of which several may be made one after the other."""

    def __init__(self, folder: Path, settings: str, processes: int = 1) -> None:
        self.file, self.data = folder / "headwater.toml", folder / "data"
        self.file.write_text(SCRIPTED + settings)
        self.processes = processes
        self.tokens = {name: self._token(name) for name in ("alice", "bob", "carol")}
        flags = ("--config", str(self.file), "--data-dir", str(self.data))
        self.server = ServerProcess(*flags, processes=processes)

    def _token(self, name: str) -> str:
        scopes = ("--scope", "stream", "--scope", "workflow", "--scope", "operator")
        done = CliRunner().invoke(headwater, ["token", "--data-dir", str(self.data), "create", name, *scopes])
        assert done.exit_code == 0, done.output
        return done.stdout.strip()

    def metadata(self, name: str = "alice") -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.tokens[name]}"),)

    async def run(self, name: str = "alice", process: int | None = None, **fields: Any) -> str:
        """The reply to a caller, from this process; None: from any."""
        async with self.channel(process) as channel:
            request = agent_service_pb2.RunRequest(prompt="Hi", agent=agent(**fields))
            return (await AgentServiceStub(channel).Run(request, metadata=self.metadata(name))).content

    def channel(self, process: int | None = None) -> Any:
        """A channel to this process, which carol has found."""
        if process is None or self.processes == 1:
            return grpc.aio.insecure_channel(self.server.target)
        return channel_to(self.server.target, process, self.metadata("carol"))


def agent(model: str = "scripted/echo", **options: Any) -> agent_pb2.AgentConfig:
    made = agent_pb2.AgentConfig(model=model)
    made.provider_options["scripted"].update(options)
    return made


def used(tokens: int) -> dict[str, Any]:
    """The options of a reply that has used so many tokens, as its provider reports."""
    return {"usage": {"input_tokens": tokens - 1, "output_tokens": 1}}


@contextmanager
def served(folder: Path, settings: str, processes: int = 1) -> Iterator[Served]:
    made = Served(folder, settings, processes)
    with made.server:
        yield made
