"""Refuses processes whose threads and sockets a library has replaced by green ones: there gRPC waits for ever.

gRPC's own threads and asyncio's loops need the real ones. The libraries are looked for, never imported.
"""

from __future__ import annotations

import sys

from headwater.exceptions import HeadwaterError

_CURE = (
    "Call Headwater from a process that is not patched, such as gunicorn's with the worker class gthread, or from a "
    "subprocess"
)


def check_not_patched() -> None:
    """Raise HeadwaterError in a process that gevent or eventlet has patched."""
    by = _patched_by()
    if by is not None:
        raise HeadwaterError(
            f"{by} has replaced the threads and sockets of this process, and gRPC would wait for ever. {_CURE}"
        )


def _patched_by() -> str | None:
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and any(map(gevent.is_module_patched, ("threading", "socket", "select", "queue"))):
        return "gevent (monkey.patch_all)"
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and any(map(eventlet.is_monkey_patched, ("thread", "socket", "select"))):
        return "eventlet (monkey_patch)"
    return None
