"""A name server of the DNS that has one answer to every question, from `with` to the end of its block."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Sequence
from typing import Self

HEADER_BYTES = 12
ANSWERED = b"\x81\x80"
A, IN = 1, 1
QUESTION_NAME = b"\xc0\x0c"
"""Points an answer to the name in the question."""


class NameServer:
    """Answers each question about IPv4 addresses with these; a name has no other records.

    Attributes:
        port: where it listens, by UDP.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._answer_all, daemon=True)
        self.port = 0

    def __enter__(self) -> Self:
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(10)
        self._socket.close()

    def _answer_all(self) -> None:
        while True:
            question, caller = self._socket.recvfrom(4096)
            if not question:
                return
            self._socket.sendto(self._answer(question), caller)

    def _answer(self, question: bytes) -> bytes:
        end = HEADER_BYTES
        while question[end]:  # the parts of the name, each with its length before it
            end += question[end] + 1
        (kind,) = struct.unpack_from(">H", question, end + 1)
        found = self._addresses if kind == A else ()
        counts = struct.pack(">HHHH", 1, len(found), 0, 0)
        records = (QUESTION_NAME + struct.pack(">HHIH", A, IN, 1, 4) + socket.inet_aton(address) for address in found)
        return question[:2] + ANSWERED + counts + question[HEADER_BYTES : end + 5] + b"".join(records)
