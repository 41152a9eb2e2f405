"""Ids of streams: `str_<index of the process that opened it>_<22 random characters>`, and `_r` for a resumable one.

A call about a stream finds the process that has it by the id alone. A server that has lost the log of a resumable
stream still knows by the id that there was one.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from os import urandom

_RANDOM_BYTES = 16
_FOR_URLS = bytes.maketrans(b"+/", b"-_")

_FORM = re.compile(r"str_([0-9]{1,4})_[A-Za-z0-9_-]{22}(_r)?")


def new_stream_id(index: int, *, resumable: bool = False) -> str:
    """The id of a new stream of the process with this index."""
    chance = b2a_base64(urandom(_RANDOM_BYTES)).rstrip(b"=\n").translate(_FOR_URLS).decode()
    return f"str_{index}_{chance}{'_r' if resumable else ''}"


def is_resumable(stream_id: str) -> bool:
    """Whether the id is that of a stream that was opened as a resumable one."""
    form = _FORM.fullmatch(stream_id)
    return form is not None and form[2] is not None


def index_of(stream_id: str) -> int | None:
    """The index of the process that opened the stream; None for a text that is not an id of a stream."""
    form = _FORM.fullmatch(stream_id)
    return int(form[1]) if form else None
