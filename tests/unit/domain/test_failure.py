"""The failure of a step, which is never larger than the contract allows."""

from __future__ import annotations

from headwater_server.domain.errors import Reason
from headwater_server.domain.failure import Failure, ProviderFacts


def depth(failure: Failure | None) -> int:
    return 0 if failure is None else 1 + depth(failure.cause)


def test_a_message_or_a_type_that_is_too_long_is_cut() -> None:
    failure = Failure(Reason.STEP_FAILED, "m" * 1_001, "t" * 300)
    assert failure.message == "m" * 997 + "..."
    assert failure.type == "t" * 253 + "..."


def test_what_fits_is_kept() -> None:
    failure = Failure(Reason.STEP_FAILED, "m" * 1_000, "t" * 256)
    assert (len(failure.message), len(failure.type)) == (1_000, 256)
    assert not failure.message.endswith("...")


def test_facts_of_a_provider_are_cut() -> None:
    assert len(ProviderFacts(request_id="r" * 10_000).request_id) == 256


def test_causes_are_kept_eight_deep() -> None:
    failure = Failure(Reason.INTERNAL, "0")
    for number in range(1, 20):
        failure = Failure(Reason.INTERNAL, str(number), cause=failure)
    assert depth(failure.cause) == 8
    assert failure.cause is not None
    assert failure.cause.message == "18"


def test_a_delay_is_at_most_a_day() -> None:
    assert Failure(Reason.PROVIDER_RATE_LIMITED, "", retry_delay_seconds=1e9).retry_delay_seconds == 86_400
    assert Failure(Reason.PROVIDER_RATE_LIMITED, "", retry_delay_seconds=-1).retry_delay_seconds == 0
    assert Failure(Reason.PROVIDER_RATE_LIMITED, "").retry_delay_seconds is None


def test_its_text_has_the_type_once() -> None:
    assert Failure(Reason.STEP_FAILED, "no", "ValueError").text == "ValueError: no"
    assert Failure(Reason.STEP_FAILED, "ValueError: no", "ValueError").text == "ValueError: no"
    assert Failure(Reason.STEP_FAILED, "no").text == "no"
