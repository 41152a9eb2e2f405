from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
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

class StreamState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STREAM_STATE_UNSPECIFIED: _ClassVar[StreamState]
    STREAM_STATE_ATTACHED: _ClassVar[StreamState]
    STREAM_STATE_DETACHED: _ClassVar[StreamState]
    STREAM_STATE_ENDED: _ClassVar[StreamState]
STREAM_STATE_UNSPECIFIED: StreamState
STREAM_STATE_ATTACHED: StreamState
STREAM_STATE_DETACHED: StreamState
STREAM_STATE_ENDED: StreamState

class StreamRequest(_message.Message):
    __slots__ = ("agent", "prompt", "messages", "continues_stream_id", "continues_sequence", "resumable", "heartbeat_interval")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    CONTINUES_STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    CONTINUES_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RESUMABLE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    agent: _agent_pb2.AgentConfig
    prompt: str
    messages: _containers.RepeatedCompositeFieldContainer[_agent_pb2.ChatMessage]
    continues_stream_id: str
    continues_sequence: int
    resumable: bool
    heartbeat_interval: _duration_pb2.Duration
    def __init__(self, agent: _Optional[_Union[_agent_pb2.AgentConfig, _Mapping]] = ..., prompt: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[_agent_pb2.ChatMessage, _Mapping]]] = ..., continues_stream_id: _Optional[str] = ..., continues_sequence: _Optional[int] = ..., resumable: bool = ..., heartbeat_interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ResumeStreamRequest(_message.Message):
    __slots__ = ("stream_id", "after_sequence", "heartbeat_interval")
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    stream_id: str
    after_sequence: int
    heartbeat_interval: _duration_pb2.Duration
    def __init__(self, stream_id: _Optional[str] = ..., after_sequence: _Optional[int] = ..., heartbeat_interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RunRequest(_message.Message):
    __slots__ = ("agent", "prompt", "messages")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    agent: _agent_pb2.AgentConfig
    prompt: str
    messages: _containers.RepeatedCompositeFieldContainer[_agent_pb2.ChatMessage]
    def __init__(self, agent: _Optional[_Union[_agent_pb2.AgentConfig, _Mapping]] = ..., prompt: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[_agent_pb2.ChatMessage, _Mapping]]] = ...) -> None: ...

class RunResponse(_message.Message):
    __slots__ = ("content", "thinking", "refusal", "tool_calls", "finish_reason", "provider_finish_reason", "stop_sequence", "usage", "stats", "metadata", "stream_id", "model", "provider", "provider_request_id", "message", "citations", "images", "logprobs", "attempts", "cost")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    THINKING_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    STOP_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CITATIONS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    content: str
    thinking: str
    refusal: str
    tool_calls: _containers.RepeatedCompositeFieldContainer[_agent_pb2.ToolCall]
    finish_reason: _agent_pb2.FinishReason
    provider_finish_reason: str
    stop_sequence: str
    usage: _agent_pb2.Usage
    stats: _agent_pb2.StreamStats
    metadata: _struct_pb2.Struct
    stream_id: str
    model: str
    provider: str
    provider_request_id: str
    message: _agent_pb2.ChatMessage
    citations: _containers.RepeatedCompositeFieldContainer[_agent_pb2.Citation]
    images: _containers.RepeatedCompositeFieldContainer[_agent_pb2.Image]
    logprobs: _containers.RepeatedCompositeFieldContainer[_agent_pb2.TokenLogprob]
    attempts: _containers.RepeatedCompositeFieldContainer[_error_pb2.Attempt]
    cost: str
    def __init__(self, content: _Optional[str] = ..., thinking: _Optional[str] = ..., refusal: _Optional[str] = ..., tool_calls: _Optional[_Iterable[_Union[_agent_pb2.ToolCall, _Mapping]]] = ..., finish_reason: _Optional[_Union[_agent_pb2.FinishReason, str]] = ..., provider_finish_reason: _Optional[str] = ..., stop_sequence: _Optional[str] = ..., usage: _Optional[_Union[_agent_pb2.Usage, _Mapping]] = ..., stats: _Optional[_Union[_agent_pb2.StreamStats, _Mapping]] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., stream_id: _Optional[str] = ..., model: _Optional[str] = ..., provider: _Optional[str] = ..., provider_request_id: _Optional[str] = ..., message: _Optional[_Union[_agent_pb2.ChatMessage, _Mapping]] = ..., citations: _Optional[_Iterable[_Union[_agent_pb2.Citation, _Mapping]]] = ..., images: _Optional[_Iterable[_Union[_agent_pb2.Image, _Mapping]]] = ..., logprobs: _Optional[_Iterable[_Union[_agent_pb2.TokenLogprob, _Mapping]]] = ..., attempts: _Optional[_Iterable[_Union[_error_pb2.Attempt, _Mapping]]] = ..., cost: _Optional[str] = ...) -> None: ...

