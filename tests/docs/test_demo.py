"""`make demo` shows a real answer, or says in one line why it cannot and shows a scripted one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

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


def test_in_a_new_clone_make_demo_first_says_what_it_downloads(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "gen.mk", tmp_path)
    make = ["make", "--directory", str(tmp_path), "--no-print-directory", "demo", "PYTHON=false"]
    done = subprocess.run(make, capture_output=True, text=True, timeout=50, check=False)
    assert done.stdout.splitlines()[0].startswith(
        "First, about a minute: making .venv here, 500 MB, a download of 200 MB"
    )


def test_where_the_model_cannot_run_the_demo_says_so_and_uses_scripted():
    printed = run("-c", WITHOUT_THE_MODEL)
    assert printed.startswith("The embedded model cannot run here (no AVX2); showing the scripted provider instead.\n")
    assert "This is a scripted reply" in printed
    assert "135 million" not in printed
    assert "Next:" in printed
