"""One table from a failed RPC to an exception, complete against the contract."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message as ProtoMessage
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc.aio import AioRpcError, Metadata

from headwater import exceptions
from headwater._grpc.errors import BY_REASON, CallersNames, to_exception
from headwater._values.failures import FACTS
from headwater.exceptions import (
    AuthenticationError,
    ContextWindowError,
    HeadwaterError,
    MessageTooLargeError,
    ProviderAuthError,
    ProviderError,
    ProviderNotFoundError,
    ProviderRateLimitError,
    ServerOverloadedError,
    ServerUnavailableError,
    StreamExpiredError,
    StreamInterruptedError,
    StreamTimeoutError,
    ValidationError,
)
from headwater.v1 import error_pb2

Code = grpc.StatusCode
TARGET = "example:50051"


def failure(code: grpc.StatusCode, *details: ProtoMessage, message: str = "it failed") -> AioRpcError:
    packed = []
    for detail in details:
        packed.append(AnyMessage())
        packed[-1].Pack(detail)
    status = Status(code=code.value[0], message=message, details=packed)
    return with_details(code, status.SerializeToString(), message)


def with_details(code: grpc.StatusCode, details: bytes, message: str = "it failed") -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(("grpc-status-details-bin", details)), message, "")


def bare(code: grpc.StatusCode, message: str = "it failed") -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(), message, "")


def info(reason: str, **metadata: str) -> ErrorInfo:
    return ErrorInfo(reason=reason, domain="headwater.ai", metadata=metadata)


def test_the_table_has_every_reason_of_the_contract_and_no_other() -> None:
    names = {name.removeprefix("ERROR_REASON_") for name in error_pb2.ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118
    assert set(BY_REASON) == names


def test_the_contract_says_which_failures_can_pass() -> None:
    facts = {reason: (found.code, found.retryable, found.step_retryable) for reason, found in FACTS.items()}
    assert facts["PROVIDER_RATE_LIMITED"] == (8, True, True)
    assert facts["STREAM_INTERRUPTED"] == (10, False, True)
    assert facts["PROVIDER_QUOTA_EXHAUSTED"] == (8, False, False)
    assert set(facts) - {"UNSPECIFIED"} == set(BY_REASON)


@pytest.mark.parametrize(
    ("reason", "code", "kind"),
    [
        ("INVALID_REQUEST", Code.INVALID_ARGUMENT, ValidationError),
        ("PROVIDER_NOT_FOUND", Code.NOT_FOUND, ProviderNotFoundError),
        ("PROVIDER_AUTH_FAILED", Code.FAILED_PRECONDITION, ProviderAuthError),
        ("PROVIDER_RATE_LIMITED", Code.RESOURCE_EXHAUSTED, ProviderRateLimitError),
        ("PROVIDER_QUOTA_EXHAUSTED", Code.RESOURCE_EXHAUSTED, ProviderRateLimitError),
        ("PROVIDER_UNAVAILABLE", Code.UNAVAILABLE, ProviderError),
        ("PROVIDER_REJECTED_REQUEST", Code.INVALID_ARGUMENT, ProviderError),
        ("CONTEXT_WINDOW_EXCEEDED", Code.INVALID_ARGUMENT, ContextWindowError),
        ("MODEL_NOT_FOUND", Code.NOT_FOUND, ProviderNotFoundError),
        ("STREAM_INTERRUPTED", Code.ABORTED, StreamInterruptedError),
        ("STREAM_TIMEOUT", Code.DEADLINE_EXCEEDED, StreamTimeoutError),
        ("STREAM_CANCELLED", Code.CANCELLED, StreamInterruptedError),
        ("STREAM_NOT_FOUND", Code.NOT_FOUND, StreamExpiredError),
        ("REPLY_TOO_LARGE", Code.RESOURCE_EXHAUSTED, MessageTooLargeError),
        ("SERVER_DRAINING", Code.UNAVAILABLE, ServerUnavailableError),
        ("JOURNAL_UNAVAILABLE", Code.UNAVAILABLE, ServerUnavailableError),
        ("INTERNAL", Code.INTERNAL, HeadwaterError),
        ("SERVER_OVERLOADED", Code.RESOURCE_EXHAUSTED, ServerOverloadedError),
        # Reasons that only a newer server has.
        ("CALLER_UNAUTHENTICATED", Code.UNAUTHENTICATED, AuthenticationError),
        ("CALLER_FORBIDDEN", Code.PERMISSION_DENIED, AuthenticationError),
        ("CALLER_LIMITED", Code.RESOURCE_EXHAUSTED, ServerOverloadedError),
        ("STREAM_EXPIRED", Code.OUT_OF_RANGE, StreamExpiredError),
        ("NEVER_HEARD_OF", Code.DATA_LOSS, HeadwaterError),
    ],
)
def test_each_reason_has_its_exception(reason: str, code: grpc.StatusCode, kind: type) -> None:
    error = to_exception(failure(code, info(reason)), target=TARGET)
    assert type(error) is kind
    assert (error.reason, error.code, str(error)) == (reason, code, "it failed")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code.RESOURCE_EXHAUSTED, MessageTooLargeError),
        (Code.UNAVAILABLE, ServerUnavailableError),
        (Code.DEADLINE_EXCEEDED, StreamTimeoutError),
        (Code.UNAUTHENTICATED, AuthenticationError),
        (Code.PERMISSION_DENIED, AuthenticationError),
        (Code.CANCELLED, StreamInterruptedError),
        (Code.INTERNAL, HeadwaterError),
        (Code.UNKNOWN, HeadwaterError),
        (Code.UNIMPLEMENTED, HeadwaterError),
    ],
)
def test_without_details_the_code_decides(code: grpc.StatusCode, kind: type) -> None:
    error = to_exception(bare(code), target=TARGET)
    assert type(error) is kind
    assert (error.reason, error.code) == (None, code)


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.INTERNAL, Code.UNKNOWN])
def test_without_details_after_the_first_chunk_the_connection_was_lost(code: grpc.StatusCode) -> None:
    error = to_exception(bare(code), target=TARGET, partial_response="so far", started=True)
    assert type(error) is StreamInterruptedError
    assert error.partial_response == "so far"


def test_an_unreachable_server_is_a_connection_error_that_names_it() -> None:
    error = to_exception(bare(Code.UNAVAILABLE), target=TARGET)
    assert isinstance(error, ConnectionError)
    assert TARGET in str(error)
    assert "headwater serve" in str(error)


def test_a_timeout_is_an_interruption_and_a_timeout_error_with_the_text_so_far() -> None:
    error = to_exception(bare(Code.DEADLINE_EXCEEDED), target=TARGET, partial_response="so far", started=True)
    assert isinstance(error, StreamInterruptedError)
    assert isinstance(error, TimeoutError)
    assert error.partial_response == "so far"


def test_a_provider_error_has_the_providers_facts() -> None:
    metadata = {
        "provider": "openai",
        "model": "gpt-4o-mini",
        "http_status": "429",
        "provider_code": "rate_limit_exceeded",
        "provider_request_id": "req_1",
    }
    retry = RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000))
    error = to_exception(failure(Code.RESOURCE_EXHAUSTED, info("PROVIDER_RATE_LIMITED", **metadata), retry), target="")
    assert isinstance(error, ProviderRateLimitError)
    assert (error.provider, error.model, error.http_status) == ("openai", "gpt-4o-mini", 429)
    assert (error.provider_code, error.provider_request_id) == ("rate_limit_exceeded", "req_1")
    assert (error.retry_after, error.metadata) == (2.5, metadata)


def test_an_interruption_has_them_too() -> None:
    cut = failure(Code.ABORTED, info("STREAM_INTERRUPTED", provider="openai", provider_code="server_error"))
    error = to_exception(cut, target="", started=True)
    assert (error.provider, error.provider_code, error.model) == ("openai", "server_error", None)


@pytest.mark.parametrize("status", ["", "abc", "-1", "²", "9" * 5000])
def test_facts_that_are_missing_or_no_number_are_none(status: str) -> None:
    error = to_exception(failure(Code.UNAVAILABLE, info("PROVIDER_UNAVAILABLE", http_status=status)), target="")
    assert isinstance(error, ProviderError)
    assert (error.http_status, error.provider, error.retry_after) == (None, None, None)


def test_a_validation_error_names_each_bad_field() -> None:
    violations = [
        BadRequest.FieldViolation(field="temperature", description="must be 0 to 2"),
        BadRequest.FieldViolation(field="seed", description="openai has no seed"),
    ]
    error = to_exception(
        failure(Code.INVALID_ARGUMENT, info("INVALID_REQUEST"), BadRequest(field_violations=violations)), target=""
    )
    assert isinstance(error, ValidationError)
    assert isinstance(error, ValueError)
    assert error.violations == [("temperature", "must be 0 to 2"), ("seed", "openai has no seed")]


NAMES = CallersNames(history=4, prompt=4, options=frozenset({"num_ctx", "think"}))
GIVEN = CallersNames(history=0, prompt=2, options=frozenset())


@pytest.mark.parametrize(
    ("names", "sent", "written"),
    [
        (NAMES, "messages[4].parts[0].image.url", "prompt[0].url"),
        (NAMES, "messages[4].parts[1].tool_call", "prompt[1].tool_call"),
        (NAMES, "messages[4].parts", "prompt"),
        (NAMES, "messages[4]", "prompt"),
        (NAMES, "messages[1].parts", "history[1].content"),
        (GIVEN, "messages[2].parts[0].image", "prompt[0].image"),
        (GIVEN, "messages[1].parts[0].image.media_type", "messages[1].content[0].media_type"),
        (GIVEN, "messages[0].role", "messages[0].role"),
        (CallersNames(0, None, frozenset()), "messages[0].parts[0]", "messages[0].content[0]"),
        (NAMES, "provider_options.ollama.num_ctx", "num_ctx (an option of ollama)"),
        (NAMES, "provider_options.ollama.think[0].a", "think[0].a (an option of ollama)"),
        (NAMES, "provider_options.ollama.other", "provider_options.ollama.other"),
        (NAMES, "provider_options.ollama", "provider_options.ollama"),
        (NAMES, "messages", "messages"),
        (NAMES, "messages[99999999999999999999]", "messages[99999999999999999999]"),
        (NAMES, "temperature", "temperature"),
        (NAMES, "", ""),
    ],
)
def test_a_field_is_named_as_the_caller_wrote_it(names: CallersNames, sent: str, written: str) -> None:
    assert names.of(sent) == written


def test_message_and_violations_speak_the_callers_words() -> None:
    fields = [("messages[4].parts", "is too long"), ("seed", "openai has no seed"), ("", "and 3 more")]
    bad = BadRequest(field_violations=[BadRequest.FieldViolation(field=f, description=d) for f, d in fields])
    error = to_exception(failure(Code.INVALID_ARGUMENT, info("INVALID_REQUEST"), bad), target="", names=NAMES)
    assert isinstance(error, ValidationError)
    assert error.violations == [("prompt", "is too long"), *fields[1:]]
    assert str(error) == "prompt: is too long; seed: openai has no seed; and 3 more"


def test_the_servers_message_is_kept_where_its_words_are_the_callers() -> None:
    bad = BadRequest(field_violations=[BadRequest.FieldViolation(field="seed", description="openai has no seed")])
    error = to_exception(failure(Code.INVALID_ARGUMENT, info("INVALID_REQUEST"), bad), target="", names=NAMES)
    assert str(error) == "it failed"


def test_error_info_of_another_domain_is_not_ours() -> None:
    foreign = ErrorInfo(reason="PROVIDER_NOT_FOUND", domain="googleapis.com")
    error = to_exception(failure(Code.UNAVAILABLE, foreign), target=TARGET)
    assert type(error) is ServerUnavailableError


@pytest.mark.parametrize(
    "details",
    [
        b"\xff\xff\xff",
        Status(code=3, message="another message").SerializeToString(),
        Status(
            code=14,
            message="it failed",
            details=[AnyMessage(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff")],
        ).SerializeToString(),
    ],
)
def test_broken_details_count_as_none(details: bytes) -> None:
    assert type(to_exception(with_details(Code.UNAVAILABLE, details), target=TARGET)) is ServerUnavailableError


def test_an_error_without_a_message_says_its_code() -> None:
    assert "INTERNAL" in str(to_exception(bare(Code.INTERNAL, ""), target=TARGET))


ALL = [getattr(exceptions, name) for name in exceptions.__all__ if name.endswith("Error")]


@pytest.mark.parametrize("kind", ALL)
def test_every_exception_can_be_made_from_a_message_and_sent_to_another_process(kind: Any) -> None:
    error = kind("what happened")
    error.reason, error.metadata = "SOME_REASON", {"provider": "openai"}
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301
        assert type(twin) is kind
        assert (str(twin), twin.reason, twin.metadata) == ("what happened", "SOME_REASON", {"provider": "openai"})
    assert isinstance(error, HeadwaterError)


def test_the_shape_of_an_interruption() -> None:
    assert StreamInterruptedError("cut").partial_response is None
    assert StreamInterruptedError("cut", "so far").partial_response == "so far"
    assert StreamTimeoutError("late", partial_response="so far").partial_response == "so far"


def test_what_is_a_provider_error() -> None:
    assert {kind for kind in ALL if issubclass(kind, ProviderError)} == {
        ProviderError,
        ProviderNotFoundError,
        ProviderAuthError,
        ProviderRateLimitError,
        ContextWindowError,
    }
