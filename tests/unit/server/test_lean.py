"""What a serving process does not load."""

from __future__ import annotations

import subprocess
import sys


def test_a_serving_process_does_not_load_the_command_line_of_httpx():
    code = "import sys, headwater_server.server_process; print(sys.modules['httpx._main'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"
