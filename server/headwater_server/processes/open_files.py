"""The limit of open files: each connection of a caller, and each to a provider, takes one."""

from __future__ import annotations

import resource

import structlog

from headwater_server.domain.limits import open_files

LOW = 4_096

_CURE = "raise the hard limit: ulimit -Hn in a shell, LimitNOFILE= of systemd, --ulimit nofile= of Docker"

log = structlog.get_logger("headwater.server")


def raise_open_files() -> None:
    """Raises the limit of this process, and of those that it starts, to 65,536 or as far as it may.

    It says so, and warns of a limit that is below 4,096 even then.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = open_files(soft, hard)
    if 0 <= soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        log.info("open files", open_files=limit, before=soft)
    if limit < LOW:
        log.warning("few open files", open_files=limit, why="each connection takes one", cure=_CURE)
