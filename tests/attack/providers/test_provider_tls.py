"""Providers whose TLS is at fault: the caller hears PROVIDER_UNAVAILABLE, what is wrong and the cure; the log no error."""

from __future__ import annotations

import asyncio
import datetime
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import aiohttp.http_exceptions
import grpc
import httpx
import pytest
import trustme

from headwater.v1 import agent_service_pb2
from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.messages import ChatRequest, Message, Role, Text
from headwater_server.providers.base import Provider
from headwater_server.providers.http.client import HttpClient
from headwater_server.providers.http1.answer import BodyReceiver, PushedAnswer
from headwater_server.providers.http1.pool import Pool
from headwater_server.providers.openai.settings import OpenAISettings
from headwater_server.providers.types import build_provider
from tests.support.servers.server import ServerProcess
from tests.support.stubs.stub import agent_stub, details

QUESTION = ChatRequest("m", (Message(Role.USER, (Text("Hi"),)),))
OLD = datetime.datetime(2020, 1, 1)
NEW = datetime.datetime(2120, 1, 1)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
    await writer.drain()
    writer.close()


async def _no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


async def _cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.close()


async def _alert(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Refuses the handshake as servers do that want a certificate: the alert handshake_failure."""
    await reader.read(100)
    writer.write(b"\x15\x03\x03\x00\x02\x02\x28")
    writer.close()


async def _garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.write(bytes(range(256)) * 10)
    writer.close()


def _context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def _wants_ours(authority: trustme.CA) -> ssl.SSLContext:
    context = _context(authority.issue_cert("127.0.0.1"))
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    return context


WORDS = {
    "expired": "certificate has expired; renew it there",
    "not_yet": "certificate is not yet valid; renew it there",
    "other_name": "its base URL must have a name that the certificate has",
    "self_signed": "the setting ca_file names others to trust",
    "unknown": "the setting ca_file names others to trust",
    "no_tls": "it does not speak TLS there; check the port",
    "cut": "it closed the connection",
    "alert": "set base_url to a proxy that has one",
    "garbage": "TLS|closed the connection",
    "wants_ours": "cannot be reached",
    "tls_behind_http": "it closed the connection without an answer",
    "alert_behind_http": "not HTTP as it should be; check whether its base URL begins with https://",
}


@asynccontextmanager
async def faulty_providers(folder: Path) -> AsyncIterator[dict[str, OpenAISettings]]:
    """The settings of a provider for each of WORDS, whose servers run for the length of the block."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    servers = {
        "expired": (_answer, _context(authority.issue_cert("127.0.0.1", not_before=OLD, not_after=OLD))),
        "not_yet": (_answer, _context(authority.issue_cert("127.0.0.1", not_before=NEW, not_after=NEW))),
        "other_name": (_answer, _context(authority.issue_cert("other.example"))),
        "self_signed": (_answer, _context(trustme.CA().issue_cert("127.0.0.1"))),
        "unknown": (_answer, _context(trustme.CA().issue_cert("127.0.0.1"))),
        "no_tls": (_no_tls, None),
        "cut": (_cut, None),
        "alert": (_alert, None),
        "garbage": (_garbage, None),
        "wants_ours": (_answer, _wants_ours(authority)),
        "tls_behind_http": (_answer, _context(authority.issue_cert("127.0.0.1"))),
        "alert_behind_http": (_alert, None),
    }
    async with AsyncExitStack() as stack:
        settings = {}
        for name, (serve, context) in servers.items():
            server = await stack.enter_async_context(await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context))
            scheme = "http" if name.endswith("behind_http") else "https"
            url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            ca_file = "" if name == "unknown" else str(folder / "ca.pem")
            settings[name] = OpenAISettings(base_url=url, ca_file=ca_file)
        yield settings


async def test_each_fault_of_tls_is_told_with_its_cure_and_is_no_error_in_the_log(tmp_path):
    async with faulty_providers(tmp_path) as settings:
        text = "".join(
            f'[providers.{name}]\ntype = "openai"\nbase_url = "{each.base_url}"\nca_file = "{each.ca_file}"\n'
            for name, each in settings.items()
        )
        (tmp_path / "headwater.toml").write_text(text)
        with ServerProcess("--config", str(tmp_path / "headwater.toml")) as server:
            async with agent_stub(server.target) as stub:
                for name in settings:
                    request = agent_service_pb2.RunRequest(prompt="x", agent={"model": f"{name}/m"})
                    with pytest.raises(grpc.aio.AioRpcError, match=WORDS[name]) as caught:
                        await stub.Run(request, timeout=15)
                    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                    info = details(caught.value)["ErrorInfo"]
                    assert info.reason == "PROVIDER_UNAVAILABLE"  # type: ignore[attr-defined]
                    assert info.metadata["provider"] == name  # type: ignore[attr-defined]
                    models = agent_service_pb2.ListModelsRequest(provider=name)
                    with pytest.raises(grpc.aio.AioRpcError, match=WORDS[name]):
                        await stub.ListModels(models, timeout=15)
            server.stop()
            assert not [event for event in server.events if event["level"] == "error"]


