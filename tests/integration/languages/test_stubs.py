"""The programs of examples/stubs stream a reply with nothing but the generated stub of their language."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from headwater_server.providers.scripted.words import STORY
from tests.support.servers.server import ServerProcess
from tests.support.stubs.projects import LANGUAGES, Program, build, serving

PROMPT = "Grüße from the headwater 🌊"

# The first build of a language may fetch and compile its gRPC library.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="session", params=sorted(LANGUAGES))
def program(request: pytest.FixtureRequest) -> Program:
    """The program of each language, built."""
    language = LANGUAGES[request.param]
    if missing := language.missing():
        reason = f"{language.name}: not on PATH: {', '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return build(language)


@pytest.fixture(scope="module")
def stub_target(processes: int) -> Iterator[str]:
    """The real server, on which a scripted model repeats the prompt when no provider is named."""
    with ServerProcess("--scripted", "--default-model", "scripted/echo", processes=processes) as server:
        yield server.target


@pytest.mark.parametrize(
    ("arguments", "reply"),
    [([PROMPT], PROMPT), (["a prompt", "scripted"], STORY)],
    ids=["default provider", "named provider"],
)
async def test_the_program_prints_the_reply(
    program: Program, stub_target: str, arguments: list[str], reply: str
) -> None:
    async with program.started(stub_target, *arguments) as process:
        out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (out.decode(), process.returncode) == (f"{reply}\n", 0), err.decode()


async def test_the_first_chunk_is_printed_before_the_second_is_sent(program: Program) -> None:
    go_on = asyncio.Event()
    async with serving(["first", "second"], go_on=go_on) as target, program.started(target, "a prompt") as process:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readexactly(5), 30) == b"first"
        go_on.set()
        assert await asyncio.wait_for(process.stdout.read(), 30) == b"second\n"


async def test_an_error_ends_the_program_with_the_servers_words(program: Program, stub_target: str) -> None:
    async with program.started(stub_target, "a prompt", "nowhere") as process:
        _, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode != 0
    assert "nowhere" in err.decode()
