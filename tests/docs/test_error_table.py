"""The table of errors in the documentation says what server and client do."""

from __future__ import annotations

import re
from pathlib import Path

from headwater._grpc.errors import BY_REASON
from headwater_server.transport.status import CODES

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| `(\w+)` \|", re.MULTILINE)


def test_every_reason_has_its_code_and_its_exception():
    documented = {reason: (code, exception) for reason, code, exception in ROW.findall(PAGE.read_text())}
    real = {reason.value: (code.name, BY_REASON[reason.value].__name__) for reason, code in CODES.items()}
    assert documented == real
