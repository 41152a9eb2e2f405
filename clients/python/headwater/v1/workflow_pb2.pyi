from google.protobuf import timestamp_pb2 as _timestamp_pb2
from headwater.v1 import agent_service_pb2 as _agent_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WorkflowRunStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WORKFLOW_RUN_STATUS_UNSPECIFIED: _ClassVar[WorkflowRunStatus]
    WORKFLOW_RUN_STATUS_RUNNING: _ClassVar[WorkflowRunStatus]
    WORKFLOW_RUN_STATUS_COMPLETED: _ClassVar[WorkflowRunStatus]
    WORKFLOW_RUN_STATUS_FAILED: _ClassVar[WorkflowRunStatus]
    WORKFLOW_RUN_STATUS_CANCELLED: _ClassVar[WorkflowRunStatus]

class StepStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STEP_STATUS_UNSPECIFIED: _ClassVar[StepStatus]
    STEP_STATUS_PENDING: _ClassVar[StepStatus]
    STEP_STATUS_RUNNING: _ClassVar[StepStatus]
    STEP_STATUS_WAITING_FOR_WORKER: _ClassVar[StepStatus]
    STEP_STATUS_RETRYING: _ClassVar[StepStatus]
    STEP_STATUS_COMPLETED: _ClassVar[StepStatus]
    STEP_STATUS_FAILED: _ClassVar[StepStatus]
    STEP_STATUS_SKIPPED: _ClassVar[StepStatus]
    STEP_STATUS_CANCELLED: _ClassVar[StepStatus]

class WorkflowEventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WORKFLOW_EVENT_TYPE_UNSPECIFIED: _ClassVar[WorkflowEventType]
    WORKFLOW_EVENT_TYPE_RUN_STARTED: _ClassVar[WorkflowEventType]
    WORKFLOW_EVENT_TYPE_RUN_RESUMED: _ClassVar[WorkflowEventType]
    WORKFLOW_EVENT_TYPE_STEP_STARTED: _ClassVar[WorkflowEventType]
    WORKFLOW_EVENT_TYPE_STEP_WAITING_FOR_WORKER: _ClassVar[WorkflowEventType]
    WORKFLOW_EVENT_TYPE_CHUNK: _ClassVar[WorkflowEventType]
    WORKFLOW_EVENT_TYPE_STEP_COMPLETED: _ClassVar[WorkflowEventType]
    WORKFLOW_EVENT_TYPE_STEP_FAILED: _ClassVar[WorkflowEventType]
    WORKFLOW_EVENT_TYPE_STEP_RETRYING: _ClassVar[WorkflowEventType]
    WORKFLOW_EVENT_TYPE_STEP_SKIPPED: _ClassVar[WorkflowEventType]
    WORKFLOW_EVENT_TYPE_STEP_CANCELLED: _ClassVar[WorkflowEventType]
    WORKFLOW_EVENT_TYPE_WARNING: _ClassVar[WorkflowEventType]
    WORKFLOW_EVENT_TYPE_RUN_FINISHED: _ClassVar[WorkflowEventType]
WORKFLOW_RUN_STATUS_UNSPECIFIED: WorkflowRunStatus
WORKFLOW_RUN_STATUS_RUNNING: WorkflowRunStatus
WORKFLOW_RUN_STATUS_COMPLETED: WorkflowRunStatus
WORKFLOW_RUN_STATUS_FAILED: WorkflowRunStatus
WORKFLOW_RUN_STATUS_CANCELLED: WorkflowRunStatus
STEP_STATUS_UNSPECIFIED: StepStatus
STEP_STATUS_PENDING: StepStatus
STEP_STATUS_RUNNING: StepStatus
STEP_STATUS_WAITING_FOR_WORKER: StepStatus
STEP_STATUS_RETRYING: StepStatus
STEP_STATUS_COMPLETED: StepStatus
STEP_STATUS_FAILED: StepStatus
STEP_STATUS_SKIPPED: StepStatus
STEP_STATUS_CANCELLED: StepStatus
WORKFLOW_EVENT_TYPE_UNSPECIFIED: WorkflowEventType
WORKFLOW_EVENT_TYPE_RUN_STARTED: WorkflowEventType
WORKFLOW_EVENT_TYPE_RUN_RESUMED: WorkflowEventType
WORKFLOW_EVENT_TYPE_STEP_STARTED: WorkflowEventType
WORKFLOW_EVENT_TYPE_STEP_WAITING_FOR_WORKER: WorkflowEventType
WORKFLOW_EVENT_TYPE_CHUNK: WorkflowEventType
WORKFLOW_EVENT_TYPE_STEP_COMPLETED: WorkflowEventType
WORKFLOW_EVENT_TYPE_STEP_FAILED: WorkflowEventType
WORKFLOW_EVENT_TYPE_STEP_RETRYING: WorkflowEventType
WORKFLOW_EVENT_TYPE_STEP_SKIPPED: WorkflowEventType
WORKFLOW_EVENT_TYPE_STEP_CANCELLED: WorkflowEventType
WORKFLOW_EVENT_TYPE_WARNING: WorkflowEventType
WORKFLOW_EVENT_TYPE_RUN_FINISHED: WorkflowEventType

