"""`headwater`, with metrics that count nothing: the program that `benchmarks.metrics` measures beside the real one."""

from __future__ import annotations

from headwater.cli import main
from headwater_server.telemetry.metrics import Metrics

COUNTING = (
    "stream_started",
    "stream_ended",
    "call_failed",
    "resumed",
    "run_ended",
    "step_ended",
    "loop_was_late",
)


def count_nothing() -> None:
    """Makes every method that counts do nothing."""
    for name in COUNTING:
        if not callable(getattr(Metrics, name)):
            raise TypeError(f"Metrics.{name} is no method")
        setattr(Metrics, name, lambda *_: None)


if __name__ == "__main__":
    count_nothing()
    main()
