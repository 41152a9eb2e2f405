"""Pictures, sources and tokens of a reply on the command line."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest

from headwater.v1 import agent_pb2
from tests.support.servers.server import run_cli
from tests.support.services.fake_agent_service import Chunks, FakeAgentService, final, first

PNG = b"\x89PNG" + bytes(2000)
PICTURES = [
    agent_pb2.Image(data=PNG, media_type="image/png"),
    agent_pb2.Image(url="https://example.org/a.jpg"),
]
SOURCES = [
    agent_pb2.Citation(url="https://example.org/tower", title="The \x1b[2Jtower", start_index=0, end_index=4),
    agent_pb2.Citation(url="https://example.org/tower", title="The \x1b[2Jtower", start_index=5, end_index=9),
    agent_pb2.Citation(title="Report.pdf", source_id="3", quoted_text="It is 330 metres high.\nAnd iron."),
    agent_pb2.Citation(url="https://example.org/other"),
]
TOKEN = agent_pb2.TokenLogprob(token="330", logprob=-0.5, utf8=b"330")


@pytest.fixture
def service() -> Iterator[FakeAgentService]:
    with FakeAgentService() as service:
        yield service


async def with_all() -> Chunks:
    yield first("330 m.", logprobs=[TOKEN])
    yield agent_pb2.StreamChunk(sequence=2, images=PICTURES[:1])
    yield agent_pb2.StreamChunk(sequence=3, images=PICTURES[1:])
    yield final(sequence=4, citations=SOURCES)


async def with_many() -> Chunks:
    yield first("Yes.", images=[agent_pb2.Image(data=b"x", media_type="image/png")] * 12)
    yield final(sequence=2, citations=[agent_pb2.Citation(url=f"https://example.org/{n}") for n in range(60)])


@pytest.mark.parametrize(("command", "stdin"), [(["stream", "-"], "How high?"), (["chat"], "How high?\n")])
def test_pictures_and_sources_are_listed_after_the_reply(
    service: FakeAgentService, command: list[str], stdin: str
) -> None:
    service.reply = lambda *_: with_all()
    done = run_cli(*command, "--target", service.target, stdin=stdin)
    assert (done.returncode, done.stdout) == (0, "330 m.\n")
    assert done.stderr.splitlines() == [
        "2 pictures: image/png of 2,004 bytes; https://example.org/a.jpg",
        "[1] The \ufffd[2Jtower, https://example.org/tower",
        '[2] Report.pdf: "It is 330 metres high. And iron."',
        "[3] https://example.org/other",
    ]


def test_long_lists_are_cut(service: FakeAgentService) -> None:
    service.reply = lambda *_: with_many()
    lines = run_cli("stream", "--target", service.target, "x").stderr.splitlines()
    assert lines[:2] == [f"12 pictures: {'image/png of 1 bytes; ' * 10}...", "[1] https://example.org/0"]
    assert lines[-2:] == ["[50] https://example.org/49", "and 10 more"]


def test_json_has_the_data_of_pictures_and_tokens(service: FakeAgentService) -> None:
    service.reply = lambda *_: with_all()
    done = run_cli("stream", "--target", service.target, "--json", "x")
    said, picture, link, end = map(json.loads, done.stdout.splitlines())
    assert done.stderr == ""
    assert said["metadata"]["logprobs"][0]["token_bytes"] == base64.b64encode(b"330").decode()
    [shown] = picture["metadata"]["images"]
    assert base64.b64decode(shown["data"]) == PNG
    assert shown["media_type"] == "image/png"
    assert link["metadata"]["images"][0]["url"] == "https://example.org/a.jpg"
    assert len(end["metadata"]["citations"]) == 4