def _all_below(kind: type[BaseException]) -> set[type[BaseException]]:
    return {kind}.union(*map(_all_below, kind.__subclasses__()))


def _made(kind: type[BaseException]) -> BaseException:
    """An error of the class, as aiohttp makes it: with no attributes but those of its constructor."""
    key = aiohttp.client_reqrep.ConnectionKey("h", 1, True, True, None, None, None)
    if issubclass(kind, aiohttp.client_exceptions.UnixClientConnectorError):
        return kind("/socket", key, OSError())
    if issubclass(kind, aiohttp.ClientConnectorError):
        return kind(key, OSError())
    if issubclass(kind, aiohttp.ClientResponseError):
        url = aiohttp.client.URL("http://h")
        return kind(aiohttp.RequestInfo(url, "GET", None, url), ())  # type: ignore[arg-type]
    if issubclass(kind, aiohttp.ServerFingerprintMismatch):
        return kind(b"", b"", "h", 1)
    if issubclass(kind, aiohttp.InvalidURL):
        return kind("http://h")
    if issubclass(kind, aiohttp.http_exceptions.LineTooLong | aiohttp.http_exceptions.InvalidHeader):
        return kind(b"x")
    if issubclass(kind, httpx.HTTPError | httpx.InvalidURL | aiohttp.http_exceptions.BadHttpMessage):
        return kind("x")
    return kind()


CLASSES = sorted(
    _all_below(aiohttp.ClientError)
    | _all_below(aiohttp.http_exceptions.HttpProcessingError)
    | _all_below(httpx.TransportError)
    | _all_below(ssl.SSLError)
    | {OSError, TimeoutError, ConnectionResetError, httpx.InvalidURL},
    key=lambda kind: f"{kind.__module__}.{kind.__name__}",
)
"""All classes of aiohttp, of its parser, of httpx and of ssl."""


async def _message_of(provider: Provider) -> str:
    stream = provider.stream(QUESTION)
    try:
        await stream.read()
    except HeadwaterError as error:
        return f"{error.reason}: {error.message}"
    except Exception as error:  # noqa: BLE001  every other class is what the test looks for
        return f"it escapes: {error!r}"
    finally:
        await stream.aclose()
    return "there was no error"


@pytest.mark.parametrize("behind", [None, ssl.SSLError()])
@pytest.mark.parametrize(
    ("place", "method", "proxy"), [(Pool, "ask", "none"), (aiohttp.ClientSession, "_request", "http://proxy.example:1")]
)
async def test_every_error_of_a_connection_says_what_is_wrong(monkeypatch, place, method, proxy, behind):
    kind: type[BaseException]

    async def fail(*_args: object, **_options: object) -> None:
        raise _made(kind) from behind

    monkeypatch.setattr(place, method, fail)
    wrong = {}
    async with HttpClient("test") as client:
        settings = OpenAISettings(base_url="https://box.example/v1", proxy=proxy)
        provider = build_provider("box", settings, client)
        for kind in [*CLASSES, UnicodeError, ValueError]:
            message = await _message_of(provider)
            if not re.fullmatch(
                r"PROVIDER_UNAVAILABLE: cannot be reached \((?!None).{5,}\); check its base URL.*", message
            ):
                wrong[kind] = message
    assert not wrong


@pytest.mark.parametrize("is_proxied", [False, True])
async def test_every_error_within_a_reply_is_a_broken_connection(monkeypatch, is_proxied):
    kind: type[BaseException]

    async def fail(*_args: object) -> bytes:
        raise _made(kind)

    def end(_: PushedAnswer, receiver: BodyReceiver) -> None:
        receiver.body_ended(_made(kind))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        writer.close()

    monkeypatch.setattr(aiohttp.StreamReader, "read", fail)
    monkeypatch.setattr(PushedAnswer, "follow", end)
    wrong = {}
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, HttpClient("test") as client:
        proxy = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        address = "http://box.example/v1" if is_proxied else proxy
        settings = OpenAISettings(base_url=address, proxy=proxy if is_proxied else "none")
        provider = build_provider("box", settings, client)
        for kind in CLASSES:
            message = await _message_of(provider)
            if not message.startswith("PROVIDER_UNAVAILABLE: the connection broke ("):
                wrong[kind] = message
    assert not wrong
