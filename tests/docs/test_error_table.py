"""The table of errors in the documentation says what server and client do."""

from __future__ import annotations

import re
from pathlib import Path

from headwater._grpc.errors import BY_REASON
from headwater.v1 import error_pb2
from headwater_server.transport.status import CODES

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([a-z, ]*)\| `(\w+)` \|", re.MULTILINE)


def again(facts: error_pb2.ErrorFacts) -> str:
    """The tries that can succeed when they are repeated, in the words of the page."""
    return ", ".join(word for word, holds in (("call", facts.retryable), ("step", facts.step_retryable)) if holds)


def test_every_reason_has_its_code_its_retries_and_its_exception():
    documented = {
        reason: (code, retried.strip(), exception) for reason, code, retried, exception in ROW.findall(PAGE.read_text())
    }
    facts = {
        value.name.removeprefix("ERROR_REASON_"): value.GetOptions().Extensions[error_pb2.error_facts]
        for value in error_pb2.ErrorReason.DESCRIPTOR.values
    }
    assert documented == {
        reason.value: (code.name, again(facts[reason.value]), BY_REASON[reason.value].__name__)
        for reason, code in CODES.items()
    }
