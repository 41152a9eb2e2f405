"""What a serving process does not load."""

from __future__ import annotations

import subprocess
import sys


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_a_serving_process_does_not_load_the_command_line_of_httpx_nor_what_draws_tracebacks():
    code = "import sys, headwater_server.server_process; print(sys.modules['httpx._main'], 'rich' in sys.modules)"
    assert run(code) == "None False\n"


def test_a_condition_can_still_be_evaluated_by_a_library_that_needs_rich():
    assert run("import headwater_server.server_process, cel, sys; print('rich' in sys.modules)") == "True\n"
