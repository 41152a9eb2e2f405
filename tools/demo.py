"""`make demo`: a server with the embedded model, and one real answer streamed over gRPC. Stops what it started."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from headwater_server.providers.local.machine import availability

PROMPT = "Why is the sky blue? Answer in two sentences."
HEADWATER = str(Path(sys.executable).with_name("headwater"))


def main() -> int:
    """Runs the demo; the exit code of the client."""
    problem = availability()
    if problem:
        print(f"The embedded model cannot run here ({problem}); showing the scripted provider instead.")
        flags, model = ["--scripted"], "scripted/story"
    else:
        print("Starting a server with the embedded model ...")
        flags, model = ["--local"], "local/smollm2"
    with tempfile.TemporaryDirectory() as folder:
        serve = [HEADWATER, "serve", "--port", "0", "--log-level", "error", "--data-dir", folder, *flags]
        return stream_one(serve, model)


def stream_one(serve: list[str], model: str) -> int:
    """Starts the server, streams one answer from it and stops it; the exit code of the client."""
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline().strip()
            if not line:
                return server.wait()
            print(f"{line}\n\n> headwater stream --model {model} '{PROMPT}'\n", flush=True)
            target = line.split()[-1]
            return subprocess.run([HEADWATER, "stream", "--target", target, "--model", model, PROMPT]).returncode
        finally:
            server.terminate()


if __name__ == "__main__":
    sys.exit(main())
