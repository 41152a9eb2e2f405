"""All that a process of the server takes calls with: its gRPC servers and, beside siblings, the calls to them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from headwater.v1 import (
    operator_service_pb2_grpc,
    worker_service_pb2_grpc,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)
from headwater_server.attempts.offers import Offers
from headwater_server.attempts.opening import StreamOpener
from headwater_server.callers.known_callers import KnownCallers
from headwater_server.callers.sealed_caller import CallerSeal
from headwater_server.domain.process_identity import ProcessIdentity
from headwater_server.streaming.replays import Replays
from headwater_server.streaming.running_streams import RunningStreams
from headwater_server.streaming.times.idle import IDLE_SECONDS
from headwater_server.telemetry.counting.status import ServerStatus, status_of
from headwater_server.telemetry.metrics import Metrics
from headwater_server.telemetry.metrics_text import families_of_all
from headwater_server.telemetry.tracing.spans import Tracer
from headwater_server.transport.certificates import TlsFiles
from headwater_server.transport.fronts import DEFAULT_LIMITS, GRPCIO, FrontName, ServerLimits
from headwater_server.transport.owners.metrics import metrics_of, metrics_service
from headwater_server.transport.owners.relay import Relay
from headwater_server.transport.owners.routing import RoutedAgentService, relayed_services
from headwater_server.transport.port import UNIX
from headwater_server.transport.server import AddService, GrpcServer, SiblingServer
from headwater_server.transport.services.agent import AgentService, add_agent_service
from headwater_server.transport.services.operator import OperatorService
from headwater_server.transport.services.worker import WorkerService
from headwater_server.transport.services.workflow import WorkflowService
from headwater_server.transport.shared_socket import SharedSocket
from headwater_server.workflows.journal.base import Journal

_WORKFLOWS = workflow_service_pb2.DESCRIPTOR.services_by_name["WorkflowService"].full_name

OWNER_FIRST_SECONDS = 2.0
"""How much longer the calls to siblings may take to drain: the owner, not the relay, reports its calls' timeouts."""

SIBLINGS_LATE_SECONDS = 0.5
"""How much later a sibling may begin to drain on a busy machine; until then it passes calls on to this process."""


@dataclass(frozen=True, slots=True)
class StreamServices:
    """The parts of the AgentService; see there."""

    opener: StreamOpener
    offers: Offers
    streams: RunningStreams
    replays: Replays
    version: str
    idle_reader_seconds: float = IDLE_SECONDS


@dataclass(frozen=True, slots=True)
class RunServices:
    """The services that the owner of the runs has."""

    workflows: WorkflowService
    workers: WorkerService


