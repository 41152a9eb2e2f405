from google.protobuf import duration_pb2 as _duration_pb2
from headwater.v1 import agent_pb2 as _agent_pb2
from headwater.v1 import error_pb2 as _error_pb2
from headwater.v1 import workflow_pb2 as _workflow_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AttachRequest(_message.Message):
    __slots__ = ("registration", "heartbeat", "chunk", "result", "capacity", "waiting", "progress")
    REGISTRATION_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    registration: WorkerRegistration
    heartbeat: WorkerHeartbeat
    chunk: TaskChunk
    result: TaskResult
    capacity: WorkerCapacity
    waiting: TaskWaiting
    progress: TaskProgress
    def __init__(self, registration: _Optional[_Union[WorkerRegistration, _Mapping]] = ..., heartbeat: _Optional[_Union[WorkerHeartbeat, _Mapping]] = ..., chunk: _Optional[_Union[TaskChunk, _Mapping]] = ..., result: _Optional[_Union[TaskResult, _Mapping]] = ..., capacity: _Optional[_Union[WorkerCapacity, _Mapping]] = ..., waiting: _Optional[_Union[TaskWaiting, _Mapping]] = ..., progress: _Optional[_Union[TaskProgress, _Mapping]] = ...) -> None: ...

class AttachResponse(_message.Message):
    __slots__ = ("registered", "task", "cancellation", "ack", "chunk_ack")
    REGISTERED_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    CANCELLATION_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    CHUNK_ACK_FIELD_NUMBER: _ClassVar[int]
    registered: WorkerRegistered
    task: WorkerTask
    cancellation: TaskCancellation
    ack: TaskResultAck
    chunk_ack: TaskChunkAck
    def __init__(self, registered: _Optional[_Union[WorkerRegistered, _Mapping]] = ..., task: _Optional[_Union[WorkerTask, _Mapping]] = ..., cancellation: _Optional[_Union[TaskCancellation, _Mapping]] = ..., ack: _Optional[_Union[TaskResultAck, _Mapping]] = ..., chunk_ack: _Optional[_Union[TaskChunkAck, _Mapping]] = ...) -> None: ...

class WorkerRegistration(_message.Message):
    __slots__ = ("worker_id", "queue", "handlers", "concurrency", "task_ids", "client_version", "features")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    HANDLERS_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    TASK_IDS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    queue: str
    handlers: _containers.RepeatedScalarFieldContainer[str]
    concurrency: int
    task_ids: _containers.RepeatedScalarFieldContainer[str]
    client_version: str
    features: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, worker_id: _Optional[str] = ..., queue: _Optional[str] = ..., handlers: _Optional[_Iterable[str]] = ..., concurrency: _Optional[int] = ..., task_ids: _Optional[_Iterable[str]] = ..., client_version: _Optional[str] = ..., features: _Optional[_Iterable[str]] = ...) -> None: ...

class WorkerRegistered(_message.Message):
    __slots__ = ("heartbeat_interval", "heartbeat_timeout", "unwanted_task_ids", "server_version", "features")
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    UNWANTED_TASK_IDS_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    heartbeat_interval: _duration_pb2.Duration
    heartbeat_timeout: _duration_pb2.Duration
    unwanted_task_ids: _containers.RepeatedScalarFieldContainer[str]
    server_version: str
    features: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, heartbeat_interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., heartbeat_timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., unwanted_task_ids: _Optional[_Iterable[str]] = ..., server_version: _Optional[str] = ..., features: _Optional[_Iterable[str]] = ...) -> None: ...

class WorkerHeartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WorkerCapacity(_message.Message):
    __slots__ = ("concurrency",)
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    concurrency: int
    def __init__(self, concurrency: _Optional[int] = ...) -> None: ...

