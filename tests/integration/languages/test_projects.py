"""A project outside the repository, in each language, streams, leaves and reads errors with nothing but the stub.

The projects are those of examples/stubs; each is built in another folder with the commands of docs/clients.md.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest

from tests.support.servers.server import ServerProcess
from tests.support.stubs.known_replies import known_replies
from tests.support.stubs.projects import LANGUAGES, Program, build

PROMPT = "Grüße from the headwater 🌊"
REFUSED = re.compile(r"INVALID_REQUEST headwater\.ai\nagent\.temperature: .+\n")

# The first build of a language may fetch and compile its gRPC library.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="session", params=sorted(LANGUAGES))
def program(request: pytest.FixtureRequest) -> Program:
    """The program of each language, built."""
    language = LANGUAGES[request.param]
    if missing := language.missing():
        pytest.skip(f"{language.name}: not on PATH: {', '.join(missing)}")
    return build(language)


@pytest.fixture(scope="module")
def stub_target() -> Iterator[str]:
    """The real server, on which a scripted model repeats the prompt."""
    with ServerProcess("--scripted", "--default-model", "scripted/echo") as server:
        yield server.target


async def test_the_program_streams_a_reply_and_reads_a_typed_error(program: Program, stub_target: str) -> None:
    async with program.started(stub_target, PROMPT) as process:
        out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, err.decode()) == (0, "")
    reply, left, refused = out.decode().split("\n", 2)
    assert reply == PROMPT
    assert left.startswith(f"Left after: {PROMPT.split()[0]}")
    assert REFUSED.fullmatch(refused), refused


async def test_an_error_ends_the_program_with_the_servers_words(program: Program, stub_target: str) -> None:
    async with program.started(stub_target, "") as process:
        _, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode != 0
    assert "prompt" in err.decode()


async def test_each_chunk_is_printed_as_it_comes_and_the_server_sees_that_the_program_left(program: Program) -> None:
    async with known_replies() as replies, program.started(replies.target, "a prompt") as process:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readexactly(5), 30) == b"first"
        replies.second_chunk.set()
        # The error comes when the caller of the stream without end has gone.
        rest = await asyncio.wait_for(process.stdout.read(), 30)
    assert rest.decode().splitlines() == [
        "second",
        "Left after: first",
        "INVALID_REQUEST headwater.ai",
        "prompt: is a lie",
    ]
