from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from headwater.v1 import agent_pb2 as _agent_pb2
from headwater.v1 import error_pb2 as _error_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RunIf(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUN_IF_UNSPECIFIED: _ClassVar[RunIf]
    RUN_IF_ALL_SUCCEEDED: _ClassVar[RunIf]
    RUN_IF_NONE_FAILED: _ClassVar[RunIf]
    RUN_IF_ALL_DONE: _ClassVar[RunIf]
    RUN_IF_ANY_FAILED: _ClassVar[RunIf]

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

class SkipReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SKIP_REASON_UNSPECIFIED: _ClassVar[SkipReason]
    SKIP_REASON_CONDITION_FALSE: _ClassVar[SkipReason]
    SKIP_REASON_DEPENDENCY_FAILED: _ClassVar[SkipReason]
    SKIP_REASON_DEPENDENCY_SKIPPED: _ClassVar[SkipReason]
    SKIP_REASON_NOTHING_FAILED: _ClassVar[SkipReason]
RUN_IF_UNSPECIFIED: RunIf
RUN_IF_ALL_SUCCEEDED: RunIf
RUN_IF_NONE_FAILED: RunIf
RUN_IF_ALL_DONE: RunIf
RUN_IF_ANY_FAILED: RunIf
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
SKIP_REASON_UNSPECIFIED: SkipReason
SKIP_REASON_CONDITION_FALSE: SkipReason
SKIP_REASON_DEPENDENCY_FAILED: SkipReason
SKIP_REASON_DEPENDENCY_SKIPPED: SkipReason
SKIP_REASON_NOTHING_FAILED: SkipReason

class Workflow(_message.Message):
    __slots__ = ("name", "description", "steps", "agent", "id", "schedule_timeout")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    agent: _agent_pb2.AgentConfig
    id: str
    schedule_timeout: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., agent: _Optional[_Union[_agent_pb2.AgentConfig, _Mapping]] = ..., id: _Optional[str] = ..., schedule_timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("name", "action", "handler", "depends_on", "condition", "timeout", "retry_policy", "exclusive", "description", "metadata_json", "queue", "accept_finish_reasons", "run_if", "agent")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    HANDLER_FIELD_NUMBER: _ClassVar[int]
    DEPENDS_ON_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    RETRY_POLICY_FIELD_NUMBER: _ClassVar[int]
    EXCLUSIVE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    METADATA_JSON_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_FINISH_REASONS_FIELD_NUMBER: _ClassVar[int]
    RUN_IF_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    action: str
    handler: str
    depends_on: _containers.RepeatedScalarFieldContainer[str]
    condition: str
    timeout: _duration_pb2.Duration
    retry_policy: RetryPolicy
    exclusive: bool
    description: str
    metadata_json: str
    queue: str
    accept_finish_reasons: _containers.RepeatedScalarFieldContainer[_agent_pb2.FinishReason]
    run_if: RunIf
    agent: _agent_pb2.AgentConfig
    def __init__(self, name: _Optional[str] = ..., action: _Optional[str] = ..., handler: _Optional[str] = ..., depends_on: _Optional[_Iterable[str]] = ..., condition: _Optional[str] = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., retry_policy: _Optional[_Union[RetryPolicy, _Mapping]] = ..., exclusive: bool = ..., description: _Optional[str] = ..., metadata_json: _Optional[str] = ..., queue: _Optional[str] = ..., accept_finish_reasons: _Optional[_Iterable[_Union[_agent_pb2.FinishReason, str]]] = ..., run_if: _Optional[_Union[RunIf, str]] = ..., agent: _Optional[_Union[_agent_pb2.AgentConfig, _Mapping]] = ...) -> None: ...

class RetryPolicy(_message.Message):
    __slots__ = ("initial_delay", "backoff", "max_delay", "max_attempts")
    INITIAL_DELAY_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_FIELD_NUMBER: _ClassVar[int]
    MAX_DELAY_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    initial_delay: _duration_pb2.Duration
    backoff: float
    max_delay: _duration_pb2.Duration
    max_attempts: int
    def __init__(self, initial_delay: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., backoff: _Optional[float] = ..., max_delay: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., max_attempts: _Optional[int] = ...) -> None: ...

class StepRun(_message.Message):
    __slots__ = ("name", "status", "attempt", "result_json", "failure", "skip_reason", "skipped_because_of", "start_time", "end_time", "queue", "reply", "progress_json")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RESULT_JSON_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    SKIP_REASON_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_BECAUSE_OF_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_JSON_FIELD_NUMBER: _ClassVar[int]
    name: str
    status: StepStatus
    attempt: int
    result_json: str
    failure: _error_pb2.Failure
    skip_reason: SkipReason
    skipped_because_of: _containers.RepeatedScalarFieldContainer[str]
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    queue: str
    reply: ActionReply
    progress_json: str
    def __init__(self, name: _Optional[str] = ..., status: _Optional[_Union[StepStatus, str]] = ..., attempt: _Optional[int] = ..., result_json: _Optional[str] = ..., failure: _Optional[_Union[_error_pb2.Failure, _Mapping]] = ..., skip_reason: _Optional[_Union[SkipReason, str]] = ..., skipped_because_of: _Optional[_Iterable[str]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., queue: _Optional[str] = ..., reply: _Optional[_Union[ActionReply, _Mapping]] = ..., progress_json: _Optional[str] = ...) -> None: ...

class ActionReply(_message.Message):
    __slots__ = ("finish_reason", "usage", "model", "provider")
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    finish_reason: _agent_pb2.FinishReason
    usage: _agent_pb2.Usage
    model: str
    provider: str
    def __init__(self, finish_reason: _Optional[_Union[_agent_pb2.FinishReason, str]] = ..., usage: _Optional[_Union[_agent_pb2.Usage, _Mapping]] = ..., model: _Optional[str] = ..., provider: _Optional[str] = ...) -> None: ...

class WorkflowRun(_message.Message):
    __slots__ = ("run_id", "status", "workflow", "workflow_name", "context_json", "steps", "failure", "failed_steps", "create_time", "end_time", "sequence", "queue", "usage", "context_lacks_results")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_NAME_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_JSON_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    FAILED_STEPS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_LACKS_RESULTS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    status: WorkflowRunStatus
    workflow: Workflow
    workflow_name: str
    context_json: str
    steps: _containers.RepeatedCompositeFieldContainer[StepRun]
    failure: _error_pb2.Failure
    failed_steps: _containers.RepeatedScalarFieldContainer[str]
    create_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    sequence: int
    queue: str
    usage: _agent_pb2.Usage
    context_lacks_results: bool
    def __init__(self, run_id: _Optional[str] = ..., status: _Optional[_Union[WorkflowRunStatus, str]] = ..., workflow: _Optional[_Union[Workflow, _Mapping]] = ..., workflow_name: _Optional[str] = ..., context_json: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[StepRun, _Mapping]]] = ..., failure: _Optional[_Union[_error_pb2.Failure, _Mapping]] = ..., failed_steps: _Optional[_Iterable[str]] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., sequence: _Optional[int] = ..., queue: _Optional[str] = ..., usage: _Optional[_Union[_agent_pb2.Usage, _Mapping]] = ..., context_lacks_results: bool = ...) -> None: ...