class WorkerTask(_message.Message):
    __slots__ = ("task_id", "run_id", "workflow_name", "step", "attempt", "idempotency_key", "context_json", "dependency_results_json", "agent", "progress_json", "request_id", "traceparent", "tracestate")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_NAME_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_JSON_FIELD_NUMBER: _ClassVar[int]
    DEPENDENCY_RESULTS_JSON_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_JSON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    TRACESTATE_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    run_id: str
    workflow_name: str
    step: _workflow_pb2.Step
    attempt: int
    idempotency_key: str
    context_json: str
    dependency_results_json: str
    agent: _agent_pb2.AgentConfig
    progress_json: str
    request_id: str
    traceparent: str
    tracestate: str
    def __init__(self, task_id: _Optional[str] = ..., run_id: _Optional[str] = ..., workflow_name: _Optional[str] = ..., step: _Optional[_Union[_workflow_pb2.Step, _Mapping]] = ..., attempt: _Optional[int] = ..., idempotency_key: _Optional[str] = ..., context_json: _Optional[str] = ..., dependency_results_json: _Optional[str] = ..., agent: _Optional[_Union[_agent_pb2.AgentConfig, _Mapping]] = ..., progress_json: _Optional[str] = ..., request_id: _Optional[str] = ..., traceparent: _Optional[str] = ..., tracestate: _Optional[str] = ...) -> None: ...

class TaskWaiting(_message.Message):
    __slots__ = ("task_id", "run_id")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    run_id: str
    def __init__(self, task_id: _Optional[str] = ..., run_id: _Optional[str] = ...) -> None: ...

class TaskProgress(_message.Message):
    __slots__ = ("task_id", "progress_json")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_JSON_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    progress_json: str
    def __init__(self, task_id: _Optional[str] = ..., progress_json: _Optional[str] = ...) -> None: ...

class TaskChunk(_message.Message):
    __slots__ = ("task_id", "content", "thinking", "position")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    THINKING_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    content: str
    thinking: str
    position: int
    def __init__(self, task_id: _Optional[str] = ..., content: _Optional[str] = ..., thinking: _Optional[str] = ..., position: _Optional[int] = ...) -> None: ...

class TaskResult(_message.Message):
    __slots__ = ("task_id", "result_json", "failure", "handed_back", "context_changes_json", "deleted_keys", "reply")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_JSON_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    HANDED_BACK_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_CHANGES_JSON_FIELD_NUMBER: _ClassVar[int]
    DELETED_KEYS_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    result_json: str
    failure: _error_pb2.Failure
    handed_back: TaskHandback
    context_changes_json: str
    deleted_keys: _containers.RepeatedScalarFieldContainer[str]
    reply: _workflow_pb2.ActionReply
    def __init__(self, task_id: _Optional[str] = ..., result_json: _Optional[str] = ..., failure: _Optional[_Union[_error_pb2.Failure, _Mapping]] = ..., handed_back: _Optional[_Union[TaskHandback, _Mapping]] = ..., context_changes_json: _Optional[str] = ..., deleted_keys: _Optional[_Iterable[str]] = ..., reply: _Optional[_Union[_workflow_pb2.ActionReply, _Mapping]] = ...) -> None: ...

class TaskHandback(_message.Message):
    __slots__ = ("begun", "reason")
    BEGUN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    begun: bool
    reason: str
    def __init__(self, begun: bool = ..., reason: _Optional[str] = ...) -> None: ...

class TaskCancellation(_message.Message):
    __slots__ = ("task_id",)
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    def __init__(self, task_id: _Optional[str] = ...) -> None: ...

class TaskResultAck(_message.Message):
    __slots__ = ("task_id", "accepted")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    accepted: bool
    def __init__(self, task_id: _Optional[str] = ..., accepted: bool = ...) -> None: ...

class TaskChunkAck(_message.Message):
    __slots__ = ("task_id", "position")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    position: int
    def __init__(self, task_id: _Optional[str] = ..., position: _Optional[int] = ...) -> None: ...
