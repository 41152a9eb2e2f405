"""`make demo`: a server with the embedded model, and one real answer streamed over gRPC. Stops what it started."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from headwater_server.providers.local.machine import availability

PROMPT = "What is the capital of France? Answer in one sentence."
HEADWATER = str(Path(sys.executable).with_name("headwater"))


NEXT = """
Next:
  . .venv/bin/activate                  lets this shell find `headwater`
  headwater serve --local               a server; leave it running
  headwater chat -m local/smollm2       a talk with it, in another shell
  OPENAI_API_KEY=... headwater serve    a large model instead
  docs/tutorial.md                      tools and workflows in 20 minutes"""


def main() -> int:
    """Runs the demo; the exit code of the client."""
    problem = availability()
    if problem:
        print(f"The embedded model cannot run here ({problem}); showing the scripted provider instead.", flush=True)
        flags, model = ["--scripted"], "scripted/story"
    else:
        print("Starting a server with the embedded model, a toy of 135 million parameters ...", flush=True)
        flags, model = ["--local"], "local/smollm2"
    with tempfile.TemporaryDirectory() as folder:
        serve = [HEADWATER, "serve", "--port", "0", "--log-level", "error", "--data-dir", folder, *flags]
        code = stream_one(serve, model)
    if code == 0:
        if not problem:
            print("\nIts knowledge and its logic are those of a toy: expect mistakes with any other question.")
        print(NEXT)
    return code


def stream_one(serve: list[str], model: str) -> int:
    """Starts the server, streams one answer from it and stops it; the exit code of the client."""
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline().strip()
            if not line:
                return server.wait()
            print(f"{line}\n\n> headwater stream --model {model} --temperature 0 '{PROMPT}'\n", flush=True)
            ask = ["stream", "--target", line.split()[-1], "--model", model, "--temperature", "0", PROMPT]
            return subprocess.run([HEADWATER, *ask]).returncode
        finally:
            server.terminate()


if __name__ == "__main__":
    sys.exit(main())
