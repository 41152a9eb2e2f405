"""Makes the exception of a handler the status of its call.

| raised | the call ends with |
| --- | --- |
| HeadwaterError | its code and its details (`transport.status`) |
| JournalError, unless the journal is damaged | JOURNAL_UNAVAILABLE; the journal's lines in the log say why |
| AioRpcError, of a call that another process of this server has answered | that process's status, as it is |
| any other exception | INTERNAL; the log has it as a `fault` |

A caller that leaves shows here in one of two ways: gRPC cancels the handler's task; but where the task waits in a
write, the write raises one of gRPC's own errors (`grpc.aio.InternalError`) instead. Both are an ordinary end:
CANCELLED.

The facts of an error that may be logged are on the call's line (`call_log`).
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import structlog

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.telemetry.logging import fault_facts
from headwater_server.transport.handlers import Behaviour, Context
from headwater_server.transport.interceptors.interceptor import Interceptor, method_name
from headwater_server.transport.status import end, end_alike
from headwater_server.workflows.journal.base import JournalDamagedError, JournalError

log = structlog.get_logger("headwater.rpc")


class StatusMapping(Interceptor):
    """Ends each call with a status: see the module."""

    def around(self, path: str, behaviour: Behaviour) -> Behaviour:
        """Ends the call with the status of the exception that the behaviour raises."""
        name = method_name(path)

        async def mapped(request: Any, context: Context) -> Any:
            try:
                return await behaviour(request, context)
            except HeadwaterError as error:
                _end(context, name, error)
            except grpc.aio.AioRpcError as error:
                end_alike(context, error)
            except grpc.aio.InternalError:
                raise asyncio.CancelledError from None
            except grpc.aio.AbortError as error:  # the handler has ended the call itself, as health does
                _forget(error)
            except Exception as error:  # noqa: BLE001  its call ends with INTERNAL, and the log says why
                if isinstance(error, JournalError) and not isinstance(error, JournalDamagedError):
                    _end(context, name, _journal_unavailable())
                else:
                    log.error("fault", rpc=name, **fault_facts(error))
                    end(context, HeadwaterError(Reason.INTERNAL, "Headwater failed; its log says why"))
            return None  # gRPC sends the status

        return mapped


def _end(context: Context, name: str, error: HeadwaterError) -> None:
    if error.reason is Reason.INTERNAL:
        log.error("fault", rpc=name, **fault_facts(error.__cause__ or error))
    structlog.contextvars.bind_contextvars(**_facts(error))
    end(context, error)


def _forget(error: grpc.aio.AbortError) -> None:
    """Frees the frames of the handler: gRPC keeps the exception with the call, and raises it again."""
    error.__traceback__ = error.__context__ = error.__cause__ = None


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
