"""What every RPC has in common: its errors become a status with details, and its end is logged.

A log line has who, what and how long, never what was said.

How a caller who leaves looks from here: the handler's task is cancelled; but where it waits in a write, the write
raises one of gRPC's own errors instead. Both are an ordinary end.

A call that another process of this server has answered ends with that process's status, as it is.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf.message import Message

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.telemetry.logging import fault_facts
from headwater_server.transport.status import abort, abort_alike, code_of

Context = grpc.aio.ServicerContext[Any, Any]
Self = TypeVar("Self")
Request = TypeVar("Request", bound=Message)
Reply = TypeVar("Reply")

log = structlog.get_logger("headwater.rpc")


Method = Callable[[Self, Request, Context], Awaitable[Reply]]


def rpc(method: Method[Self, Request, Reply]) -> Method[Self, Request, Reply]:
    """Wraps a method of a servicer: see the module."""
    return rpc_as(method.__name__, method)


def rpc_as(name: str, method: Method[Self, Request, Reply]) -> Method[Self, Request, Reply]:
    """Wraps a method that answers the RPC of this name."""

    @functools.wraps(method)
    async def handle(self: Self, request: Request, context: Context) -> Reply:
        began = time.monotonic()
        structlog.contextvars.clear_contextvars()
        code, level, facts = "OK", "info", {}
        try:
            return await method(self, request, context)
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        except HeadwaterError as error:
            code, facts = code_of(error).name, _facts(error)
            if error.reason is Reason.INTERNAL:
                level = "error"
                log.error("fault", rpc=name, **fault_facts(error.__cause__ or error))
            await abort(context, error)
            raise  # abort raises; this says so to the type checker
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            await abort_alike(context, error)
            raise
        except grpc.aio.InternalError:
            code = "CANCELLED"
            raise asyncio.CancelledError from None
        except Exception as error:
            code, level = "INTERNAL", "error"
            log.error("fault", rpc=name, **fault_facts(error))
            await abort(context, HeadwaterError(Reason.INTERNAL, "Headwater failed; its log says why"))
            raise
        finally:
            seconds = round(time.monotonic() - began, 4)
            getattr(log, level)("rpc", rpc=name, code=code, seconds=seconds, **facts)

    return handle


def _facts(error: HeadwaterError) -> dict[str, Any]:
    """What may be logged of an error: never its message, in which a provider may quote the prompt."""
    facts: dict[str, Any] = {"reason": error.reason.value}
    for key in ("http_status", "provider_code", "provider_request_id", "cause"):
        if key in error.metadata:
            facts[key] = error.metadata[key]
    if error.violations:
        facts["fields"] = [violation.field for violation in error.violations[:10]]
    return facts
