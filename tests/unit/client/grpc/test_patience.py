"""Failures after which a call that may be repeated is made again."""

from __future__ import annotations

import grpc
import pytest

from headwater._grpc.patience import may_pass
from headwater.exceptions import HeadwaterError


@pytest.mark.parametrize(
    ("reason", "code", "passes"),
    [
        (None, grpc.StatusCode.UNAVAILABLE, True),
        (None, grpc.StatusCode.RESOURCE_EXHAUSTED, False),
        ("SERVER_DRAINING", grpc.StatusCode.UNAVAILABLE, True),
        ("SERVER_OVERLOADED", grpc.StatusCode.RESOURCE_EXHAUSTED, True),
        ("CALLER_LIMITED", grpc.StatusCode.RESOURCE_EXHAUSTED, True),
        ("PROVIDER_QUOTA_EXHAUSTED", grpc.StatusCode.RESOURCE_EXHAUSTED, False),
        ("RUN_NOT_FOUND", grpc.StatusCode.NOT_FOUND, False),
    ],
)
def test_a_server_that_cannot_answer_now_is_asked_again(reason, code, passes):
    assert may_pass(HeadwaterError("it failed", reason=reason, code=code)) is passes