class WorkflowEvent(_message.Message):
    __slots__ = ("sequence", "run_id", "create_time", "step", "attempt", "run_started", "run_resumed", "step_started", "step_waiting", "step_chunk", "step_completed", "step_failed", "step_retrying", "step_skipped", "step_cancelled", "run_warning", "run_finished", "step_progress")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RUN_STARTED_FIELD_NUMBER: _ClassVar[int]
    RUN_RESUMED_FIELD_NUMBER: _ClassVar[int]
    STEP_STARTED_FIELD_NUMBER: _ClassVar[int]
    STEP_WAITING_FIELD_NUMBER: _ClassVar[int]
    STEP_CHUNK_FIELD_NUMBER: _ClassVar[int]
    STEP_COMPLETED_FIELD_NUMBER: _ClassVar[int]
    STEP_FAILED_FIELD_NUMBER: _ClassVar[int]
    STEP_RETRYING_FIELD_NUMBER: _ClassVar[int]
    STEP_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    STEP_CANCELLED_FIELD_NUMBER: _ClassVar[int]
    RUN_WARNING_FIELD_NUMBER: _ClassVar[int]
    RUN_FINISHED_FIELD_NUMBER: _ClassVar[int]
    STEP_PROGRESS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    run_id: str
    create_time: _timestamp_pb2.Timestamp
    step: str
    attempt: int
    run_started: RunStartedEvent
    run_resumed: RunResumedEvent
    step_started: StepStartedEvent
    step_waiting: StepWaitingEvent
    step_chunk: StepChunkEvent
    step_completed: StepCompletedEvent
    step_failed: StepFailedEvent
    step_retrying: StepRetryingEvent
    step_skipped: StepSkippedEvent
    step_cancelled: StepCancelledEvent
    run_warning: RunWarningEvent
    run_finished: RunFinishedEvent
    step_progress: StepProgressEvent
    def __init__(self, sequence: _Optional[int] = ..., run_id: _Optional[str] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., step: _Optional[str] = ..., attempt: _Optional[int] = ..., run_started: _Optional[_Union[RunStartedEvent, _Mapping]] = ..., run_resumed: _Optional[_Union[RunResumedEvent, _Mapping]] = ..., step_started: _Optional[_Union[StepStartedEvent, _Mapping]] = ..., step_waiting: _Optional[_Union[StepWaitingEvent, _Mapping]] = ..., step_chunk: _Optional[_Union[StepChunkEvent, _Mapping]] = ..., step_completed: _Optional[_Union[StepCompletedEvent, _Mapping]] = ..., step_failed: _Optional[_Union[StepFailedEvent, _Mapping]] = ..., step_retrying: _Optional[_Union[StepRetryingEvent, _Mapping]] = ..., step_skipped: _Optional[_Union[StepSkippedEvent, _Mapping]] = ..., step_cancelled: _Optional[_Union[StepCancelledEvent, _Mapping]] = ..., run_warning: _Optional[_Union[RunWarningEvent, _Mapping]] = ..., run_finished: _Optional[_Union[RunFinishedEvent, _Mapping]] = ..., step_progress: _Optional[_Union[StepProgressEvent, _Mapping]] = ...) -> None: ...

