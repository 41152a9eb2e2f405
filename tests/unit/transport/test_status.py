"""The table from errors to statuses: complete, and always small enough to arrive."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from headwater.v1 import error_pb2
from headwater_server.domain.attempts import Attempt
from headwater_server.domain.errors import FieldViolation, HeadwaterError, Reason, invalid_request
from headwater_server.domain.failure import Failure, ProviderFacts
from headwater_server.transport import status
from headwater_server.transport.status import CODES


class FakeContext:
    """Takes a status, as a call would."""

    def set_code(self, code):
        self.code = code

    def set_details(self, message):
        self.message = message

    def set_trailing_metadata(self, trailers):
        [(key, self.raw)] = trailers
        assert key == "grpc-status-details-bin"


def sent(error: HeadwaterError) -> tuple[FakeContext, status_pb2.Status]:
    context = FakeContext()
    status.end(context, error)  # type: ignore[arg-type]
    return context, status_pb2.Status.FromString(context.raw)


def test_every_reason_has_a_code_and_is_in_the_contract():
    keys = error_pb2.ErrorReason.keys()
    names = {name.removeprefix("ERROR_REASON_") for name in keys} - {"UNSPECIFIED"}
    assert set(CODES) == set(Reason)
    assert {reason.value for reason in Reason} == names


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.INVALID_REQUEST, grpc.StatusCode.INVALID_ARGUMENT),
        (Reason.PROVIDER_AUTH_FAILED, grpc.StatusCode.FAILED_PRECONDITION),
        (Reason.STREAM_TIMEOUT, grpc.StatusCode.DEADLINE_EXCEEDED),
        (Reason.REQUEST_ID_REUSED, grpc.StatusCode.ALREADY_EXISTS),
        (Reason.TOOL_FAILED, grpc.StatusCode.ABORTED),
    ],
)
def test_the_code_is_the_one_of_the_contract(reason, code):
    assert CODES[reason] is code


@pytest.mark.parametrize("reason", list(Reason))
def test_an_error_has_code_message_and_error_info(reason):
    context, details = sent(HeadwaterError(reason, "what and how", metadata={"provider": "openai"}))
    info = error_details_pb2.ErrorInfo()
    assert details.details[0].Unpack(info)
    assert (info.reason, info.domain, dict(info.metadata)) == (reason.value, "headwater.ai", {"provider": "openai"})
    assert context.code is CODES[reason]
    assert details.code == context.code.value[0]
    assert details.message == context.message == "what and how"


def test_bad_fields_travel_as_bad_request():
    _, details = sent(invalid_request([FieldViolation("top_p", "must be above 0")]))
    bad = error_details_pb2.BadRequest()
    assert details.details[1].Unpack(bad)
    assert [(v.field, v.description) for v in bad.field_violations] == [("top_p", "must be above 0")]


def test_waiting_that_helps_travels_as_retry_info():
    _, details = sent(HeadwaterError(Reason.PROVIDER_RATE_LIMITED, "slow", retry_after_seconds=6.8))
    retry = error_details_pb2.RetryInfo()
    assert details.details[1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 6800


def failed_attempts(details: status_pb2.Status) -> error_pb2.FailedAttempts:
    attempts = error_pb2.FailedAttempts()
    assert details.details[1].Unpack(attempts)
    return attempts


def test_the_attempts_that_failed_travel_as_a_detail():
    error = HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "down")
    error.attempts = (
        Attempt("a", "m1", Failure(Reason.PROVIDER_RATE_LIMITED, "busy"), 0.5, 2.0),
        Attempt("b", "m2", Failure(Reason.PROVIDER_AUTH_FAILED, "no key"), 0.25),
    )
    first, second = failed_attempts(sent(error)[1]).attempts
    assert (first.provider, first.model, first.failure.message) == ("a", "m1", "busy")
    assert (first.duration.ToMilliseconds(), first.wait.ToMilliseconds()) == (500, 2000)
    assert (second.failure.reason, second.HasField("wait")) == (error_pb2.ERROR_REASON_PROVIDER_AUTH_FAILED, False)
    assert (first.failure.non_retryable, second.failure.non_retryable) == (False, True)


@pytest.mark.parametrize("character", ["x", "%", "é", "🧪"])
def test_the_most_and_the_largest_attempts_fit_into_the_trailers(character):
    long = character * 5000
    facts = ProviderFacts(long, long, 503, long, long)
    error = HeadwaterError(
        Reason.PROVIDER_UNAVAILABLE, long, metadata={f"key{i}": long for i in range(50)}, retry_after_seconds=1
    )
    failure = Failure(Reason.PROVIDER_UNAVAILABLE, long, provider=facts)
    error.attempts = (Attempt(long[:64], long[:256], failure, 1.0, 1.0),) * 10
    _, details = sent(error)
    assert sum(detail.ByteSize() for detail in details.details) <= 4096
    error.attempts = (Attempt("p", "m", Failure(Reason.PROVIDER_UNAVAILABLE, "down"), 1.0, 1.0),) * 10
    assert len(failed_attempts(sent(error)[1]).attempts) == 10


@pytest.mark.parametrize("character", ["x", "%", "é", "🧪"])
def test_even_the_largest_error_fits_into_the_trailers(character):
    violations = [FieldViolation(character * 5000, character * 5000) for _ in range(500)]
    error = HeadwaterError(
        Reason.INVALID_REQUEST,
        character * 100_000,
        violations=violations,
        metadata={f"key{i}": character * 5000 for i in range(50)},
        retry_after_seconds=1,
    )
    context, details = sent(error)
    assert len(percent_encoded(context.message)) <= 1024
    assert sum(detail.ByteSize() for detail in details.details) <= 4096
    bad = error_details_pb2.BadRequest()
    assert details.details[1].Unpack(bad)
    assert bad.field_violations[-1].description.endswith(" more")


def percent_encoded(message: str) -> str:
    """As gRPC writes a status message: printable ASCII but for % as it is, any other byte as %XX."""
    return "".join(chr(b) if 0x20 <= b <= 0x7E and b != 0x25 else f"%{b:02X}" for b in message.encode())
