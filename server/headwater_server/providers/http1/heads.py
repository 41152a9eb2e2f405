"""The head of a request, as bytes."""

from __future__ import annotations

from collections.abc import Mapping


def request_head(method: str, host: str, target: bytes, headers: Mapping[str, str], length: int | None) -> bytes:
    """The head of a request.

    Args:
        method: of the request.
        host: name and port, as the URL has them.
        target: path and query, encoded.
        headers: further ones.
        length: of the body; None: there is none.

    Raises ValueError for a header that is not ASCII or has a line break, with which it could pass for two.
    """
    size = "" if length is None else f"content-length: {length}\r\n"
    lines = "".join(map("%s: %s\r\n".__mod__, headers.items()))
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers) or "\0" in lines:
        raise ValueError("a header has a line break in it")
    return b"%b %b HTTP/1.1\r\nhost: %b\r\n%b%b\r\n" % (
        method.encode(),
        target,
        host.encode("ascii"),
        lines.encode("ascii"),
        size.encode(),
    )
