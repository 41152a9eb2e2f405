"""LiteLLM's proxy as a contestant: a gateway in Python that people use."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks.contestants.base import TOOLS, Upstream
from benchmarks.load.load import Peer
from benchmarks.load.processes import free_port, process, wait_for_http
from benchmarks.load.wire import KEY, MODEL

PYTHON = TOOLS / "litellm" / "bin" / "python"


@contextlib.contextmanager
def start(up: Upstream, folder: Path) -> Iterator[Peer]:
    """LiteLLM with one worker, a key and one model, and without a database."""
    log, settings, port = folder / "litellm.log", folder / "litellm.json", free_port()
    model = {"model": f"openai/{MODEL}", "api_base": f"{up.url}/v1", "api_key": KEY}
    settings.write_text(
        json.dumps(
            {
                "model_list": [{"model_name": MODEL, "litellm_params": model}],
                "litellm_settings": {"telemetry": False, "request_timeout": 600},
                "general_settings": {"master_key": KEY, "disable_error_logs": True},
            }
        )
    )
    command: list[str | Path] = [
        PYTHON.parent / "litellm",
        "--config",
        settings,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    variables = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_PROXY": "*"}
    with process([*command, "--num_workers", "1", "--telemetry", "False"], log, variables) as child:
        wait_for_http(port, "/health/liveliness", child, log, 120)
        yield up.peer("http", port, child.pid)
