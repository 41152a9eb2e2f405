"""The meaning of a provider's error.

Asked are, in order: its codes and types, its sentence where that alone tells, the HTTP status. The tables are in
`failures.codes`; `failures.report` finds words and codes in the body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.wires.failures import codes
from headwater_server.providers.wires.failures.report import (
    MAX_MESSAGE,
    Report,
    fields,
    one_line,
    read_body,
    read_value,
)
from headwater_server.providers.wires.failures.waiting import MAX_RETRY_AFTER_SECONDS, wait_seconds

__all__ = ["MAX_MESSAGE", "MAX_RETRY_AFTER_SECONDS", "request_id", "response_error", "stream_error"]

_REQUEST_IDS = ("x-request-id", "request-id", "apim-request-id", "x-amzn-requestid", "x-generation-id")

_CHECK_ADDRESS = " (check the provider's base URL)"
_MAX_LOCATION = 200
_WAITING_HELPS = (Reason.PROVIDER_RATE_LIMITED, Reason.PROVIDER_UNAVAILABLE)


def response_error(status: int, headers: Mapping[str, str], body: bytes) -> HeadwaterError:
    """The error that an HTTP answer stands for.

    Args:
        status: the HTTP status.
        headers: of the answer; names in lower case, or a mapping that ignores case.
        body: of the answer, in any form.
    """
    report = read_body(body)
    wait = wait_seconds(headers, report.value, report.message, resets=status == 429)
    reason = _classify(report, status, waits=wait is not None)
    metadata = {"http_status": str(status)} | _metadata(report)
    if found := request_id(headers):
        metadata["provider_request_id"] = found
    message = _message(report, status, reason, headers.get("location") or "")
    return HeadwaterError(
        reason, message, metadata=metadata, retry_after_seconds=wait if reason in _WAITING_HELPS else None
    )


def request_id(headers: Mapping[str, str]) -> str:
    """The provider's id of the request in the headers of its answer; empty for none."""
    for name in _REQUEST_IDS:
        if found := headers.get(name):
            return found
    return ""


def stream_error(error: Any, *, request_id: str | None = None) -> HeadwaterError:
    """The error that a provider reports inside a 200 answer: an object, its message alone, or the bytes of either."""
    report = read_body(error) if isinstance(error, bytes) else read_value(error)
    report.request_id = report.request_id or one_line(request_id or "")[:100]
    code = f" ({report.code})" if report.code else ""
    message = report.message or f"the provider reported an error without a message{code}"
    wait = wait_seconds({}, report.value, report.message)
    reason = _classify(report, report.status, waits=wait is not None)
    return HeadwaterError(
        reason, message, metadata=_metadata(report), retry_after_seconds=wait if reason in _WAITING_HELPS else None
    )


def is_error(value: Mapping[str, Any]) -> bool:
    """Whether an object of a 200 answer that holds no part of a reply is an error, in any vendor's shape."""
    by_key = fields(dict(value))
    if by_key.get("error") or by_key.get("errors") or by_key.get("success") is False:
        return True
    if "error" in (by_key.get("type"), by_key.get("object"), by_key.get("status")):
        return True
    base = by_key.get("baseresp")
    if isinstance(base, dict) and base.get("status_code") not in (None, 0, "0"):
        return True
    return any(by_key.get(key) for key in ("message", "msg", "detail", "errormsg", "errormessage"))


def _message(report: Report, status: int, reason: Reason, location: str) -> str:
    if report.is_page:
        shown = f" and a page: {report.message}" if report.message else " and a page"
        message = f"the provider, or something in front of it, answered with HTTP status {status}{shown}"
    else:
        message = report.message or f"the provider answered with HTTP status {status} and no message"
        if report.message and status < 400:
            message = f"HTTP status {status}: {message}"
    if status // 100 == 3 and location:
        place = one_line(location.partition("?")[0])[:_MAX_LOCATION]
        return f"{message}; it points to {place}, which is not followed: set the provider's base URL to it"
    misplaced = status == 404 and reason is Reason.PROVIDER_UNAVAILABLE
    if misplaced or status // 100 == 3 or status == 405 or (report.is_page and status < 500):
        message += _CHECK_ADDRESS
    return message


def _classify(report: Report, status: int | None, *, waits: bool) -> Reason:
    for word in (*report.codes, *report.types):
        if not (word == str(status) or word == str(report.status)) and (reason := codes.by_code(word)):
            return reason
    if report.is_page and status in (403, 404):
        return Reason.PROVIDER_UNAVAILABLE  # the page of an edge, not the provider's word on the key
    found = None if report.is_page else codes.by_sentence(report.message, status)
    if found is not None and not (found is Reason.PROVIDER_QUOTA_EXHAUSTED and waits and status == 429):
        return found
    if status is not None and (reason := codes.BY_STATUS.get(status)):
        return _found_or_misplaced(report) if reason is Reason.MODEL_NOT_FOUND else reason
    if status is None:
        for word in (*report.types, *report.codes):
            if reason := codes.by_type(word):
                return _found_or_misplaced(report) if reason is Reason.MODEL_NOT_FOUND else reason
    rejected = status is not None and 400 <= status < 500
    return Reason.PROVIDER_REJECTED_REQUEST if rejected else Reason.PROVIDER_UNAVAILABLE


def _found_or_misplaced(report: Report) -> Reason:
    """The reason of "not found": a wrong address is never reported as a missing model."""
    return Reason.MODEL_NOT_FOUND if codes.speaks_of_a_model(report.message) else Reason.PROVIDER_UNAVAILABLE


def _metadata(report: Report) -> dict[str, str]:
    facts = {"provider_code": report.code, "provider_request_id": report.request_id}
    return {name: value for name, value in facts.items() if value}
