"""The pages of the admin address: `/metrics` of all processes, `/healthz` and `/readyz`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus

from headwater_server.telemetry.admin import Answer, serving
from headwater_server.telemetry.metrics import Metrics
from headwater_server.telemetry.metrics_text import CONTENT_TYPE, united
from headwater_server.transport.port import check_port, taken
from headwater_server.transport.process_server import ProcessServer

CURE = "choose with admin_address"


@asynccontextmanager
async def serving_admin(host: str, port: int, server: ProcessServer, metrics: Metrics) -> AsyncIterator[int]:
    """Serves the pages in the block; the port. Raises PortTakenError.

    Args:
        host, port: the address; port 0 is any free one.
        server: says whether it takes calls, and asks its siblings.
        metrics: those of this process.
    """
    one_at_a_time = asyncio.Lock()

    async def show_metrics() -> Answer:
        async with one_at_a_time:
            siblings = await server.metrics_of_siblings()
            text = await asyncio.to_thread(united, server.index, metrics.registry, siblings)
        return Answer(HTTPStatus.OK, text, CONTENT_TYPE)

    async def show_health() -> Answer:
        return Answer(HTTPStatus.OK)

    async def show_ready() -> Answer:
        return Answer(HTTPStatus.OK if server.is_ready else HTTPStatus.SERVICE_UNAVAILABLE)

    check_port(host, port, CURE)
    pages = {"/metrics": show_metrics, "/healthz": show_health, "/readyz": show_ready}
    async with AsyncExitStack() as stack:
        try:
            found = await stack.enter_async_context(serving(host, port, pages))
        except OSError as error:
            raise taken(host, port, error, CURE) from error
        yield found
