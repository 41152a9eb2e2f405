"""The settings that there are: their names, bounds and defaults, and the variables that set them."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic_core import core_schema

from headwater_server.config.callers import CallerName, CallerSettings
from headwater_server.config.issuers import IssuerName, JwtSettings
from headwater_server.domain.limits import MAX_ATTEMPTS, MAX_NAME, open_files, streams_with
from headwater_server.providers.settings import ProviderSettings, Seconds
from headwater_server.providers.types import TYPES

ProviderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
AliasName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME)]
PricedName = Annotated[str, StringConstraints(pattern=r"^(\*|[A-Za-z0-9_-]{1,64}/(\*|[^*\s]{1,256}\*?))$")]
Amount = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=9)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _default_data_dir() -> str:
    """Where programs keep their data for a user, by the XDG Base Directory Specification."""
    return os.path.join(os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "headwater")


def _default_max_streams() -> int:
    return streams_with(open_files(*resource.getrlimit(resource.RLIMIT_NOFILE)))


def _check_host(host: str) -> str:
    if host.startswith(("unix-abstract:", "vsock:", "dns:", "ipv4:", "ipv6:")):
        raise ValueError("must be the name or the address of a host, or unix:PATH")
    if host in ("unix:", "unix://"):
        raise ValueError(f"{host} needs the path of a socket, unix:PATH")
    return host


def _check_address(address: str) -> str:
    host, _, port = address.rpartition(":")
    if address and not (host and port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464")
    return address


def _check_endpoint(url: str) -> str:
    address = urlsplit(url)
    if url and (address.scheme not in ("http", "https") or not address.hostname):
        raise ValueError("must be the URL of a collector, such as http://127.0.0.1:4318")
    if address.username or address.password:
        raise ValueError("must have no name or password; set OTEL_EXPORTER_OTLP_HEADERS for them")
    return url


ServerFile = Annotated[str, AfterValidator(os.path.expanduser)]


class ServerSettings(_Settings):
    """`[server]`: the port, the log, the data, and what holds for all providers.

    `tls_cert_file`, `tls_key_file`: PEM files of the certificate, with those between it and its authority, and of its
    private key; callers then need TLS. `tls_client_ca_file`: PEM file of the authorities whose certificates callers
    must have. All are read again when they change. `tls_client_auth`: whether they must, or may show none; `lean` alone
    knows the second. `insecure`: whether a port that other machines reach may do without TLS or without callers.
    `admin_address`: HOST:PORT of the pages for operators; empty for none. `admin_insecure`: whether other machines may
    reach them.
    `otlp_endpoint`: URL of the collector of traces; empty: none, unless OpenTelemetry's own variables name one.
    `trace_content`: whether traces have prompts and replies.
    `authentication_hook`: name of the entry point that knows callers (`callers.hook`); empty for none. `reflection`:
    whether callers may ask which methods there are.
    `front`: which server speaks gRPC, gRPC's own or the one in the event loop.
    `processes`: how many processes of the server share the port; the limits are those of each.
    `max_concurrent_streams`: how many calls a connection may have at once. `max_connections`: how many connections
    there may be. `max_pending_calls`: how many calls may wait for their beginning. `max_connection_idle_seconds`: a
    connection without a call is closed after so long. `max_connection_age_seconds`: one that is so old gets no more
    calls, and is closed when those that it has are over. For these five 0 is no limit. `keepalive_seconds`: a
    connection that was silent for so long is pinged; the answer has a third of that time. `max_requests_mib`: the MiB
    that the requests of all running calls may have. `max_attempts`: how often providers are asked for one reply;
    `retry_wait_seconds`: the wait before the second attempt where the provider says none, which doubles with each
    further one; `max_retry_wait_seconds`: a longer wait is not made. `cool_down_seconds`: a model that failed is passed
    over for so long where there is another. `fallback_on_refusal`: a refusal before any text is such a failure.
    `worker_timeout_seconds`: a worker that hosts handlers is taken for dead when it was not heard for so long.
    `retention_days`: how long runs that have ended are kept. `journal_mib`: the journal of runs takes no more runs
    beyond it. `active_runs_mib`: nor do runs that have not ended take more memory.
    """

    host: Annotated[str, AfterValidator(_check_host)] = "127.0.0.1"
    port: int = Field(50051, ge=0, le=65535)
    tls_cert_file: ServerFile = ""
    tls_key_file: ServerFile = ""
    tls_client_ca_file: ServerFile = ""
    tls_client_auth: Literal["required", "optional"] = "required"
    insecure: bool = False
    admin_address: Annotated[str, AfterValidator(_check_address)] = ""
    admin_insecure: bool = False
    otlp_endpoint: Annotated[str, AfterValidator(_check_endpoint)] = ""
    trace_content: bool = False
    authentication_hook: str = Field("", max_length=MAX_NAME)
    reflection: bool = True
    front: Literal["grpcio", "lean"] = "grpcio"
    processes: int = Field(1, ge=1, le=64)
    max_concurrent_streams: int = Field(2_500, ge=0, lt=2**31)
    max_connections: int = Field(10_000, ge=0, lt=2**31)
    max_pending_calls: int = Field(5_000, ge=0, lt=2**31)
    max_connection_idle_seconds: float = Field(1_800.0, ge=0, le=2_000_000)
    max_connection_age_seconds: float = Field(0.0, ge=0, le=2_000_000)
    keepalive_seconds: float = Field(30.0, ge=0.1, le=86_400)
    max_requests_mib: int = Field(256, ge=1, le=2**20)
    default_model: str = ""
    allow_caller_api_keys: bool = False
    connect_seconds: Seconds = 10.0
    first_chunk_seconds: Seconds = 300.0
    next_chunk_seconds: Seconds = 120.0
    max_silence_seconds: Seconds = 600.0
    total_seconds: Seconds = 3_600.0
    max_attempts: int = Field(3, ge=1, le=MAX_ATTEMPTS)
    retry_wait_seconds: float = Field(0.5, ge=0, le=3_600)
    max_retry_wait_seconds: float = Field(60.0, ge=0, le=3_600)
    cool_down_seconds: float = Field(5.0, ge=0, le=300)
    fallback_on_refusal: bool = False
    detach_seconds: float = Field(60.0, gt=0, le=3_600)
    resume_retention_seconds: float = Field(300.0, gt=0, le=86_400)
    resume_stream_mib: int = Field(8, ge=1, le=1_024)
    resume_mib: int = Field(256, ge=1, le=65_536)
    idle_reader_seconds: float = Field(120.0, gt=0, le=3_600)
    lagging_reader_seconds: float = Field(10.0, gt=0, le=3_600)
    drain_seconds: float = Field(10.0, ge=0, le=3_600)
    max_streams: int = Field(default_factory=_default_max_streams, ge=1, lt=2**31)
    max_runs: int = Field(10_000, ge=1, lt=2**31)
    max_workers: int = Field(10_000, ge=1, lt=2**31)
    data_dir: Annotated[str, AfterValidator(os.path.expanduser)] = Field(
        default_factory=_default_data_dir, min_length=1
    )
    retention_days: float = Field(30.0, gt=0, le=36_500)
    journal_mib: int = Field(10_240, ge=16, le=2**24)
    active_runs_mib: int = Field(160, ge=8, le=65_536)
    worker_timeout_seconds: float = Field(10.0, ge=0.1, le=3_600)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"


class AliasSettings(_Settings):
    """`[models.NAME]`: a name for several models.

    `targets` are asked in order. With `weights`, one for each, the first is drawn: a target with twice the weight comes
    first twice as often.
    """

    targets: tuple[ModelName, ...] = Field(min_length=1, max_length=32)
    weights: tuple[Annotated[float, Field(gt=0, le=1e6)], ...] = ()

    @field_validator("weights")
    @classmethod
    def _one_for_each(cls, weights: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if weights and len(weights) != len(info.data.get("targets", weights)):
            raise ValueError("must have one number for each of the targets")
        return weights


class PriceSettings(_Settings):
    """`[prices."PROVIDER/MODEL"]`: the prices of a million tokens, in the currency of the whole table.

    The name may end in `*`, for all models that begin so. `cached_input` and `cache_write` are as `input` unless set,
    `reasoning` is as `output`.
    """

    input: Amount
    output: Amount
    cached_input: Amount | None = None
    cache_write: Amount | None = None
    reasoning: Amount | None = None


class _ByType:
    """Makes `type` decide which class of settings a provider has."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        schemas = {name: handler.generate_schema(kind.settings) for name, kind in TYPES.items()}
        return core_schema.tagged_union_schema(schemas, discriminator="type")


