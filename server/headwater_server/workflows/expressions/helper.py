"""The helper process: `python -m headwater_server.workflows.expressions.helper SECONDS`.

It does one job after another and holds no state but parsed conditions. The operating system ends it in the middle of
any job that takes too much computing time or memory, also while a library does not come back to Python. It ends by
itself when the server does, because its standard input ends then.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import BinaryIO

from headwater_server.domain.failure import StepError
from headwater_server.workflows.definition import conditions, prompts
from headwater_server.workflows.expressions.messages import (
    LENGTH_BYTES,
    TO_HELPER,
    Answer,
    Check,
    Decide,
    Decision,
    Fill,
    Filled,
    Job,
    Mistakes,
    Needs,
    Refused,
    Values,
    frame,
)

MAX_MEMORY_BYTES = 256 * 1024 * 1024
"""Most memory of the process, of which it takes 25 MB before its first job."""
NICENESS = 5
"""The server's event loop has priority."""

AskValues = Callable[[tuple[str, ...] | None], dict[str, str]]


def main() -> None:
    """Does jobs until the standard input ends. One that computes for longer than SECONDS ends the process (SIGPROF)."""
    sys.modules["cel.cli"] = ModuleType("cel.cli")  # its command line would bring a terminal library
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it would hold values of contexts
    os.nice(NICENESS)
    with suppress(BrokenPipeError):  # the server has ended
        serve(sys.stdin.buffer, sys.stdout.buffer, float(sys.argv[1]))


def serve(source: BinaryIO, sink: BinaryIO, seconds: float) -> None:
    """Answers the jobs of a source until its end. `seconds`: the most computing time of each."""

    def write(message: Needs | Answer) -> None:
        sink.write(frame(message))
        sink.flush()

    def values_of(keys: tuple[str, ...] | None) -> dict[str, str]:
        write(Needs(keys))
        message = _read(source)
        if not isinstance(message, Values):
            raise EOFError("the server ended before it sent the values")
        return message.texts

    while (job := _read(source)) is not None:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        result = answer(job, values_of)
        signal.setitimer(signal.ITIMER_PROF, 0)
        write(result)


def _read(source: BinaryIO) -> Job | Values | None:
    head = source.read(LENGTH_BYTES)
    body = source.read(int.from_bytes(head, "big"))
    return TO_HELPER.decode(body) if body else None


def answer(job: Job | Values, values_of: AskValues) -> Answer:
    """The answer to a job. `values_of` gives the values of keys, of all for None."""
    began = time.process_time()

    def seconds() -> float:
        return time.process_time() - began

    try:
        match job:
            case Check():
                return Mistakes(list(_mistakes(job)), seconds())
            case Decide():
                holds = conditions.evaluate(job.condition, values_of(conditions.keys([job.condition])))
                return Decision(holds, seconds())
            case Fill():
                texts = prompts.fill(job.texts, values_of(prompts.keys(job.texts)))
                return Filled(texts, prompts.results_named(job.texts), seconds())
            case Values():
                raise ValueError("these values belong to no job")
    except StepError as error:
        return Refused(error.failure.message, seconds())
    except MemoryError:
        os.abort()  # as the library does: one way to report it


def _mistakes(job: Check) -> list[tuple[str, str]]:
    found = []
    if job.condition and (wrong := conditions.check(job.condition)) is not None:
        found.append(("condition", wrong))
    for field, text in job.texts.items():
        found += [(field, wrong) for wrong in prompts.mistakes(text, job.depends_on)]
    return found


if __name__ == "__main__":
    main()
