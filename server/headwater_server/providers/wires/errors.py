"""The meaning of a provider's error.

The tables are asked in order: the error's code, its type, the HTTP status. They hold only codes and types that decide
by themselves; `invalid_request_error` comes with 400, 401 and 404 alike, so that it counts last, where an error inside
a stream has no status. Messages are for people, and decide nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.wires.json import parse_json
from headwater_server.providers.wires.surrogates import without_surrogates

MAX_MESSAGE = 500
"""Most characters of a provider's message."""

MAX_RETRY_AFTER_SECONDS = 366 * 86_400.0
"""A longer wait is taken for nonsense."""

REQUEST_ID_HEADERS = ("x-request-id", "request-id", "apim-request-id")

_BY_CODE = {
    "invalid_api_key": Reason.PROVIDER_AUTH_FAILED,
    "account_deactivated": Reason.PROVIDER_AUTH_FAILED,
    "unsupported_country_region_territory": Reason.PROVIDER_AUTH_FAILED,
    "rate_limit_exceeded": Reason.PROVIDER_RATE_LIMITED,
    "insufficient_quota": Reason.PROVIDER_QUOTA_EXHAUSTED,
    "credit_balance_exhausted": Reason.PROVIDER_QUOTA_EXHAUSTED,
    "billing_hard_limit_reached": Reason.PROVIDER_QUOTA_EXHAUSTED,
    "billing_not_active": Reason.PROVIDER_QUOTA_EXHAUSTED,
    "enforced_spend_limit_reached": Reason.PROVIDER_QUOTA_EXHAUSTED,
    "model_not_found": Reason.MODEL_NOT_FOUND,
    "DeploymentNotFound": Reason.MODEL_NOT_FOUND,
    "context_length_exceeded": Reason.CONTEXT_WINDOW_EXCEEDED,
    "server_error": Reason.PROVIDER_UNAVAILABLE,
    "slow_down": Reason.PROVIDER_UNAVAILABLE,
    "invalid_prompt": Reason.PROVIDER_REJECTED_REQUEST,
    "content_filter": Reason.PROVIDER_REJECTED_REQUEST,
    "content_policy_violation": Reason.PROVIDER_REJECTED_REQUEST,
}

_BY_TYPE = {
    "authentication_error": Reason.PROVIDER_AUTH_FAILED,
    "permission_error": Reason.PROVIDER_AUTH_FAILED,
    "rate_limit_error": Reason.PROVIDER_RATE_LIMITED,
    "rate_limit_exceeded": Reason.PROVIDER_RATE_LIMITED,
    "insufficient_quota": Reason.PROVIDER_QUOTA_EXHAUSTED,
    "billing_error": Reason.PROVIDER_QUOTA_EXHAUSTED,
    "overloaded_error": Reason.PROVIDER_UNAVAILABLE,
    "timeout_error": Reason.PROVIDER_UNAVAILABLE,
    "exceed_context_size_error": Reason.CONTEXT_WINDOW_EXCEEDED,
}

_BY_STATUS = {
    401: Reason.PROVIDER_AUTH_FAILED,
    402: Reason.PROVIDER_QUOTA_EXHAUSTED,
    403: Reason.PROVIDER_AUTH_FAILED,
    404: Reason.MODEL_NOT_FOUND,
    408: Reason.PROVIDER_UNAVAILABLE,
    409: Reason.PROVIDER_UNAVAILABLE,
    425: Reason.PROVIDER_UNAVAILABLE,
    429: Reason.PROVIDER_RATE_LIMITED,
}

_BY_TYPE_WITHOUT_STATUS = {
    "invalid_request_error": Reason.PROVIDER_REJECTED_REQUEST,
    "not_found_error": Reason.MODEL_NOT_FOUND,
    "requests": Reason.PROVIDER_RATE_LIMITED,
    "tokens": Reason.PROVIDER_RATE_LIMITED,
}