class Settings(_Settings):
    """All settings."""

    server: ServerSettings
    providers: dict[ProviderName, Annotated[ProviderSettings, _ByType]]
    models: dict[AliasName, AliasSettings] = Field(default_factory=dict)
    jwt: dict[IssuerName, JwtSettings] = Field(default_factory=dict)
    prices: dict[PricedName, PriceSettings] = Field(default_factory=dict)
    callers: dict[CallerName, CallerSettings] = Field(default_factory=dict)


ENVIRONMENT: dict[str, tuple[str, ...]] = {
    "HEADWATER_HOST": ("server", "host"),
    "HEADWATER_PORT": ("server", "port"),
    "HEADWATER_TLS_CERT_FILE": ("server", "tls_cert_file"),
    "HEADWATER_TLS_KEY_FILE": ("server", "tls_key_file"),
    "HEADWATER_TLS_CLIENT_CA_FILE": ("server", "tls_client_ca_file"),
    "HEADWATER_TLS_CLIENT_AUTH": ("server", "tls_client_auth"),
    "HEADWATER_INSECURE": ("server", "insecure"),
    "HEADWATER_ADMIN_ADDRESS": ("server", "admin_address"),
    "HEADWATER_ADMIN_INSECURE": ("server", "admin_insecure"),
    "HEADWATER_OTLP_ENDPOINT": ("server", "otlp_endpoint"),
    "HEADWATER_TRACE_CONTENT": ("server", "trace_content"),
    "HEADWATER_AUTHENTICATION_HOOK": ("server", "authentication_hook"),
    "HEADWATER_REFLECTION": ("server", "reflection"),
    "HEADWATER_FRONT": ("server", "front"),
    "HEADWATER_PROCESSES": ("server", "processes"),
    "HEADWATER_MAX_CONCURRENT_STREAMS": ("server", "max_concurrent_streams"),
    "HEADWATER_MAX_CONNECTIONS": ("server", "max_connections"),
    "HEADWATER_MAX_PENDING_CALLS": ("server", "max_pending_calls"),
    "HEADWATER_MAX_CONNECTION_IDLE_SECONDS": ("server", "max_connection_idle_seconds"),
    "HEADWATER_MAX_CONNECTION_AGE_SECONDS": ("server", "max_connection_age_seconds"),
    "HEADWATER_KEEPALIVE_SECONDS": ("server", "keepalive_seconds"),
    "HEADWATER_MAX_REQUESTS_MIB": ("server", "max_requests_mib"),
    "HEADWATER_DEFAULT_MODEL": ("server", "default_model"),
    "HEADWATER_ALLOW_CALLER_API_KEYS": ("server", "allow_caller_api_keys"),
    "HEADWATER_CONNECT_SECONDS": ("server", "connect_seconds"),
    "HEADWATER_FIRST_CHUNK_SECONDS": ("server", "first_chunk_seconds"),
    "HEADWATER_NEXT_CHUNK_SECONDS": ("server", "next_chunk_seconds"),
    "HEADWATER_MAX_SILENCE_SECONDS": ("server", "max_silence_seconds"),
    "HEADWATER_TOTAL_SECONDS": ("server", "total_seconds"),
    "HEADWATER_MAX_ATTEMPTS": ("server", "max_attempts"),
    "HEADWATER_RETRY_WAIT_SECONDS": ("server", "retry_wait_seconds"),
    "HEADWATER_MAX_RETRY_WAIT_SECONDS": ("server", "max_retry_wait_seconds"),
    "HEADWATER_COOL_DOWN_SECONDS": ("server", "cool_down_seconds"),
    "HEADWATER_FALLBACK_ON_REFUSAL": ("server", "fallback_on_refusal"),
    "HEADWATER_DETACH_SECONDS": ("server", "detach_seconds"),
    "HEADWATER_RESUME_RETENTION_SECONDS": ("server", "resume_retention_seconds"),
    "HEADWATER_RESUME_STREAM_MIB": ("server", "resume_stream_mib"),
    "HEADWATER_RESUME_MIB": ("server", "resume_mib"),
    "HEADWATER_IDLE_READER_SECONDS": ("server", "idle_reader_seconds"),
    "HEADWATER_LAGGING_READER_SECONDS": ("server", "lagging_reader_seconds"),
    "HEADWATER_DRAIN_SECONDS": ("server", "drain_seconds"),
    "HEADWATER_MAX_STREAMS": ("server", "max_streams"),
    "HEADWATER_MAX_RUNS": ("server", "max_runs"),
    "HEADWATER_MAX_WORKERS": ("server", "max_workers"),
    "HEADWATER_DATA_DIR": ("server", "data_dir"),
    "HEADWATER_RETENTION_DAYS": ("server", "retention_days"),
    "HEADWATER_JOURNAL_MIB": ("server", "journal_mib"),
    "HEADWATER_ACTIVE_RUNS_MIB": ("server", "active_runs_mib"),
    "HEADWATER_WORKER_TIMEOUT_SECONDS": ("server", "worker_timeout_seconds"),
    "HEADWATER_LOG_LEVEL": ("server", "log_level"),
    "HEADWATER_LOG_FORMAT": ("server", "log_format"),
}
"""Which variable sets which key of the server. An empty variable is as good as none."""


def variables() -> Iterator[tuple[str, tuple[str, ...], Callable[[str], str]]]:
    """The variables, each with the path of its key and how its text is read."""
    for variable, path in ENVIRONMENT.items():
        yield variable, path, str
    for name, kind in TYPES.items():
        for one in kind.environment:
            yield one.name, ("providers", name, one.key), one.read