class CancelStreamRequest(_message.Message):
    __slots__ = ("stream_id",)
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    stream_id: str
    def __init__(self, stream_id: _Optional[str] = ...) -> None: ...

class CancelStreamResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListStreamsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "show_ended")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SHOW_ENDED_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    show_ended: bool
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., show_ended: bool = ...) -> None: ...

class ListStreamsResponse(_message.Message):
    __slots__ = ("streams", "next_page_token")
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    streams: _containers.RepeatedCompositeFieldContainer[StreamInfo]
    next_page_token: str
    def __init__(self, streams: _Optional[_Iterable[_Union[StreamInfo, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class StreamInfo(_message.Message):
    __slots__ = ("stream_id", "model", "provider", "create_time", "chunk_count", "labels", "state", "resumable", "last_sequence")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    CHUNK_COUNT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RESUMABLE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    stream_id: str
    model: str
    provider: str
    create_time: _timestamp_pb2.Timestamp
    chunk_count: int
    labels: _containers.ScalarMap[str, str]
    state: StreamState
    resumable: bool
    last_sequence: int
    def __init__(self, stream_id: _Optional[str] = ..., model: _Optional[str] = ..., provider: _Optional[str] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., chunk_count: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., state: _Optional[_Union[StreamState, str]] = ..., resumable: bool = ..., last_sequence: _Optional[int] = ...) -> None: ...

class GetProviderInfoRequest(_message.Message):
    __slots__ = ("provider", "model")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    provider: str
    model: str
    def __init__(self, provider: _Optional[str] = ..., model: _Optional[str] = ...) -> None: ...

class GetProviderInfoResponse(_message.Message):
    __slots__ = ("provider",)
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    provider: ProviderInfo
    def __init__(self, provider: _Optional[_Union[ProviderInfo, _Mapping]] = ...) -> None: ...

class ListProvidersRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListProvidersResponse(_message.Message):
    __slots__ = ("providers", "default_provider", "default_model", "next_page_token")
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_PROVIDER_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_MODEL_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    providers: _containers.RepeatedCompositeFieldContainer[ProviderSummary]
    default_provider: str
    default_model: str
    next_page_token: str
    def __init__(self, providers: _Optional[_Iterable[_Union[ProviderSummary, _Mapping]]] = ..., default_provider: _Optional[str] = ..., default_model: _Optional[str] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ProviderSummary(_message.Message):
    __slots__ = ("name", "type", "default_model")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_MODEL_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    default_model: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., default_model: _Optional[str] = ...) -> None: ...

class ProviderInfo(_message.Message):
    __slots__ = ("name", "type", "model", "supports_streaming", "supports_tools", "supported_params", "api", "context_window")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SUPPORTS_STREAMING_FIELD_NUMBER: _ClassVar[int]
    SUPPORTS_TOOLS_FIELD_NUMBER: _ClassVar[int]
    SUPPORTED_PARAMS_FIELD_NUMBER: _ClassVar[int]
    API_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_WINDOW_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    model: str
    supports_streaming: bool
    supports_tools: bool
    supported_params: _containers.RepeatedScalarFieldContainer[str]
    api: str
    context_window: int
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., model: _Optional[str] = ..., supports_streaming: bool = ..., supports_tools: bool = ..., supported_params: _Optional[_Iterable[str]] = ..., api: _Optional[str] = ..., context_window: _Optional[int] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("provider", "page_size", "page_token")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    provider: str
    page_size: int
    page_token: str
    def __init__(self, provider: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "next_page_token")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelInfo]
    next_page_token: str
    def __init__(self, models: _Optional[_Iterable[_Union[ModelInfo, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ModelInfo(_message.Message):
    __slots__ = ("name", "provider", "capabilities", "targets")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    name: str
    provider: str
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    targets: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., provider: _Optional[str] = ..., capabilities: _Optional[_Iterable[str]] = ..., targets: _Optional[_Iterable[str]] = ...) -> None: ...
