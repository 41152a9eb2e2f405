"""Pages of a list (AIP-158): how large, and where the next one begins."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import TypeVar

from google.protobuf.message import Message

from headwater_server.domain.errors import HeadwaterError, invalid
from headwater_server.domain.limits import MAX_MESSAGE_BYTES

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

T = TypeVar("T")
M = TypeVar("M", bound=Message)


def page_size(asked: int) -> int:
    """The size of a page. Raises HeadwaterError (INVALID_REQUEST) for a negative one."""
    if asked < 0:
        raise invalid("page_size", f"must not be negative, is {asked}")
    return min(asked, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE


def page_start(token: str) -> int:
    """The position after which the page begins. Raises HeadwaterError (INVALID_REQUEST) for another's token."""
    position = _decode("1", token)
    if not position:
        return 0
    if position.isascii() and position.isdecimal() and len(position) < 19:
        return int(position)
    raise _not_a_token()


def page_token(position: int) -> str:
    """The token of the page after this position; empty for 0, which stands for no further page."""
    return _encode("1", str(position)) if position else ""


def page_by_name(items: Iterable[T], name: Callable[[T], str], size: int, token: str) -> tuple[list[T], str]:
    """A page of the items, sorted by name, and the token of the next page; empty when this is the last.

    Raises HeadwaterError (INVALID_REQUEST) for a bad size or token.
    """
    after, most = _decode("name", token), page_size(size)
    rest = sorted((item for item in items if not token or name(item) > after), key=name)
    return rest[:most], _encode("name", name(rest[most - 1])) if len(rest) > most else ""


def fitting(messages: Iterable[M]) -> list[M]:
    """The first of the messages, as many as fit into one answer with their frames and a token."""
    page: list[M] = []
    bytes_left = MAX_MESSAGE_BYTES
    for message in messages:
        bytes_left -= message.ByteSize() + 100
        if bytes_left < 0:
            break
        page.append(message)
    return page


def _encode(kind: str, position: str) -> str:
    return base64.urlsafe_b64encode(f"{kind}:{position}".encode()).decode()


def _decode(kind: str, token: str) -> str:
    """The position in a token of this kind; empty for an empty token."""
    if not token:
        return ""
    try:
        found, _, position = base64.urlsafe_b64decode(token.encode("ascii")).decode().partition(":")
    except (binascii.Error, ValueError):
        raise _not_a_token() from None
    if found != kind or not position:
        raise _not_a_token()
    return position


def _not_a_token() -> HeadwaterError:
    return invalid("page_token", "is not a next_page_token of this list; leave it out to begin at the first page")
