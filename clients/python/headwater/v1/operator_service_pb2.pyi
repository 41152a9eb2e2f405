from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetServerStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerStatusResponse(_message.Message):
    __slots__ = ("read_time", "server_version", "processes", "models", "queues", "open_runs", "journal_bytes")
    READ_TIME_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    OPEN_RUNS_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    read_time: _timestamp_pb2.Timestamp
    server_version: str
    processes: _containers.RepeatedCompositeFieldContainer[ProcessStatus]
    models: _containers.RepeatedCompositeFieldContainer[ModelStatus]
    queues: _containers.RepeatedCompositeFieldContainer[QueueStatus]
    open_runs: int
    journal_bytes: float
    def __init__(self, read_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., server_version: _Optional[str] = ..., processes: _Optional[_Iterable[_Union[ProcessStatus, _Mapping]]] = ..., models: _Optional[_Iterable[_Union[ModelStatus, _Mapping]]] = ..., queues: _Optional[_Iterable[_Union[QueueStatus, _Mapping]]] = ..., open_runs: _Optional[int] = ..., journal_bytes: _Optional[float] = ...) -> None: ...

class ProcessStatus(_message.Message):
    __slots__ = ("process", "answers", "start_time", "open_streams", "cpu_seconds", "memory_bytes", "open_files", "loop_lag")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    OPEN_STREAMS_FIELD_NUMBER: _ClassVar[int]
    CPU_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    OPEN_FILES_FIELD_NUMBER: _ClassVar[int]
    LOOP_LAG_FIELD_NUMBER: _ClassVar[int]
    process: int
    answers: bool
    start_time: _timestamp_pb2.Timestamp
    open_streams: int
    cpu_seconds: float
    memory_bytes: float
    open_files: int
    loop_lag: _duration_pb2.Duration
    def __init__(self, process: _Optional[int] = ..., answers: bool = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., open_streams: _Optional[int] = ..., cpu_seconds: _Optional[float] = ..., memory_bytes: _Optional[float] = ..., open_files: _Optional[int] = ..., loop_lag: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ModelStatus(_message.Message):
    __slots__ = ("provider", "model", "open_streams", "ended_streams", "failed_streams", "chunks", "input_tokens", "output_tokens", "cost", "open_circuits", "half_open_circuits")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OPEN_STREAMS_FIELD_NUMBER: _ClassVar[int]
    ENDED_STREAMS_FIELD_NUMBER: _ClassVar[int]
    FAILED_STREAMS_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    OPEN_CIRCUITS_FIELD_NUMBER: _ClassVar[int]
    HALF_OPEN_CIRCUITS_FIELD_NUMBER: _ClassVar[int]
    provider: str
    model: str
    open_streams: int
    ended_streams: float
    failed_streams: float
    chunks: float
    input_tokens: float
    output_tokens: float
    cost: str
    open_circuits: int
    half_open_circuits: int
    def __init__(self, provider: _Optional[str] = ..., model: _Optional[str] = ..., open_streams: _Optional[int] = ..., ended_streams: _Optional[float] = ..., failed_streams: _Optional[float] = ..., chunks: _Optional[float] = ..., input_tokens: _Optional[float] = ..., output_tokens: _Optional[float] = ..., cost: _Optional[str] = ..., open_circuits: _Optional[int] = ..., half_open_circuits: _Optional[int] = ...) -> None: ...

class QueueStatus(_message.Message):
    __slots__ = ("queue", "workers", "waiting_tasks", "running_tasks")
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    WAITING_TASKS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_TASKS_FIELD_NUMBER: _ClassVar[int]
    queue: str
    workers: int
    waiting_tasks: int
    running_tasks: int
    def __init__(self, queue: _Optional[str] = ..., workers: _Optional[int] = ..., waiting_tasks: _Optional[int] = ..., running_tasks: _Optional[int] = ...) -> None: ...
