"""The contract can grow as docs/adr/0009 says: each planned addition passes `buf breaking`, and a removal does not."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.v1 import ErrorReason, error_facts, error_pb2

PROTOS = Path(__file__).parents[3] / "protos"
BUF = Path(sys.executable).parent / "buf"

# The additions: message (or enum or service) to the lines that are inserted at its end. Numbers begin at 100, so that a
# field that has been added meanwhile is no obstacle.
ADDITIONS = {
    "a new kind of tool": {"Tool.kind": "WebSearchTool web_search = 100;", "Image": "} message WebSearchTool {"},
    "a new kind of event": {
        "WorkflowEvent.event": "RunPausedEvent paused = 100;",
        "StepRun": "} message RunPausedEvent {",
    },
    "asking two models at once": {
        "AgentConfig": "repeated string rival_models = 100;",
        "Timeouts": "google.protobuf.Duration rival_delay = 100;",
    },
}


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contract of today, compiled."""
    image = tmp_path_factory.mktemp("contract") / "today.binpb"
    subprocess.run([BUF, "build", PROTOS, "--exclude-source-info", "-o", image], check=True, timeout=50)
    return image


def changed(folder: Path, change: dict[str, str]) -> Path:
    """A copy of the contract with these lines inserted at the end of these blocks."""
    copy = folder / "protos"
    shutil.copytree(PROTOS, copy)
    for block, lines in change.items():
        insert(copy, block, lines)
    return copy


def insert(protos: Path, block: str, lines: str) -> None:
    outer, _, oneof = block.partition(".")
    for file in protos.rglob("*.proto"):
        text = file.read_text("utf-8")
        if begin := re.search(rf"^(message|enum|service) {outer} {{", text, re.MULTILINE):
            start = text.index(f"oneof {oneof} {{", begin.end()) if oneof else begin.start()
            end = text.index("\n  }" if oneof else "\n}", start)
            file.write_text(f"{text[:end]}\n{lines}{text[end:]}", "utf-8")
            return
    raise AssertionError(f"the contract has no {block}")


def breaking(protos: Path, against: Path) -> subprocess.CompletedProcess[str]:
    command = [BUF, "breaking", protos, "--against", against]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)


@pytest.mark.parametrize("change", ADDITIONS.values(), ids=ADDITIONS.keys())
def test_a_planned_addition_breaks_nobody(change: dict[str, str], today: Path, tmp_path: Path) -> None:
    result = breaking(changed(tmp_path, change), today)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_removed_field_is_noticed(today: Path, tmp_path: Path) -> None:
    protos = changed(tmp_path, {})
    file = protos / "headwater" / "v1" / "agent.proto"
    file.write_text(file.read_text("utf-8").replace("string thinking_signature = 6;", ""), "utf-8")
    result = breaking(protos, today)
    assert result.returncode == 100
    assert "thinking_signature" in result.stdout


def test_every_reason_has_its_facts() -> None:
    values = error_pb2.DESCRIPTOR.enum_types_by_name["ErrorReason"].values
    codes = {value.name: value.GetOptions().Extensions[error_facts].code for value in values if value.number}
    assert len(codes) == len(ErrorReason.items()) - 1
    assert all(1 <= code <= 16 for code in codes.values()), codes
