"""gRPC, loaded with the first call: importing the client and making agents leave the host program as it is.

Modules that need gRPC at run time write `from headwater._grpc.loading import grpc` and use it in functions only. The
first call loads it in a thread, since it takes a tenth of a second in which no event loop should stand still.
"""

from __future__ import annotations

import logging
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def is_loaded() -> bool:
    """Whether `load` has been called."""
    return _loaded


def load() -> Any:
    """Import gRPC and the stubs of the contract; the module `grpc`."""
    global _loaded
    # gRPC's core writes its notes ("Got goaway ...") to standard error unless this is set before it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
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
