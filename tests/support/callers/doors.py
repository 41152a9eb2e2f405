"""A server with callers of every kind, and the ways to call it: by token, by JWT, by certificate."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc

from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from headwater.v1.worker_service_pb2_grpc import WorkerServiceStub
from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from headwater_server.callers.token_file import add_token, revoke_tokens
from headwater_server.callers.tokens import make_token
from tests.support.callers.issuer import Key, jwks
from tests.support.methods.calls import OPTIONS
from tests.support.servers.certificates import Authority, Pair
from tests.support.servers.server import ServerProcess

SCOPES = {
    "AgentService": "stream",
    "WorkflowService": "workflow",
    "WorkerService": "worker:mine",
    "OperatorService": "operator",
}
EVERY = tuple(scope for scope in SCOPES.values() if scope != "operator")
"""Those of a caller that is no operator."""
CONNECTIONS = 6

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Identity:
    """The token or the certificate of a caller, or neither."""

    token: str | None = None
    certificate: Pair | None = None

    @property
    def metadata(self) -> Metadata:
        return () if self.token is None else (("authorization", f"Bearer {self.token}"),)


@dataclass(frozen=True)
class Doors:
    """A server with callers.

    Attributes:
        server: the server.
        folder: its data directory.
        key: that of the issuer of JWT.
        good, bad: identities by their names; the bad ones belong to no caller.
        authority: of its TLS; None without.
        stranger: the certificate of callers that show a token; None where callers need no certificate.
        connections: how many a caller makes, so that all processes are met.
    """

    server: ServerProcess
    folder: Path
    key: Key
    good: Mapping[str, Identity]
    bad: Mapping[str, Identity]
    authority: Authority | None
    stranger: Pair | None
    connections: int

    def secrets(self) -> dict[str, str]:
        """All tokens, by the names of their identities."""
        return {name: each.token for name, each in {**self.good, **self.bad}.items() if each.token}


def tokens_in(folder: Path) -> tuple[dict[str, Identity], dict[str, Identity]]:
    """Makes tokens of all kinds in a data directory: the good and the bad ones."""
    now, texts = time.time(), {}
    for kind, caller, scopes in (
        ("alice", "alice", EVERY),
        ("alice's second", "alice", EVERY),
        ("bob", "bob", EVERY),
        ("operator", "carol", ("operator",)),
        ("revoked", "revoked", EVERY),
        *((f"only {scope}", "dave", (scope,)) for scope in EVERY),
    ):
        token, texts[kind] = make_token(caller, scopes, now)
        add_token(folder, token)
    expired, texts["expired"] = make_token("alice", EVERY, now - 10 * 86_400, days=1)
    add_token(folder, expired)
    revoke_tokens(folder, "revoked", now)
    bad = {
        "none": None,
        "empty": "",
        "wrong": "hw_" + "A" * 43,
        **{kind: texts.pop(kind) for kind in ("revoked", "expired")},
    }
    return {kind: Identity(text) for kind, text in texts.items()}, {kind: Identity(text) for kind, text in bad.items()}


def jwts_of(key: Key) -> tuple[dict[str, Identity], dict[str, Identity]]:
    """Tokens of an issuer: the good and the bad ones."""
    now, every = int(time.time()), " ".join(EVERY)
    good = {
        "alice's JWT": key.token("alice", scope=every),
        "bob's JWT": key.token("bob", scope=every),
        "operator's JWT": key.token("carol", scope="operator openid"),
        **{f"only {scope} by JWT": key.token("dave", scope=[scope]) for scope in EVERY},
    }
    bad = {
        "expired JWT": key.token("alice", scope=every, exp=now - 60),
        "JWT of tomorrow": key.token("alice", scope=every, nbf=now + 86_400),
        "JWT of another issuer": key.token("alice", scope=every, iss="https://elsewhere.example/"),
        "JWT for another audience": key.token("alice", scope=every, aud="elsewhere"),
        "JWT of another key": Key(key.key_id).token("alice", scope=every),
        "JWT of an unknown key": Key("unknown").token("alice", scope=every),
    }
    return {kind: Identity(text) for kind, text in good.items()}, {kind: Identity(text) for kind, text in bad.items()}


def certificates_of(authority: Authority) -> tuple[dict[str, Identity], str]:
    """Certificates of callers, and the settings that name their callers."""
    callers = {"alice": EVERY, "bob": EVERY, "carol": ("operator",)}
    callers |= {f"dave-{scope.partition(':')[0]}": (scope,) for scope in EVERY}
    pairs = {name: authority.issue(name, f"{name}.example") for name in callers}
    settings = "".join(
        f'[callers.{name}]\ncertificates = ["dns:{name}.example"]\nscopes = {list(scopes)}\n'
        for name, scopes in callers.items()
    )
    names = {"alice": "alice's certificate", "bob": "bob's certificate", "carol": "operator's certificate"}
    names |= {f"dave-{scope.partition(':')[0]}": f"only {scope} by certificate" for scope in EVERY}
    return {names[name]: Identity(None, pair) for name, pair in pairs.items()}, settings


@contextmanager
def doors(folder: Path, kind: str, processes: int, **variables: str) -> Iterator[Doors]:
    """A server for the length of the block.

    Args:
        folder: gets the data and all other files.
        kind: `plain`, `TLS` or `mTLS`.
        processes: how many share the port.
        variables: further settings.
    """
    data = folder / "data"
    good, bad = tokens_in(data)
    key = Key()
    (folder / "jwks.json").write_text(jwks(key))
    settings = f"""[jwt.corp]
