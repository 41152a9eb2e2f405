"""The head of a call and its end: gRPC's headers and metadata (gRPC over HTTP/2, "Requests" and "Responses")."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple, TypeAlias
from urllib.parse import quote

import grpc

from headwater_server.transport.http2.calls.messages import ENCODINGS, RefusedError
from headwater_server.transport.http2.headers import FIELD_BYTES, SHORT, SIZES, literal

Metadata: TypeAlias = "Iterable[tuple[str, str | bytes]]"


class Metadatum(NamedTuple):
    """An entry of metadata."""

    key: str
    value: str | bytes


class Head(NamedTuple):
    """The beginning of a call.

    Attributes:
        path: `/package.Service/Method`, as it came: it need not be UTF-8.
        metadata: of the caller.
        timeout: seconds; None: no deadline.
        encoding: of its compressed messages.
    """

    path: str
    metadata: tuple[Metadatum, ...]
    timeout: float | None
    encoding: str


class NoCallError(Exception):
    """The request is none of gRPC.

    Args:
        status: the HTTP status to answer with.
        method: of the request.
    """

    def __init__(self, status: int, method: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.method = method


MOST_ENTRIES = 256
"""Entries of a call's metadata. Three bytes of a peer can name thousands of empty ones."""
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])")
_KEY = re.compile(r"[0-9a-z_.-]+")
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_OWN = frozenset(
    (b"te", b"content-type", b"content-length", b"accept-encoding", b"grpc-accept-encoding", b"grpc-timeout")
)

_CONTENT = literal(b"content-type", b"application/grpc")
_ACCEPTED = literal(b"grpc-accept-encoding", ", ".join(ENCODINGS).encode())
_HEAD = b"\x88" + _CONTENT + _ACCEPTED  # 0x88 is `:status: 200` of HPACK's fixed table
_HEAD_BYTES = 150
"""About what the list of these has, as HTTP/2 counts it."""
_OK = literal(b"grpc-status", b"0")


def read_head(fields: Iterable[tuple[bytes, bytes]]) -> Head:
    """Reads the headers of a call. Raises NoCallError, and RefusedError."""
    path, timeout, encoding = "", None, "identity"
    metadata: list[Metadatum] = []
    method = content_type = b""
    for name, value in fields:
        if name[:1] == b":":
            if name == b":path":
                path = value.decode("latin-1")
            elif name == b":method":
                method = value
        elif name in _OWN:
            if name == b"content-type":
                content_type = value
            elif name == b"grpc-timeout":
                timeout = _seconds(value)
        elif name == b"grpc-encoding":
            encoding = value.decode("latin-1")
        elif name.endswith(b"-bin"):
            _check_count(len(metadata) + value.count(b","))
            metadata += [Metadatum(name.decode("ascii"), _binary(name, part)) for part in value.split(b",")]
        else:
            metadata.append(Metadatum(name.decode("ascii"), value.decode("latin-1")))
    _check_count(len(metadata) - 1)
    if method != b"POST":
        raise NoCallError(405, method)
    if content_type != b"application/grpc" and not content_type.startswith(
        (b"application/grpc+", b"application/grpc;")
    ):
        raise NoCallError(415, method)
    if encoding not in ENCODINGS:
        what = f"grpc-encoding is {encoding[:40]!r}; this server reads {', '.join(ENCODINGS)}"
        raise RefusedError(grpc.StatusCode.UNIMPLEMENTED, what)
    return Head(path, tuple(metadata), timeout, encoding)


def _check_count(count: int) -> None:
    if count >= MOST_ENTRIES:
        raise RefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, f"the metadata has more than {MOST_ENTRIES} entries")


def _seconds(value: bytes) -> float:
    found = _TIMEOUT.fullmatch(value)
    if found is None:
        raise RefusedError(grpc.StatusCode.INTERNAL, "grpc-timeout is no duration")
    return int(found[1]) * _UNITS[found[2].decode("ascii")]


def _binary(name: bytes, value: bytes) -> bytes:
    value = value.strip()
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error:
        raise RefusedError(grpc.StatusCode.INTERNAL, f"{name.decode('ascii')[:40]} is no base64") from None


def _fitting(metadata: Metadata, taken: int, most_bytes: int | None) -> bytes:
    """The metadata as it is sent; empty where it is too much. Raises ValueError for an entry that cannot be sent."""
    size, block = taken, b""
    for key, value in metadata:
        name, begin = _name(key)
        if name[-4:] == b"-bin":
            raw = base64.b64encode(value if isinstance(value, bytes) else value.encode()).rstrip(b"=")
        else:
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            if not (text.isascii() and text.isprintable()):
                raise ValueError(f"the metadata {key!r} is not printable ASCII; bytes have a key that ends in -bin")
            raw = text.encode("ascii")
        size += len(name) + len(raw) + FIELD_BYTES
        block += literal(name, raw) if len(raw) >= SHORT else begin + SIZES[len(raw)] + raw
    return block if most_bytes is None or size <= most_bytes else b""


@lru_cache(maxsize=64)
def _name(key: str) -> tuple[bytes, bytes]:
    """The key of metadata as it is sent, and its field up to the value: there are few keys. Raises ValueError."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"the key {key!r} of metadata has other characters than 0-9 a-z _ . -")
    name = key.encode("ascii")
    return name, literal(name, b"")[:-1]


def headers(metadata: Metadata, most_bytes: int | None) -> bytes:
    """The block of the first headers. Raises ValueError.

    Args:
        metadata: to send along.
        most_bytes: that the caller takes; the metadata is left out when it is too much. None: it has not said.
    """
    return _HEAD + _fitting(metadata, _HEAD_BYTES, most_bytes) if metadata else _HEAD


def trailers(
    code: grpc.StatusCode, message: str, metadata: Metadata, most_bytes: int | None, *, alone: bool = False
) -> bytes:
    """The block of the status; see `headers`.

    Args:
        code: of the status.
        message: of the status, for people.
        metadata: to send along.
        most_bytes: that the caller takes.
        alone: whether no headers were sent before.
    """
    block = _OK if code is grpc.StatusCode.OK else literal(b"grpc-status", b"%d" % code.value[0])
    if message:
        words = quote(message, safe=_PLAIN, errors="replace").encode("ascii")
        if most_bytes is not None:
            words = re.sub(rb"%.?$", b"", words[: max(0, most_bytes - 2 * _HEAD_BYTES)])
        block += literal(b"grpc-message", words)
    if metadata:
        block += _fitting(metadata, _HEAD_BYTES + len(block) + 2 * FIELD_BYTES, most_bytes)
    return _HEAD + block if alone else block