class RunStartedEvent(_message.Message):
    __slots__ = ("workflow_name",)
    WORKFLOW_NAME_FIELD_NUMBER: _ClassVar[int]
    workflow_name: str
    def __init__(self, workflow_name: _Optional[str] = ...) -> None: ...

class RunResumedEvent(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StepStartedEvent(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StepWaitingEvent(_message.Message):
    __slots__ = ("queue",)
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    queue: str
    def __init__(self, queue: _Optional[str] = ...) -> None: ...

class StepChunkEvent(_message.Message):
    __slots__ = ("content", "thinking", "omitted_characters")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    THINKING_FIELD_NUMBER: _ClassVar[int]
    OMITTED_CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    content: str
    thinking: str
    omitted_characters: int
    def __init__(self, content: _Optional[str] = ..., thinking: _Optional[str] = ..., omitted_characters: _Optional[int] = ...) -> None: ...

class StepProgressEvent(_message.Message):
    __slots__ = ("progress_json",)
    PROGRESS_JSON_FIELD_NUMBER: _ClassVar[int]
    progress_json: str
    def __init__(self, progress_json: _Optional[str] = ...) -> None: ...

class StepCompletedEvent(_message.Message):
    __slots__ = ("result_json", "reply")
    RESULT_JSON_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    result_json: str
    reply: ActionReply
    def __init__(self, result_json: _Optional[str] = ..., reply: _Optional[_Union[ActionReply, _Mapping]] = ...) -> None: ...

class StepFailedEvent(_message.Message):
    __slots__ = ("failure", "reply")
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    failure: _error_pb2.Failure
    reply: ActionReply
    def __init__(self, failure: _Optional[_Union[_error_pb2.Failure, _Mapping]] = ..., reply: _Optional[_Union[ActionReply, _Mapping]] = ...) -> None: ...

class StepRetryingEvent(_message.Message):
    __slots__ = ("failure", "delay", "reply")
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    failure: _error_pb2.Failure
    delay: _duration_pb2.Duration
    reply: ActionReply
    def __init__(self, failure: _Optional[_Union[_error_pb2.Failure, _Mapping]] = ..., delay: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., reply: _Optional[_Union[ActionReply, _Mapping]] = ...) -> None: ...

class StepSkippedEvent(_message.Message):
    __slots__ = ("reason", "because_of")
    REASON_FIELD_NUMBER: _ClassVar[int]
    BECAUSE_OF_FIELD_NUMBER: _ClassVar[int]
    reason: SkipReason
    because_of: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, reason: _Optional[_Union[SkipReason, str]] = ..., because_of: _Optional[_Iterable[str]] = ...) -> None: ...

class StepCancelledEvent(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RunWarningEvent(_message.Message):
    __slots__ = ("message", "context_key")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_KEY_FIELD_NUMBER: _ClassVar[int]
    message: str
    context_key: str
    def __init__(self, message: _Optional[str] = ..., context_key: _Optional[str] = ...) -> None: ...

class RunFinishedEvent(_message.Message):
    __slots__ = ("status", "failure", "failed_steps", "usage")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    FAILED_STEPS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    status: WorkflowRunStatus
    failure: _error_pb2.Failure
    failed_steps: _containers.RepeatedScalarFieldContainer[str]
    usage: _agent_pb2.Usage
    def __init__(self, status: _Optional[_Union[WorkflowRunStatus, str]] = ..., failure: _Optional[_Union[_error_pb2.Failure, _Mapping]] = ..., failed_steps: _Optional[_Iterable[str]] = ..., usage: _Optional[_Union[_agent_pb2.Usage, _Mapping]] = ...) -> None: ...