class ProcessServer:
    """Takes the calls of a process, from `start` to `stop`.

    Args:
        identity: which process this is.
        streams: for the AgentService, which every process has.
        runs: the other services; None in a process that passes them on to their owner.
        callers: those who may call.
        limits: how much its callers may take.
        tls: the files of the port's certificate; None: it speaks no TLS. Siblings never do.
        metrics: of this process, for siblings that ask for them.
        front: the kind of its servers.
        tracer: makes spans of calls; None: there are no traces.
        reflection: whether callers may ask which methods there are.
    """

    def __init__(
        self,
        identity: ProcessIdentity,
        streams: StreamServices,
        runs: RunServices | None,
        callers: KnownCallers,
        limits: ServerLimits = DEFAULT_LIMITS,
        tls: TlsFiles | None = None,
        metrics: Metrics | None = None,
        front: FrontName = GRPCIO,
        tracer: Tracer | None = None,
        reflection: bool = True,
    ) -> None:
        self._identity = identity
        self._siblings: SiblingServer | None = None
        self._relay: Relay | None = None
        self._shared: SharedSocket | None = None
        self._metrics = metrics or Metrics()
        operator = OperatorService(self.status, streams.version)
        operators: AddService = partial(operator_service_pb2_grpc.add_OperatorServiceServicer_to_server, operator)
        made_of = (
            streams.opener,
            streams.offers,
            streams.streams,
            streams.replays,
            streams.version,
            streams.idle_reader_seconds,
        )
        local = [_agents(AgentService(*made_of)), *_runs(runs)]
        if identity.count > 1:
            inner = [*local, metrics_service(self._metrics)]
            seal = CallerSeal(identity.secret)
            self._siblings = SiblingServer(inner, seal, limits.max_request_bytes, self._metrics, front, tracer)
            self._relay = Relay(identity)
            routed = _agents(RoutedAgentService(identity, self._relay, *made_of))
            public = [routed, *(_runs(runs) or relayed_services(self._relay)), operators]
        else:
            public = [*local, operators]
        self._public = GrpcServer(
            public,
            callers,
            limits,
            shares_port=identity.count > 1,
            tls=tls,
            metrics=self._metrics,
            front=front,
            tracer=tracer,
            reflection=reflection,
        )

    @property
    def index(self) -> int:
        """Which process this is."""
        return self._identity.index

    @property
    def is_ready(self) -> bool:
        """Whether it takes calls."""
        return self._public.is_ready

    async def metrics_of_siblings(self) -> dict[int, bytes | None]:
        """The text of the metrics of each sibling; None for one that does not answer."""
        if self._relay is None:
            return {}
        siblings = self._identity.siblings
        texts = await asyncio.gather(*(metrics_of(self._relay, sibling) for sibling in siblings))
        return dict(zip(siblings, texts, strict=True))

    async def status(self) -> ServerStatus:
        """The state of the whole server."""
        siblings = await self.metrics_of_siblings()
        return await asyncio.to_thread(lambda: status_of(families_of_all(self.index, self._metrics.registry, siblings)))

    @property
    def port(self) -> int:
        """The port listened on, once started."""
        return self._public.port

    @property
    def relayed(self) -> int:
        """How many calls are being answered by siblings."""
        return len(self._relay) if self._relay else 0

    async def start(self, host: str, port: int) -> None:
        """Listens for siblings, then for everybody. Raises PortTakenError and CertificateError."""
        if self._siblings:
            await self._siblings.start(self._identity.socket(self._identity.index))
        if self._identity.listener is None:
            await self._public.start(host, port)
        else:
            private = self._identity.public_socket
            await self._public.start(f"{UNIX}{private}", 0)
            self._shared = SharedSocket(str(private))
            await self._shared.start(self._identity.listener)

    async def report_runs(self, journal: Journal) -> None:
        """Says to health checks whether the WorkflowService can write its journal, until it is cancelled."""
        while True:
            await journal.changed.wait()
            journal.changed.clear()
            await self._public.report_health(_WORKFLOWS, journal.is_writable)

    async def announce_end(self) -> None:
        """Closes the port, and sends each client GOAWAY: its calls continue, its next one goes to another address."""
        if self._shared:
            self._shared.leave()
        await self._public.announce_end()

    async def drain(self, seconds: float) -> None:
        """Waits for the calls that siblings answer, a little longer than `seconds`, and ends those that are left."""
        if self._relay:
            await self._relay.drain(seconds + OWNER_FIRST_SECONDS)

    async def stop(self) -> None:
        """Closes the port and all connections; calls that still run get a moment to send their status."""
        await self._public.stop()
        if self._shared:
            await self._shared.stop()
        if self._relay:
            await self._relay.close()
        if self._siblings:
            await asyncio.sleep(SIBLINGS_LATE_SECONDS)
            await self._siblings.stop()


def _agents(service: AgentService) -> AddService:
    return partial(add_agent_service, service)


def _runs(services: RunServices | None) -> list[AddService]:
    if services is None:
        return []
    return [
        partial(workflow_service_pb2_grpc.add_WorkflowServiceServicer_to_server, services.workflows),
        partial(worker_service_pb2_grpc.add_WorkerServiceServicer_to_server, services.workers),
    ]