_WAITING_HELPS = (Reason.PROVIDER_RATE_LIMITED, Reason.PROVIDER_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class _Report:
    """The provider's facts about an error; empty where it gives none."""

    message: str = ""
    type: str = ""
    code: str = ""
    request_id: str = ""
    is_error_object: bool = False


def response_error(status: int, headers: Mapping[str, str], body: bytes) -> HeadwaterError:
    """The error that an HTTP answer stands for.

    Args:
        status: the HTTP status.
        headers: of the answer; names in lower case, or a mapping that ignores case.
        body: of the answer, in any form.
    """
    report = _read_body(body)
    reason = _classify(report, status)
    if reason is Reason.MODEL_NOT_FOUND and status == 404 and not report.is_error_object:
        reason = Reason.PROVIDER_UNAVAILABLE
    message = report.message or f"the provider answered with HTTP status {status} and no message"
    if status // 100 == 3 or (status == 404 and reason is Reason.PROVIDER_UNAVAILABLE):
        message += " (check the provider's base URL)"
    metadata = {"http_status": str(status)} | _metadata(report)
    if request_id := next((headers[name] for name in REQUEST_ID_HEADERS if headers.get(name)), ""):
        metadata["provider_request_id"] = request_id
    wait = _retry_after_seconds(headers) if reason in _WAITING_HELPS else None
    return HeadwaterError(reason, message, metadata=metadata, retry_after_seconds=wait)


def stream_error(error: Any, *, request_id: str | None = None) -> HeadwaterError:
    """The error that a provider reports inside a 200 answer: an object, or its message alone."""
    report = _read_error(error, request_id)
    status = int(report.code) if report.code.isascii() and report.code.isdecimal() and len(report.code) == 3 else None
    message = report.message or "the provider reported an error without a message"
    return HeadwaterError(_classify(report, status), message, metadata=_metadata(report))


def _classify(report: _Report, status: int | None) -> Reason:
    if reason := _BY_CODE.get(report.code) or _BY_TYPE.get(report.type):
        return reason
    if status is not None and status in _BY_STATUS:
        return _BY_STATUS[status]
    if status is not None and 400 <= status < 500:
        return Reason.PROVIDER_REJECTED_REQUEST
    if status is None and (reason := _BY_TYPE_WITHOUT_STATUS.get(report.type)):
        return reason
    return Reason.PROVIDER_UNAVAILABLE


def _metadata(report: _Report) -> dict[str, str]:
    facts = {"provider_code": report.code or report.type, "provider_request_id": report.request_id}
    return {name: value for name, value in facts.items() if value}


def _read_body(body: bytes) -> _Report:
    try:
        value = parse_json(body)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace").strip()
        # A page of a proxy says nothing that helps, and bytes that are no text even less.
        return _Report("" if text.startswith("<") or "\ufffd" in text else _words(text))
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return _read_error(value, None)
    return _read_error(value.get("error") or value, value.get("request_id"))


def _read_error(error: Any, request_id: Any) -> _Report:
    if isinstance(error, str):
        return _Report(_words(error), request_id=_word(request_id), is_error_object=True)
    if not isinstance(error, dict):
        return _Report(request_id=_word(request_id))
    details = error.get("details")
    detailed = details.get("error_code") if isinstance(details, dict) else None
    message = error.get("message") or error.get("detail")
    return _Report(
        message=_words(message) if isinstance(message, str) else "",
        type=_word(error.get("type")),
        code=_word(detailed) or _word(error.get("code")),
        request_id=_word(request_id),
        # A web framework's own 404 is `{"detail": ...}`: it does not speak of a model.
        is_error_object=not error.keys().isdisjoint({"message", "code", "type"}),
    )


def _words(text: str) -> str:
    """A message fit for a status: one line without control characters, cut to MAX_MESSAGE."""
    line = "".join(c if c.isprintable() else " " for c in without_surrogates(text[:4000])).strip()
    return line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 1] + "…"


def _word(value: Any) -> str:
    """A code as a string: providers send strings and integers."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return _words(value)[:100] if isinstance(value, str) else format(value, "d")[:100]


def _retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    value = headers.get("retry-after")
    seconds = None
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        seconds = milliseconds / 1000
    elif (number := _number(value)) is not None:
        seconds = number
    elif (then := _timestamp(value)) is not None:
        now = _timestamp(headers.get("date"))
        seconds = max(0.0, then - (time.time() if now is None else now))
    return seconds if seconds is not None and seconds <= MAX_RETRY_AFTER_SECONDS else None


def _number(text: str | None) -> float | None:
    """A number of at least 0; None for NaN too."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if value >= 0 else None


def _timestamp(text: str | None) -> float | None:
    """An HTTP date in seconds since the epoch."""
    try:
        return parsedate_to_datetime(text or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
