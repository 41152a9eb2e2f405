"""`make demo` shows a real answer, or says in one line why it cannot and shows a scripted one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servers.server import clean_environment

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "tools" / "demo.py"

WITHOUT_THE_MODEL = f"""
import runpy
from headwater_server.providers.local import machine
machine.availability = lambda: "no AVX2"
runpy.run_path({str(DEMO)!r}, run_name="__main__")
"""


def run(*arguments: str, **variables: str) -> str:
    """The output of the program."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True, text=True, timeout=50, env=clean_environment(**variables), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_demo_streams_an_answer_of_the_embedded_model(tmp_path):
    printed = run(str(DEMO), XDG_RUNTIME_DIR=str(tmp_path))
    assert "headwater stream --model local/smollm2 --temperature 0" in printed
    assert "Paris" in printed
    assert printed.index("a toy of 135 million parameters") < printed.index("Paris") < printed.index("Next:")


def make_demo(clone: Path) -> list[str]:
    """The first lines of `make demo` in a new clone, where Python fails at once."""
    (clone / ".ci").mkdir()
    for name in "Makefile", "gen.mk", "pyproject.toml", ".ci/constraints.txt":
        shutil.copy(ROOT / name, clone / name)
    make = ["make", "--directory", str(clone), "--no-print-directory", "demo", "PYTHON=false"]
    return subprocess.run(make, capture_output=True, text=True, timeout=50, check=False).stdout.splitlines()[:2]


@pytest.mark.parametrize("left_over", [[], [".venv"], [".venv", ".venv/installed"]], ids=["new", "empty", "outdated"])
def test_make_demo_first_says_what_it_does_and_how_much_it_downloads(tmp_path, left_over):
    for name in left_over:
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (0, 0))
    does, downloads = make_demo(tmp_path)
    assert does == "This starts a server with a small real model inside, and streams one answer from it."
    assert "500 MB, by a download of 200 MB, 90 of them a model" in downloads


def test_where_the_model_cannot_run_the_demo_says_so_and_uses_scripted():
    printed = run("-c", WITHOUT_THE_MODEL)
    assert printed.startswith("The embedded model cannot run here (no AVX2); showing the scripted provider instead.\n")
    assert "This is a scripted reply" in printed
    assert "135 million" not in printed
    assert "Next:" in printed
