"""gRPC, loaded with the first call: importing the client and making agents leave the host program as it is.

Modules that need gRPC at run time write `from headwater._grpc.loading import grpc` and use it in functions only. The
first call loads it in a thread, since it takes a tenth of a second in which no event loop should stand still.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

_FORK_SUPPORT = "GRPC_ENABLE_FORK_SUPPORT"

if TYPE_CHECKING:
    import grpc as grpc
else:

    class _Grpc:
        """Stands for the module: the first attribute that is asked for imports it."""

        def __getattr__(self, name: str) -> Any:
            value = getattr(load(), name)
            setattr(self, name, value)
            return value

    grpc = _Grpc()


_loaded = False
_has_fork_handlers = False


def is_loaded() -> bool:
    """Whether `load` has been called."""
    return _loaded


def fork_advice() -> str:
    """A sentence for children of a fork, where the program has imported gRPC itself; else nothing."""
    if not _has_fork_handlers:
        return ""
    return f". This program imported gRPC first: set {_FORK_SUPPORT}=0 before that import, or its children may hang"


def load() -> Any:
    """Import gRPC and the stubs of the contract; the module `grpc`."""
    global _loaded, _has_fork_handlers
    # gRPC's core writes its notes ("Got goaway ...") to standard error unless this is set before it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    if "grpc" not in sys.modules:
        # A child of a fork hangs in gRPC's fork handlers; without them it works as long as it makes no call.
        os.environ.setdefault(_FORK_SUPPORT, "0")
    _has_fork_handlers = os.environ.get(_FORK_SUPPORT) != "0"
    import grpc as module

    logging.getLogger("asyncio").addFilter(_is_worth_logging)
    for stubs in ("agent_service", "worker_service", "workflow_service"):
        import_module(f"headwater.v1.{stubs}_pb2_grpc")
    _loaded = True
    return module


def _is_worth_logging(record: logging.LogRecord) -> bool:
    """False for gRPC's false alarm: before 1.80 each of several loops tries to read a wake-up that was for one."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, BlockingIOError) and "PollerCompletionQueue" in record.getMessage())
