"""OperatorService: the state of the whole server, from the metrics of all of its processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from headwater.v1 import operator_service_pb2, operator_service_pb2_grpc
from headwater_server.domain.costs.amounts import cost_text
from headwater_server.telemetry.counting.status import ModelStatus, ServerStatus
from headwater_server.transport.convert.durations import duration
from headwater_server.transport.convert.paging import fitting
from headwater_server.transport.convert.replies import MAX_INT32, timestamp
from headwater_server.transport.handlers import Context

MAX_MODELS = 1_000


class OperatorService(operator_service_pb2_grpc.OperatorServiceServicer):
    """Answers operators.

    Args:
        read: reads the state of the server.
        version: of the server.
    """

    def __init__(self, read: Callable[[], Awaitable[ServerStatus]], version: str) -> None:
        self._read = read
        self._version = version
        self._one_at_a_time = asyncio.Lock()

    async def GetServerStatus(  # noqa: N802
        self, request: operator_service_pb2.GetServerStatusRequest, context: Context
    ) -> operator_service_pb2.GetServerStatusResponse:
        """Says how the server does."""
        async with self._one_at_a_time:
            status, read = await self._read(), time.time()
        return server_status(status, timestamp(read), self._version)


def server_status(status: ServerStatus, read: Timestamp, version: str) -> operator_service_pb2.GetServerStatusResponse:
    """The state of the server as a message."""
    models = sorted(status.models.items(), key=_most_first)[:MAX_MODELS]
    return operator_service_pb2.GetServerStatusResponse(
        read_time=read,
        server_version=version,
        processes=[_process(index, counts) for index, counts in sorted(status.processes.items())],
        models=fitting(_model(provider, model, found) for (provider, model), found in models),
        queues=[_queue(queue, counts) for queue, counts in sorted(status.queues.items())],
        open_runs=_whole(status.server, "open_runs"),
        journal_bytes=status.server["journal_bytes"],
    )


def _most_first(model: tuple[tuple[str, str], ModelStatus]) -> tuple[Any, ...]:
    name, found = model
    return -found.counts["open_streams"], -found.counts["chunks"], name


def _process(index: int, counts: Mapping[str, float]) -> operator_service_pb2.ProcessStatus:
    if not counts["answers"]:
        return operator_service_pb2.ProcessStatus(process=index)
    return operator_service_pb2.ProcessStatus(
        process=index,
        answers=True,
        start_time=timestamp(counts["start_time"]),
        open_streams=_whole(counts, "open_streams"),
        cpu_seconds=counts["cpu_seconds"],
        memory_bytes=counts["memory_bytes"],
        open_files=_whole(counts, "open_files"),
        loop_lag=duration(counts["loop_lag_seconds"]),
    )


def _model(provider: str, model: str, found: ModelStatus) -> operator_service_pb2.ModelStatus:
    return operator_service_pb2.ModelStatus(
        provider=provider,
        model=model,
        open_streams=_whole(found.counts, "open_streams"),
        ended_streams=found.counts["ended_streams"],
        failed_streams=found.counts["failed_streams"],
        chunks=found.counts["chunks"],
        input_tokens=found.counts["input_tokens"],
        output_tokens=found.counts["output_tokens"],
        cost="" if found.cost is None else cost_text(found.cost),
        open_circuits=_whole(found.counts, "open_circuits"),
        half_open_circuits=_whole(found.counts, "half_open_circuits"),
    )


def _queue(queue: str, counts: Mapping[str, float]) -> operator_service_pb2.QueueStatus:
    return operator_service_pb2.QueueStatus(
        queue=queue,
        workers=_whole(counts, "workers"),
        waiting_tasks=_whole(counts, "waiting_tasks"),
        running_tasks=_whole(counts, "running_tasks"),
    )


def _whole(counts: Mapping[str, float], name: str) -> int:
    return min(int(counts[name]), MAX_INT32)
