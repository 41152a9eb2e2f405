"""Compares Headwater with the official clients of OpenAI, Anthropic and Google on every recorded and canned answer.

`make test-official` runs it. Both get the same bytes from the replay server: the client directly, Headwater through
`headwater serve` and its Python client. Where a client ends without an error, Headwater must have the same text and the
same calls. `differences.toml` lists where it does not, each with the reason. Exits 1 on any other difference, and on an
entry of that list that is none.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tomllib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from headwater import Agent, HeadwaterError
from tests.support.servers.server import ReplayThread, ServerProcess, clean_environment, provider_variables
from tests.support.upstream.fixtures import load_field, load_fixtures, load_gemini, load_recorded

HERE = Path(__file__).parent
SDKS = HERE / "sdks.py"
DIFFERENCES = HERE / "differences.toml"

CONFIGURATION = """
[providers.compat]
type = "openai"
base_url = "{url}/v1"
auth = "none"

[providers.gemini]
type = "gemini"
base_url = "{url}/v1beta"
auth = "none"
"""


@dataclass(frozen=True)
class Door:
    """A wire: its readers among those of `sdks.py`, and the provider that speaks it."""

    readers: tuple[str, ...]
    provider: str
    api: str = ""


DOORS = {
    "/v1/chat/completions": Door(("chat_stream", "chat_helper"), "compat", "chat_completions"),
    "/v1/responses": Door(("responses_stream", "responses_helper"), "compat", "responses"),
    "/v1/messages": Door(("messages_stream", "messages_helper"), "anthropic"),
    ":streamGenerateContent": Door(("gemini_stream",), "gemini"),
}


@dataclass
class Outcome:
    """The text and the calls of a reply, or an error."""

    error: str = ""
    text: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)

    def difference(self, ours: Outcome) -> str:
        """The first thing that differs in Headwater's outcome; empty for none, and where the client fails."""
        if self.error:
            return ""
        if ours.error:
            return f"fails: {ours.error}"
        if ours.text != self.text:
            return f"text {_shown(ours.text)} instead of {_shown(self.text)}"
        if len(ours.calls) != len(self.calls):
            return f"{len(ours.calls)} calls instead of {len(self.calls)}"
        for theirs, call in zip(self.calls, ours.calls, strict=True):
            if (wanted := _comparable(theirs, call)) != (got := _comparable(call, call)):
                return f"call {_shown(got)} instead of {_shown(wanted)}"
        return ""


def _comparable(call: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """A call with its arguments as a value. An id that the provider left out is Headwater's to make."""
    arguments = call["arguments"]
    if isinstance(arguments, str):
        with suppress(ValueError):  # no JSON: compared as it is
            arguments = json.loads(arguments or "{}")
    return {"id": call["id"] or ours["id"], "name": call["name"], "arguments": arguments or {}}


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 100 else f"{text[:60]}… ({len(text)} characters)"


def cases() -> dict[str, tuple[Door, str]]:
    """All answers that a client can get in a stream, by name: the door, and the model that asks for it."""
    canned = {**load_fixtures(), **load_field(), **{f"gemini-{name}": case for name, case in load_gemini().items()}}
    found = {name: (case.about.get("endpoint") or "", f"m@{case.name}") for name, case in canned.items()}
    for name, case in load_recorded().items():
        found[name] = (f"{case.method} {case.path}", f"m@recorded:{name}")
    doors = ((name, door_of(endpoint), model) for name, (endpoint, model) in found.items())
    return {name: (door, model) for name, door, model in doors if door is not None}


def door_of(endpoint: str) -> Door | None:
    """The door of a method and a path; None for one where these clients get no stream."""
    return next((d for path, d in DOORS.items() if endpoint.startswith("POST ") and endpoint.endswith(path)), None)


async def ours(target: str, door: Door, model: str) -> Outcome:
    """The outcome of Headwater, through its server."""
    outcome = Outcome()
    options = {door.provider: {"api": door.api}} if door.api else None
    try:
        async for chunk in Agent(provider=door.provider, model=model, target=target).stream(
            "Hi", provider_options=options
        ):
            outcome.text += chunk.content
            outcome.calls += chunk.metadata.get("tool_calls", [])
    except HeadwaterError as error:
        return Outcome(error=f"{error.reason}: {error}"[:200])
    return outcome


def theirs(python: str, url: str, jobs: list[dict[str, str]]) -> list[Outcome]:
    """The outcomes of the clients, in the order of the jobs."""
    lines = "".join(json.dumps(job) + "\n" for job in jobs)
    done = subprocess.run(
        [python, str(SDKS), url], input=lines, stdout=subprocess.PIPE, text=True, check=True, env=clean_environment()
    )
    return [Outcome(**json.loads(line)) for line in done.stdout.splitlines()]


async def play_all(target: str, found: dict[str, tuple[Door, str]]) -> dict[str, Outcome]:
    """The outcomes of Headwater, one answer after the other."""
    return {name: await ours(target, door, model) for name, (door, model) in found.items()}


def reasons() -> dict[str, str]:
    """The differences that are right, as `READER NAME`, each with its reason."""
    kinds = tomllib.loads(DIFFERENCES.read_text("utf-8"))["kinds"]
    return {case: kind["reason"] for kind in kinds for case in kind["cases"]}


def compare(python: str) -> int:
    """Plays everything on both sides and prints the result; the exit code."""
    found = cases()
    jobs = [(name, reader, model) for name, (door, model) in found.items() for reader in door.readers]
    with ReplayThread() as replay, TemporaryDirectory() as folder:
        file = Path(folder) / "headwater.toml"
        file.write_text(CONFIGURATION.format(url=replay.url))
        with ServerProcess("--config", str(file), variables=provider_variables(replay.url)) as server:
            mine = asyncio.run(play_all(server.target, found))
        outcomes = theirs(python, replay.url, [{"reader": reader, "model": model} for _, reader, model in jobs])
    known, unknown = reasons(), 0
    counts = {reader: [0, 0, 0, 0] for _, reader, _ in jobs}
    for (name, reader, _), outcome in zip(jobs, outcomes, strict=True):
        difference = outcome.difference(mine[name])
        reason = known.pop(f"{reader} {name}", "") if difference else ""
        for column, counted in enumerate((True, not outcome.error, not outcome.error and not difference, bool(reason))):
            counts[reader][column] += counted
        if difference and not reason:
            unknown += 1
            print(f"{reader} {name}: Headwater {difference}")
    for entry in known:
        print(f"{entry}: listed in {DIFFERENCES.name}, but there is no such difference")
    print(f"\n{'':18}{'answers':>9}{'they read':>11}{'the same':>10}{'by reason':>11}{'differ':>8}")
    for reader, (all_, read, same, listed) in counts.items():
        print(f"{reader:18}{all_:9}{read:11}{same:10}{listed:11}{read - same - listed:8}")
    return 1 if unknown or known else 0


def main() -> int:
    """Reads the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("python", help="the interpreter of an environment with the official clients")
    return compare(parser.parse_args().python)


if __name__ == "__main__":
    sys.exit(main())
