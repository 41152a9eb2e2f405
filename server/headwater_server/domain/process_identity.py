"""Which of the server's processes this one is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from headwater_server.domain.stream_id import index_of

RUN_OWNER = 0
"""The process that has the runs, their journal and the connections of workers."""

HEARTBEATS = "heartbeats"
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process among those that share the port.

    Attributes:
        index: 0 to `count` - 1.
        count: how many processes share the port.
        sockets: the private folder of the sockets over which the processes call each other, and of their heartbeats;
            None for a single process.
        listener: the descriptor of the Unix socket from which all take connections; None: each listens on the port.
        secret: of the processes of this server, which no other program has.
    """

    index: int = 0
    count: int = 1
    sockets: Path | None = None
    listener: int | None = None
    secret: bytes = field(default=b"", repr=False)

    @property
    def siblings(self) -> list[int]:
        """The other processes."""
        return [index for index in range(self.count) if index != self.index]

    @property
    def owns_runs(self) -> bool:
        """Whether runs and workers belong to this process."""
        return self.index == RUN_OWNER

    def socket(self, index: int) -> Path:
        """The socket on which a process takes the calls of the others. Raises ValueError in a single process."""
        return self._file(f"{index}.sock")

    @property
    def heartbeats(self) -> Path:
        """The file of the heartbeats of all processes. Raises ValueError in a single process."""
        return self._file(HEARTBEATS)

    def _file(self, name: str) -> Path:
        if self.sockets is None:
            raise ValueError("a single process has no siblings")
        return self.sockets / name

    @property
    def public_socket(self) -> Path:
        """The socket to which this process passes the connections that it takes from `listener`."""
        return self.socket(self.index).with_suffix(".public")

    def owner(self, stream_id: str) -> int:
        """The process that has the stream, or had it.

        After a restart with fewer processes, the streams of those that are gone belong to those that remain. A text
        that is not an id of a stream belongs to this process.
        """
        index = index_of(stream_id)
        return self.index if index is None else index % self.count


SINGLE_PROCESS = ProcessIdentity()
"""The identity of a process that has the port to itself."""
