"""The meaning of a provider's error: by code, then by type, then by status, never by the words of its message."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.wires.errors import response_error, stream_error


def http(status: int, error: Any = None, headers: dict[str, str] | None = None) -> HeadwaterError:
    body = b"" if error is None else json.dumps({"error": error}).encode()
    return response_error(status, headers or {}, body)


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        # By code.
        (429, {"type": "requests", "code": "rate_limit_exceeded"}, Reason.PROVIDER_RATE_LIMITED),
        (429, {"type": "insufficient_quota", "code": "insufficient_quota"}, Reason.PROVIDER_QUOTA_EXHAUSTED),
        (429, {"type": "x", "code": "credit_balance_exhausted"}, Reason.PROVIDER_QUOTA_EXHAUSTED),
        (
            429,
            {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}},
            Reason.PROVIDER_QUOTA_EXHAUSTED,
        ),
        (400, {"type": "invalid_request_error", "code": "context_length_exceeded"}, Reason.CONTEXT_WINDOW_EXCEEDED),
        (400, {"type": "exceed_context_size_error", "code": 400}, Reason.CONTEXT_WINDOW_EXCEEDED),
        (400, {"type": "invalid_request_error", "code": "model_not_found"}, Reason.MODEL_NOT_FOUND),
        (401, {"type": "invalid_request_error", "code": "invalid_api_key"}, Reason.PROVIDER_AUTH_FAILED),
        (400, {"type": "invalid_request_error", "code": "unsupported_value"}, Reason.PROVIDER_REJECTED_REQUEST),
        # By type.
        (429, {"type": "insufficient_quota"}, Reason.PROVIDER_QUOTA_EXHAUSTED),
        (402, {"type": "billing_error"}, Reason.PROVIDER_QUOTA_EXHAUSTED),
        (400, {"type": "billing_error"}, Reason.PROVIDER_QUOTA_EXHAUSTED),
        (400, {"type": "authentication_error"}, Reason.PROVIDER_AUTH_FAILED),
        (403, {"type": "permission_error"}, Reason.PROVIDER_AUTH_FAILED),
        (529, {"type": "overloaded_error"}, Reason.PROVIDER_UNAVAILABLE),
        # By status.
        (400, {"type": "invalid_request_error"}, Reason.PROVIDER_REJECTED_REQUEST),
        (401, {"type": "invalid_request_error"}, Reason.PROVIDER_AUTH_FAILED),
        (402, {"message": "Insufficient Balance"}, Reason.PROVIDER_QUOTA_EXHAUSTED),
        (403, None, Reason.PROVIDER_AUTH_FAILED),
        (404, {"type": "not_found_error", "message": "model: x"}, Reason.MODEL_NOT_FOUND),
        (404, {"type": "not_found_error", "message": "Not Found"}, Reason.PROVIDER_UNAVAILABLE),
        (404, None, Reason.PROVIDER_UNAVAILABLE),
        (408, None, Reason.PROVIDER_UNAVAILABLE),
        (409, {"type": "conflict_error"}, Reason.PROVIDER_UNAVAILABLE),
        (413, None, Reason.PROVIDER_REJECTED_REQUEST),
        (422, {"type": "x"}, Reason.PROVIDER_REJECTED_REQUEST),
        (429, None, Reason.PROVIDER_RATE_LIMITED),
        (500, None, Reason.PROVIDER_UNAVAILABLE),
        (503, {"type": "never heard of", "code": "neither"}, Reason.PROVIDER_UNAVAILABLE),
        (529, None, Reason.PROVIDER_UNAVAILABLE),
        (302, None, Reason.PROVIDER_UNAVAILABLE),
        (204, None, Reason.PROVIDER_UNAVAILABLE),
    ],
)
def test_what_an_http_error_means(status: int, error: Any, reason: Reason) -> None:
    assert http(status, error).reason is reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, Reason.PROVIDER_UNAVAILABLE),
        ({"type": "server_error", "message": "x", "code": None}, Reason.PROVIDER_UNAVAILABLE),
        ({"type": "insufficient_quota", "code": "credit_balance_exhausted"}, Reason.PROVIDER_QUOTA_EXHAUSTED),
        ({"code": "rate_limit_exceeded"}, Reason.PROVIDER_RATE_LIMITED),
        ({"code": "server_error"}, Reason.PROVIDER_UNAVAILABLE),
        ({"code": "invalid_prompt"}, Reason.PROVIDER_REJECTED_REQUEST),
        ({"type": "invalid_request_error"}, Reason.PROVIDER_REJECTED_REQUEST),
        ({"type": "BadRequestError", "code": 400}, Reason.PROVIDER_REJECTED_REQUEST),
        ({"code": 503}, Reason.PROVIDER_UNAVAILABLE),
        ({"code": 401}, Reason.PROVIDER_AUTH_FAILED),
        ("an error was encountered", Reason.PROVIDER_UNAVAILABLE),
        (True, Reason.PROVIDER_UNAVAILABLE),
        ([], Reason.PROVIDER_UNAVAILABLE),
    ],
)
def test_what_an_error_inside_a_stream_means(error: Any, reason: Reason) -> None:
    assert stream_error(error).reason is reason


def test_the_message_is_the_providers_own() -> None:
    assert http(400, {"message": "temperature: Extra inputs are not permitted"}).message == (
        "temperature: Extra inputs are not permitted"
    )
    assert stream_error({"message": "Overloaded"}).message == "Overloaded"
    assert stream_error("out of memory").message == "out of memory"


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"message": "no such thing"}}',
        b'{"error": "no such thing"}',
        b'{"object": "error", "message": "no such thing", "type": "NotFoundError", "code": 404}',
        b'{"detail": "no such thing"}',
        b'[{"error": {"message": "no such thing"}}]',
        b'"no such thing"',
        b"no such thing\n",
    ],
)
def test_a_body_may_have_many_shapes(body: bytes) -> None:
    assert response_error(400, {}, body).message == "no such thing"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"{}",
        b'{"error": {}}',
        b"null",
        b"[]",
        b"1",
    ],
)
def test_without_words_of_the_provider_the_message_names_the_status(body: bytes) -> None:
    error = response_error(502, {}, body)
    assert error.message == "the provider answered with HTTP status 502 and no message"


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"error":' * 20_000, b"9" * 10_000, b'{"error": {"message": 1}}'])
def test_a_hostile_body_is_only_a_body(body: bytes) -> None:
    assert response_error(500, {}, body).reason is Reason.PROVIDER_UNAVAILABLE


def test_a_long_message_is_cut() -> None:
    message = http(400, {"message": "é" * 5000}).message
    assert len(message) == 500
    assert message.endswith("…")


def test_a_message_holds_no_surrogate_and_no_control_character() -> None:
    error = response_error(400, {}, rb'{"error": {"message": "a\ud83d\u0000\nb", "code": "\ud83d", "type": "t"}}')
    assert error.message == "a\ufffd  b"
    assert error.metadata["provider_code"] == "\ufffd"


def test_a_404_that_is_no_error_object_points_at_the_base_url() -> None:
    for body in (b"404 page not found", b"<html>", b"", b'{"detail": "Not Found"}'):
        error = response_error(404, {}, body)
        assert error.reason is Reason.PROVIDER_UNAVAILABLE
        assert "check the provider's base URL" in error.message


def test_metadata_holds_status_code_and_request_id() -> None:
    error = http(429, {"type": "requests", "code": "rate_limit_exceeded"}, {"x-request-id": "req_1"})
    assert error.metadata == {
        "http_status": "429",
        "provider_code": "rate_limit_exceeded",
        "provider_request_id": "req_1",
    }


def test_the_code_is_the_type_where_there_is_no_code() -> None:
    assert http(529, {"type": "overloaded_error"}).metadata["provider_code"] == "overloaded_error"
    assert http(404, {"type": "NotFoundError", "code": 404}).metadata["provider_code"] == "404"
    assert "provider_code" not in http(500).metadata


@pytest.mark.parametrize("name", ["x-request-id", "request-id", "apim-request-id"])
def test_the_request_id_has_several_headers(name: str) -> None:
    assert http(500, None, {name: "r"}).metadata["provider_request_id"] == "r"


def test_the_request_id_may_be_in_the_body() -> None:
    body = b'{"type": "error", "error": {"type": "api_error"}, "request_id": "req_2"}'
    assert response_error(500, {}, body).metadata["provider_request_id"] == "req_2"
    assert stream_error({"type": "api_error"}, request_id="req_3").metadata == {
        "provider_code": "api_error",
        "provider_request_id": "req_3",
    }


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "18"}, 18.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "7", "retry-after-ms": "6800"}, 6.8),
        ({"retry-after": "7", "retry-after-ms": "soon"}, 7.0),
        ({"retry-after": "Sun, 22 Nov 2026 06:00:30 GMT", "date": "Sun, 22 Nov 2026 06:00:00 GMT"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 05:00:00 GMT", "date": "Sun, 22 Nov 2026 06:00:00 GMT"}, 0.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e300"}, None),
        ({"retry-after-ms": "1e300"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert http(429, None, headers).retry_after_seconds == seconds


def test_a_date_without_a_date_header_counts_from_now() -> None:
    assert http(429, None, {"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}).retry_after_seconds == 0.0


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize(
    "later", ["Sun Nov  6 08:50:07 1994", "Sunday, 06-Nov-94 08:50:07 GMT", "Sun, 06 Nov 1994 08:50:07"]
)
def test_dates_are_in_utc_in_each_of_their_forms_wherever_the_server_stands(monkeypatch, zone, later):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        headers = {"date": "Sun, 06 Nov 1994 08:49:37 GMT", "retry-after": later}
        assert http(429, None, headers).retry_after_seconds == 30.0
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_overloaded_provider_may_say_how_long_to_wait() -> None:
    assert http(503, None, {"retry-after": "3"}).retry_after_seconds == 3.0


@pytest.mark.parametrize(
    ("status", "error"),
    [(429, {"code": "insufficient_quota"}), (400, {"type": "x"}), (401, None), (404, {"message": "model x"})],
)
def test_where_waiting_does_not_help_there_is_no_wait(status: int, error: Any) -> None:
    assert http(status, error, {"retry-after": "3"}).retry_after_seconds is None
