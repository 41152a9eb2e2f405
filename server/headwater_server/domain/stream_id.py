"""Ids of streams: `str_<index of the process that opened it>_<22 random characters>`.

A call about a stream finds the process that has it by the id alone.
"""

from __future__ import annotations

import re
import secrets

_FORM = re.compile(r"str_([0-9]{1,4})_[A-Za-z0-9_-]{22}")


def new_stream_id(index: int) -> str:
    """The id of a new stream of the process with this index."""
    return f"str_{index}_{secrets.token_urlsafe(16)}"


def index_of(stream_id: str) -> int | None:
    """The index of the process that opened the stream; None for a text that is not an id of a stream."""
    form = _FORM.fullmatch(stream_id)
    return int(form[1]) if form else None