class Workflow(_message.Message):
    __slots__ = ("name", "description", "steps", "agent", "id", "schedule_timeout_ms")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    agent: _agent_service_pb2.StreamRequest
    id: str
    schedule_timeout_ms: int
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., agent: _Optional[_Union[_agent_service_pb2.StreamRequest, _Mapping]] = ..., id: _Optional[str] = ..., schedule_timeout_ms: _Optional[int] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("name", "action", "handler", "depends_on", "condition", "timeout_ms", "max_retries", "parallel", "description", "metadata", "queue")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    HANDLER_FIELD_NUMBER: _ClassVar[int]
    DEPENDS_ON_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_RETRIES_FIELD_NUMBER: _ClassVar[int]
    PARALLEL_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    action: str
    handler: str
    depends_on: _containers.RepeatedScalarFieldContainer[str]
    condition: str
    timeout_ms: int
    max_retries: int
    parallel: bool
    description: str
    metadata: str
    queue: str
    def __init__(self, name: _Optional[str] = ..., action: _Optional[str] = ..., handler: _Optional[str] = ..., depends_on: _Optional[_Iterable[str]] = ..., condition: _Optional[str] = ..., timeout_ms: _Optional[int] = ..., max_retries: _Optional[int] = ..., parallel: bool = ..., description: _Optional[str] = ..., metadata: _Optional[str] = ..., queue: _Optional[str] = ...) -> None: ...

class StepRun(_message.Message):
    __slots__ = ("name", "status", "attempt", "result", "error", "start_time", "end_time", "queue")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    status: StepStatus
    attempt: int
    result: str
    error: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    queue: str
    def __init__(self, name: _Optional[str] = ..., status: _Optional[_Union[StepStatus, str]] = ..., attempt: _Optional[int] = ..., result: _Optional[str] = ..., error: _Optional[str] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., queue: _Optional[str] = ...) -> None: ...

class WorkflowRun(_message.Message):
    __slots__ = ("run_id", "status", "workflow", "workflow_name", "context", "steps", "error", "create_time", "end_time", "sequence", "queue")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_NAME_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    status: WorkflowRunStatus
    workflow: Workflow
    workflow_name: str
    context: str
    steps: _containers.RepeatedCompositeFieldContainer[StepRun]
    error: str
    create_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    sequence: int
    queue: str
    def __init__(self, run_id: _Optional[str] = ..., status: _Optional[_Union[WorkflowRunStatus, str]] = ..., workflow: _Optional[_Union[Workflow, _Mapping]] = ..., workflow_name: _Optional[str] = ..., context: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[StepRun, _Mapping]]] = ..., error: _Optional[str] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., sequence: _Optional[int] = ..., queue: _Optional[str] = ...) -> None: ...

class WorkflowEvent(_message.Message):
    __slots__ = ("sequence", "type", "step", "attempt", "content", "thinking", "omitted_characters", "result", "error", "delay_ms", "queue", "key", "run_status", "create_time", "run_id")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    THINKING_FIELD_NUMBER: _ClassVar[int]
    OMITTED_CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DELAY_MS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    RUN_STATUS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    type: WorkflowEventType
    step: str
    attempt: int
    content: str
    thinking: str
    omitted_characters: int
    result: str
    error: str
    delay_ms: int
    queue: str
    key: str
    run_status: WorkflowRunStatus
    create_time: _timestamp_pb2.Timestamp
    run_id: str
    def __init__(self, sequence: _Optional[int] = ..., type: _Optional[_Union[WorkflowEventType, str]] = ..., step: _Optional[str] = ..., attempt: _Optional[int] = ..., content: _Optional[str] = ..., thinking: _Optional[str] = ..., omitted_characters: _Optional[int] = ..., result: _Optional[str] = ..., error: _Optional[str] = ..., delay_ms: _Optional[int] = ..., queue: _Optional[str] = ..., key: _Optional[str] = ..., run_status: _Optional[_Union[WorkflowRunStatus, str]] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., run_id: _Optional[str] = ...) -> None: ...
