"""Completion in bash, set up as docs/cli.md says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servers.server import clean_environment

COMPLETE = """
{line}
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_headwater_completion headwater
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("headwater wor", ["worker", "workflow"]),
        ("headwater ser", ["serve"]),  # a command of the server's package
        ("headwater workflow list --st", ["--status"]),
        ("headwater workflow list --status f", ["failed"]),
    ],
)
def test_bash_completes_commands_options_and_choices(words, found):
    row = next(line for line in PAGE.read_text().splitlines() if line.startswith("| bash |"))
    script = COMPLETE.format(line=row.split("`")[1], words=words)
    environment = clean_environment()
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert (done.stdout.split(), done.stderr) == (found, "")
