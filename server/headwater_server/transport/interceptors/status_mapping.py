"""Makes the exception of a handler the status of its call.

| raised | the call ends with |
| --- | --- |
| HeadwaterError | its code and its details (`transport.status`) |
| JournalError, unless the journal is damaged | JOURNAL_UNAVAILABLE; the journal's lines in the log say why |
| AioRpcError, of a call that another process of this server has answered | that process's status, as it is |
| any other exception | INTERNAL; the log has it as a `fault` |

A caller that leaves shows here in one of two ways: gRPC cancels the handler's task; but where the task waits in a
write, the write raises one of gRPC's own errors (`grpc.aio.InternalError`) instead. Both are an ordinary end:
CANCELLED. A caller that leaves before its status could be sent, because it does not read, makes gRPC report a failure
there. That is no fault either, and stays out of the log.

The facts of an error that may be logged are on the call's line (`call_log`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import grpc
import structlog

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.telemetry.call_facts import add_facts
from headwater_server.telemetry.frames import forget_frames
from headwater_server.telemetry.logging import fault_facts
from headwater_server.transport.handlers import Behaviour, Context
from headwater_server.transport.interceptors.interceptor import Interceptor, method_name
from headwater_server.transport.status import end, end_alike
from headwater_server.workflows.journal.base import JournalDamagedError, JournalError

log = structlog.get_logger("headwater.rpc")


def _is_report(record: logging.LogRecord) -> bool:
    """Whether the record is not about a caller that left while its status was sent."""
    return not (record.exc_info and isinstance(record.exc_info[1], grpc.aio.InternalError))


class StatusMapping(Interceptor):
    """Ends each call with a status: see the module.

    Args:
        on_failed: called with the method and the reason of each call that ends with an error of this process.
    """

    def __init__(self, on_failed: Callable[[str, Reason], object] = lambda _method, _reason: None) -> None:
        super().__init__()
        self._on_failed = on_failed
        logging.getLogger("grpc._cython.cygrpc").addFilter(_is_report)

    def around(self, path: str, behaviour: Behaviour) -> Behaviour:
        """Ends the call with the status of the exception that the behaviour raises."""
        name = method_name(path)

        async def mapped(request: Any, context: Context) -> Any:
            try:
                return await behaviour(request, context)
            except grpc.aio.InternalError as error:
                forget_frames(error)
                raise asyncio.CancelledError from None
            except asyncio.CancelledError as error:
                forget_frames(error)
                raise
            except Exception as error:  # noqa: BLE001  each has its status; the log says why it is INTERNAL
                if (reason := _end(context, name, error)) is not None:
                    self._on_failed(name, reason)
                forget_frames(error)
            return None  # gRPC sends the status

        return mapped


def _end(context: Context, name: str, error: Exception) -> Reason | None:
    """Gives the call the status of an exception. Returns its reason; None for a status that is not of this process."""
    if isinstance(error, grpc.aio.AbortError):
        return None  # the handler has ended the call itself, as health does; gRPC raises it again
    if isinstance(error, grpc.aio.AioRpcError):
        end_alike(context, error)
        return None
    if isinstance(error, JournalError) and not isinstance(error, JournalDamagedError):
        error = _journal_unavailable()
    if isinstance(error, HeadwaterError):
        if error.reason is Reason.INTERNAL:
            log.error("fault", rpc=name, **fault_facts(error.__cause__ or error))
        add_facts(**_facts(error))
        end(context, error)
        return error.reason
    log.error("fault", rpc=name, **fault_facts(error))
    end(context, HeadwaterError(Reason.INTERNAL, "Headwater failed; its log says why"))
    return Reason.INTERNAL


def _journal_unavailable() -> HeadwaterError:
    message = "the server cannot use its journal of runs now, and its log says why; try again"
    return HeadwaterError(Reason.JOURNAL_UNAVAILABLE, message, retry_after_seconds=1.0)


def _facts(error: HeadwaterError) -> dict[str, Any]:
    """The facts of an error that may be logged: never its message, in which a provider may quote the prompt."""
    facts: dict[str, Any] = {"reason": error.reason.value}
    for key in ("http_status", "provider_code", "provider_request_id", "cause"):
        if key in error.metadata:
            facts[key] = error.metadata[key]
    if error.violations:
        facts["fields"] = [violation.field for violation in error.violations[:10]]
    return facts
