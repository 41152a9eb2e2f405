"""Failures between the contract and the domain."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration

from headwater.v1 import error_pb2
from headwater_server.domain.attempts import Attempt
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.failure import Failure, ProviderFacts
from headwater_server.transport.convert.failures import attempt, failure, parse_failure, step_failure

FULL = Failure(
    Reason.PROVIDER_RATE_LIMITED,
    "slow down",
    "RateLimitError",
    non_retryable=True,
    retry_delay_seconds=0.2,
    provider=ProviderFacts("openai", "gpt", 429, "rate_limit", "req_1"),
    cause=Failure(Reason.STEP_FAILED, "before"),
)


def test_every_field_comes_back() -> None:
    assert parse_failure(failure(FULL), Reason.STEP_FAILED) == FULL


def test_a_failure_without_anything_has_the_default_reason_and_may_be_tried_again() -> None:
    assert parse_failure(error_pb2.Failure(), Reason.STEP_FAILED) == Failure(Reason.STEP_FAILED, "")
    unknown = error_pb2.Failure(reason=9999)  # type: ignore[arg-type]
    assert parse_failure(unknown, Reason.TOOL_FAILED).reason is Reason.TOOL_FAILED


def test_causes_are_read_eight_deep() -> None:
    message = error_pb2.Failure()
    deepest = message
    for _ in range(50):
        deepest = deepest.cause
        deepest.message = "x"
    found: Failure | None = parse_failure(message, Reason.STEP_FAILED)
    depth = 0
    while found is not None:
        found, depth = found.cause, depth + 1
    assert depth == 9


@pytest.mark.parametrize(
    ("delay", "text"),
    [
        (Duration(seconds=-1), "has a retry_delay of -1 s, must be 0 to 1 day"),
        (Duration(seconds=86_401), "has a retry_delay of 86401 s, must be 0 to 1 day"),
        (Duration(nanos=2_000_000_000), "has a retry_delay that has 2000000000 nanos"),
        (Duration(seconds=1, nanos=-1), "has a retry_delay that has seconds and nanos of different signs"),
    ],
)
def test_a_delay_out_of_its_range_is_refused(delay: Duration, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        parse_failure(error_pb2.Failure(retry_delay=delay), Reason.STEP_FAILED)


def test_the_error_of_a_call_keeps_its_reason_delay_and_provider() -> None:
    facts = {"provider": "openai", "model": "gpt", "http_status": "429", "provider_code": "busy", "cause": "x"}
    error = HeadwaterError(Reason.PROVIDER_RATE_LIMITED, "slow", metadata=facts, retry_after_seconds=3.0)
    assert step_failure(error) == Failure(
        Reason.PROVIDER_RATE_LIMITED,
        "slow",
        retry_delay_seconds=3.0,
        provider=ProviderFacts("openai", "gpt", 429, "busy"),
    )


def test_the_contract_says_after_which_errors_a_step_is_tried_again() -> None:
    assert step_failure(HeadwaterError(Reason.INVALID_REQUEST, "no")) == Failure(
        Reason.INVALID_REQUEST, "no", non_retryable=True
    )
    assert not step_failure(HeadwaterError(Reason.STREAM_INTERRUPTED, "cut")).non_retryable


def test_an_attempt_says_what_was_tried_and_why_it_failed() -> None:
    tried = Attempt("azure", "m", Failure(Reason.PROVIDER_AUTH_FAILED, "no key", retry_delay_seconds=2), 0.25, 2)
    assert attempt(tried) == error_pb2.Attempt(
        provider="azure",
        model="m",
        failure={
            "reason": error_pb2.ERROR_REASON_PROVIDER_AUTH_FAILED,
            "message": "no key",
            "non_retryable": True,
            "retry_delay": {"seconds": 2},
        },
        duration={"nanos": 250_000_000},
        wait={"seconds": 2},
    )
