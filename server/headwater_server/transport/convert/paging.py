"""Pages of a list (AIP-158): how large, and where the next one begins."""

from __future__ import annotations

import base64
import binascii

from headwater_server.domain.errors import invalid

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000


def page_size(asked: int) -> int:
    """The size of a page. Raises HeadwaterError (INVALID_REQUEST) for a negative one."""
    if asked < 0:
        raise invalid("page_size", f"must not be negative, is {asked}")
    return min(asked, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE


def page_start(token: str) -> int:
    """The position after which the page begins. Raises HeadwaterError (INVALID_REQUEST) for another's token."""
    if not token:
        return 0
    try:
        version, _, position = base64.urlsafe_b64decode(token.encode("ascii")).decode("ascii").partition(":")
        if version == "1" and position.isdecimal() and len(position) < 19:
            return int(position)
    except (binascii.Error, ValueError):
        pass
    raise invalid("page_token", "is not a next_page_token of this list; leave it out to begin at the first page")


def page_token(position: int) -> str:
    """The token of the page after this position; empty for 0, which stands for no further page."""
    return base64.urlsafe_b64encode(f"1:{position}".encode()).decode() if position else ""