issuer = "https://id.example.com/"
audience = "headwater"
jwks_file = "{folder}/jwks.json"
leeway_seconds = 0
"""
    for named, others in zip((good, bad), jwts_of(key), strict=True):
        named.update(others)
    authority = None if kind == "plain" else Authority(folder / "tls")
    flags: tuple[str, ...] = authority.issue("server").flags if authority else ()
    stranger = None
    if authority and kind == "mTLS":
        flags += ("--tls-client-ca-file", str(authority.file))
        by_certificate, more = certificates_of(authority)
        good.update(by_certificate)
        settings += more
        stranger = authority.issue("stranger", "stranger.example")
    file = folder / "headwater.toml"
    file.write_text(settings)
    usual = {"HEADWATER_DATA_DIR": str(data), "HEADWATER_LOG_LEVEL": "debug", "HEADWATER_DRAIN_SECONDS": "0.2"}
    usual |= {"HEADWATER_WORKER_TIMEOUT_SECONDS": "600"}  # workers of these tests say nothing
    own = {"HEADWATER_CONFIG": str(file), **usual, **variables}
    with ServerProcess("--scripted", *flags, variables=own, processes=processes) as server:
        connections = 1 if processes == 1 else CONNECTIONS
        made = Doors(server, data, key, good, bad, authority, stranger, connections)
        yield made
        server.stop()
        assert [name for name, token in made.secrets().items() if token in server.log] == []


@dataclass
class Visitor:
    """Connections to a server, from `async with` to the end of its block; those of a certificate are kept."""

    doors: Doors
    _channels: dict[Pair | None, list[grpc.aio.Channel]] = field(default_factory=dict)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def channels(self, identity: Identity) -> list[grpc.aio.Channel]:
        """The connections on which this identity calls."""
        pair = identity.certificate or self.doors.stranger
        if pair not in self._channels:
            made = [channel_to(self.doors, pair) for _ in range(self.doors.connections)]
            self._channels[pair] = [await self._stack.enter_async_context(channel) for channel in made]
        return self._channels[pair]

    def stubs_on(self, channel: grpc.aio.Channel) -> tuple[Any, Any, Any]:
        """Of AgentService, WorkflowService and WorkerService."""
        return AgentServiceStub(channel), WorkflowServiceStub(channel), WorkerServiceStub(channel)

    async def agents(self, identity: Identity) -> AgentServiceStub[Any]:
        return AgentServiceStub((await self.channels(identity))[0])

    async def workflows(self, identity: Identity) -> WorkflowServiceStub[Any]:
        return WorkflowServiceStub((await self.channels(identity))[0])


def channel_to(doors: Doors, pair: Pair | None) -> grpc.aio.Channel:
    """A new connection, with this certificate where the server asks for one."""
    target = doors.server.target
    if doors.authority is None:
        return grpc.aio.insecure_channel(target, options=OPTIONS)
    files = (pair.key.read_bytes(), pair.cert.read_bytes()) if pair else (None, None)
    credentials = grpc.ssl_channel_credentials(doors.authority.file.read_bytes(), *files)
    return grpc.aio.secure_channel(target.removeprefix("https://"), credentials, options=OPTIONS)
