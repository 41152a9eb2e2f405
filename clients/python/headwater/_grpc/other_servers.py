"""Names the server at an address where gRPC finds no gRPC server.

gRPC's own words do not say it ("recvmsg: Connection reset by peer"). So after such a failure a connection asks once,
with a request of HTTP/1. If it gets no word, a second one sends a TLS greeting. Where the call itself had TLS,
`tls.refusals` asks instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from typing import TYPE_CHECKING

from headwater._grpc.server import endpoint
from headwater._grpc.tls.refusals import refusal

if TYPE_CHECKING:
    import grpc

    from headwater._grpc.server import Server

_SECONDS = 1.0
_MOST_BYTES = 1024
# gRPC's words for a connection that was made, and had no gRPC server at its other end.
_CONNECTED = re.compile(
    r"failed to connect.*(?:SETTINGS|HTTP/2|http1|recvmsg|sendmsg|socket closed|end of tcp|broken pipe|reset by peer)",
    re.IGNORECASE | re.DOTALL,
)
_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")  # an alert, and a handshake
_WANTS_TLS = re.compile(rb"HTTPS (?:port|server)|SSL-enabled server port")
_HTTP = re.compile(rb"\s*(?:HTTP/[01]\.|<!doctype html|<html)", re.IGNORECASE)
_SERVER_HEADER = re.compile(rb"\r\nserver: *([ -~]{1,60})\r", re.IGNORECASE)
_HTTP2_FRAMES = (4, 7)  # SETTINGS and GOAWAY
_GREETINGS = {b"SSH-": "an SSH server", b"220": "a mail or FTP server", b"-": "a Redis server"}

_TLS = (
    "a TLS server answers at {target}, and this client connects without TLS; write https://{target}, or give the "
    "address of a port without TLS"
)
_OTHER = "{what} answers at {target}, which speaks no gRPC; give the address that `headwater serve` prints"
_MUTE = (
    "something at {target} takes connections and says nothing, such as a proxy without a server behind it; give the "
    "address that `headwater serve` prints"
)


async def explain(error: grpc.aio.AioRpcError, server: Server) -> str:
    """The server at the address of a call that failed, and the cure; empty where gRPC's words say all."""
    words, target = error.details() or "", server.target
    if error.code().name != "UNAVAILABLE":
        return ""
    if server.has_tls:
        place = endpoint(server.address)
        return await refusal(server, place) if isinstance(place, tuple) and "failed to connect" in words else ""
    if not _CONNECTED.search(words):
        return ""
    heard = await _ask(target, _REQUEST)
    if heard is None or _is_http2(heard):
        return ""  # it is gone, or a gRPC server that has just come
    if not heard:
        heard = await _ask(target, _tls_greeting()) or b""
    return _sentence(heard).format(target=target, what=_name(heard))


def _sentence(heard: bytes) -> str:
    if heard.startswith(_TLS_RECORDS) or _WANTS_TLS.search(heard):
        return _TLS
    return _OTHER if heard else _MUTE


def _name(heard: bytes) -> str:
    """The kind of server that says such words."""
    if _HTTP.match(heard):
        named = _SERVER_HEADER.search(heard)
        return f"an HTTP/1 server ({named[1].decode('ascii').strip()})" if named else "an HTTP/1 server"
    return next((name for words, name in _GREETINGS.items() if heard.startswith(words)), "a server of another protocol")


def _is_http2(heard: bytes) -> bool:
    return len(heard) >= 9 and heard[0] == 0 and heard[3] in _HTTP2_FRAMES


def _tls_greeting() -> bytes:
    """The first words of a TLS client."""
    said = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), said, server_hostname="localhost").do_handshake()
    return said.read()


async def _ask(target: str, request: bytes) -> bytes | None:
    """The first words of the server; empty for one that closes or says nothing, None where there is none."""
    place = endpoint(target)
    if place is None:
        return None
    heard: bytes | None = None
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_SECONDS):
            if isinstance(place, str):
                reader, writer = await asyncio.open_unix_connection(place)
            else:
                reader, writer = await asyncio.open_connection(*place)
            heard = b""
            try:
                writer.write(request)
                heard = await reader.read(_MOST_BYTES)
            finally:
                writer.close()
    return heard
