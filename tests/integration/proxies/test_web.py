"""A page in a browser calls through Envoy: gRPC-Web over HTTP/1.1, and CORS for the origins of examples/proxies/envoy.yaml."""

from __future__ import annotations

import http.client
import ssl
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from headwater.v1 import StreamChunk, StreamRequest
from tests.support.servers.certificates import Authority

STREAM = "/headwater.v1.AgentService/Stream"
PAGE = "https://app.example.com"
TRAILERS = 0x80

pytestmark = pytest.mark.parametrize("name", ["envoy"], indirect=True)  # nginx has no gRPC-Web


@contextmanager
def response(
    front: str, authority: Authority, method: str, body: bytes = b"", **headers: str
) -> Iterator[http.client.HTTPResponse]:
    """The answer, whose body has not been read yet."""
    host = front.removeprefix("https://")
    context = ssl.create_default_context(cafile=str(authority.file))
    with closing(http.client.HTTPSConnection(host, timeout=10, context=context)) as connection:
        connection.request(method, STREAM, body, {key.replace("_", "-"): value for key, value in headers.items()})
        yield connection.getresponse()


def body(**script: object) -> bytes:
    """A request as gRPC-Web sends it."""
    request = StreamRequest(prompt="x", agent={"model": "scripted/echo"})
    request.agent.provider_options["scripted"].update(script)
    data = request.SerializeToString()
    return struct.pack(">BI", 0, len(data)) + data


def message(answer: http.client.HTTPResponse) -> tuple[int, bytes]:
    """The next message, or the trailers, and its flag."""
    flag, length = struct.unpack(">BI", answer.read(5))
    return flag, answer.read(length)


def test_each_chunk_arrives_alone_and_the_status_last(front, authority):
    headers = {"content_type": "application/grpc-web+proto", "origin": PAGE}
    with response(front, authority, "POST", body(text="one two", delay_ms=5), **headers) as answer:
        assert answer.getheader("access-control-allow-origin") == PAGE
        assert "grpc-status-details-bin" in str(answer.getheader("access-control-expose-headers"))
        chunks = []
        while (read := message(answer))[0] != TRAILERS:
            chunks.append(StreamChunk.FromString(read[1]))
    assert ("".join(chunk.content for chunk in chunks), chunks[-1].is_final) == ("one two", True)
    assert b"grpc-status:0" in read[1]


def test_a_chunk_arrives_although_no_other_follows(front, authority):
    headers = {"content_type": "application/grpc-web+proto", "origin": PAGE}
    with response(front, authority, "POST", body(text="one two", hang_after=1), **headers) as answer:
        assert StreamChunk.FromString(message(answer)[1]).content == "one"


@pytest.mark.parametrize(("origin", "allowed"), [(PAGE, PAGE), ("https://other.example.com", None)])
def test_a_browser_is_told_which_pages_may_call(front, authority, origin, allowed):
    asked = {"access_control_request_method": "POST", "access_control_request_headers": "content-type,x-grpc-web"}
    with response(front, authority, "OPTIONS", origin=origin, **asked) as answer:
        assert answer.getheader("access-control-allow-origin") == allowed
