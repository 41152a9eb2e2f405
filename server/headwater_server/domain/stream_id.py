"""Ids of streams: `str_<index of the process that opened it>_<22 random characters>`, and `_r` for a resumable one.

A call about a stream finds the process that has it by the id alone. A server that has lost the log of a resumable
stream still knows by the id that there was one.
"""

from __future__ import annotations

import re
import secrets

_FORM = re.compile(r"str_([0-9]{1,4})_[A-Za-z0-9_-]{22}(_r)?")


def new_stream_id(index: int, *, resumable: bool = False) -> str:
    """The id of a new stream of the process with this index."""
    return f"str_{index}_{secrets.token_urlsafe(16)}{'_r' if resumable else ''}"


def is_resumable(stream_id: str) -> bool:
    """Whether the id is that of a stream that was opened as a resumable one."""
    form = _FORM.fullmatch(stream_id)
    return form is not None and form[2] is not None


def index_of(stream_id: str) -> int | None:
    """The index of the process that opened the stream; None for a text that is not an id of a stream."""
    form = _FORM.fullmatch(stream_id)
    return int(form[1]) if form else None
