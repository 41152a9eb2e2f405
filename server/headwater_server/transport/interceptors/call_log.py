"""The end of every call in the log: one line with the method, the code, the seconds and facts.

A line names the method, the stream or run, and the time, never the content. The handler and the inner interceptors add
facts to the line with `call_facts.add_facts`; no fact is left for the next call.

Calls of gRPC's own services, health and reflection, and of siblings that ask for metrics are logged at level debug: a
health check comes every second. A
provider's failure is logged at level warning, and an INTERNAL at level error, also where another process has answered
with it. The caller's `x-request-id` is on every line that its call writes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import grpc
import structlog

from headwater_server.domain.call_origin import origin, origin_of
from headwater_server.domain.errors import PROVIDER_FAILURES
from headwater_server.telemetry.call_facts import begin_facts
from headwater_server.transport.handlers import Behaviour, Context
from headwater_server.transport.interceptors.interceptor import Interceptor, method_name

OWN_SERVICES = ("/grpc.", "/headwater.siblings.")
"""The paths of gRPC's own services, and of questions between the processes of a server, begin with these."""

log = structlog.get_logger("headwater.rpc")


class CallLog(Interceptor):
    """Logs each call when it has ended."""

    def around(self, path: str, behaviour: Behaviour) -> Behaviour:
        """Logs the end of the behaviour, however it ends."""
        name, line = method_name(path), log.bind()  # the method is called, so that logging is set up
        usual = "debug" if path.startswith(OWN_SERVICES) else "info"
        say_usual = getattr(line, usual)

        async def logged(request: Any, context: Context) -> Any:
            began = time.monotonic()
            facts = begin_facts(peer=context.peer())
            headers = origin_of(context.invocation_metadata() or ())
            origin.set(headers)
            if "x-request-id" in headers:
                facts["request_id"] = headers["x-request-id"]
            code = grpc.StatusCode.UNKNOWN
            try:
                reply = await behaviour(request, context)
                code = context.code() or grpc.StatusCode.OK
                return reply
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                raise
            except Exception:
                code = context.code() or code
                raise
            finally:
                seconds = round(time.monotonic() - began, 4)
                if code is grpc.StatusCode.OK and "reason" not in facts:
                    say_usual("rpc", rpc=name, code="OK", seconds=seconds)  # the name of a member takes a microsecond
                else:
                    say = getattr(line, _level(code, facts) or usual)
                    say("rpc", rpc=name, code=code.name, seconds=seconds)

        return logged


def _level(code: grpc.StatusCode, facts: Mapping[str, object]) -> str | None:
    """The level of a line that somebody should look at; None for any other."""
    if code is grpc.StatusCode.INTERNAL:
        return "error"
    return "warning" if facts.get("reason") in PROVIDER_FAILURES else None
