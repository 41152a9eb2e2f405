"""The rights of scopes, and the cure for a missing one."""

from __future__ import annotations

import pytest

from headwater_server.callers.caller import EVERYBODY, Caller, Source, is_scope
from headwater_server.domain.errors import HeadwaterError


def test_runs_use_the_queues_that_a_scope_allows():
    narrow = Caller("a", frozenset(["workflow:x", "workflow:y"]))
    narrow.check_workflow()
    narrow.check_run_queues([])
    narrow.check_run_queues(["x", "y"])
    for queues in (["z"], ["x", "z"], [""]):
        with pytest.raises(HeadwaterError, match="lacks the scope workflow:") as caught:
            narrow.check_run_queues(queues)
        assert caught.value.reason == "CALLER_FORBIDDEN"
    for wide in (Caller("a", frozenset(["workflow"])), Caller("a", frozenset(["operator"])), EVERYBODY):
        wide.check_workflow()
        wide.check_run_queues(["any"])
    with pytest.raises(HeadwaterError):
        Caller("a", frozenset(["stream", "worker:x"])).check_workflow()


@pytest.mark.parametrize(
    ("source", "cure"),
    [
        (Source.TOKEN, "headwater token create a --scope stream"),
        (Source.JWT, "its issuer must put it into the claim"),
        (Source.CERTIFICATE, "add it to the scopes of callers.a"),
        (Source.HOOK, "the authentication hook of the server decides"),
    ],
)
def test_the_cure_for_a_missing_scope_is_where_scopes_come_from(source, cure):
    with pytest.raises(HeadwaterError, match=cure):
        Caller("a", frozenset(), source).check_scope("stream")


def test_scopes():
    for scope in ("stream", "workflow", "operator", "worker:q", "workflow:q", "worker:" + "x" * 256):
        assert is_scope(scope)
    for scope in ("", "stream:", "worker:", "workflow:", "operator:x", "Stream", "worker:" + "x" * 257):
        assert not is_scope(scope)
