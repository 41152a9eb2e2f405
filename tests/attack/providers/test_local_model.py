"""The embedded model that stops answering, and the schemas that would make it so."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from headwater_server.domain.chunks import Delta
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import ChatRequest, ResponseFormat, ResponseFormatType, Tool
from headwater_server.providers.local import child
from headwater_server.providers.local import provider as local
from headwater_server.providers.local.child import ModelProcess
from headwater_server.providers.local.provider import LocalProvider
from headwater_server.providers.local.share import Address
from tests.support.local_model import local_provider, question

ROOT = Path(__file__).parents[3]
PLAIN = {"type": "object", "properties": {"name": {"type": "string"}}}


@pytest.fixture
async def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LocalProvider]:
    """A provider whose model is a fake one, watched closely."""
    monkeypatch.setattr(child, "PROGRAM", "tests.support.fake_model")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("FAKE_MODEL_MARK", str(tmp_path / "mark"))
    async with local_provider(tmp_path / "run") as provider:
        provider._stall_seconds = 2.0
        yield provider


def held(text: str, schema: dict[str, Any]) -> ChatRequest:
    return question(text, response_format=ResponseFormat(ResponseFormatType.JSON_SCHEMA, schema))


async def told(provider: LocalProvider, request: ChatRequest) -> str:
    """The text of a whole reply, or its error."""
    stream = provider.stream(request)
    text = ""
    try:
        while events := await stream.read():
            text += "".join(event.content for event in events if isinstance(event, Delta))
    except HeadwaterError as error:
        return f"{text}{error.reason}: {error.message}"
    finally:
        await stream.aclose()
    return text


async def test_a_model_that_stops_is_started_again_for_those_who_have_no_chunk_yet(provider):
    begun = provider.stream(question("wait after"))
    assert await begun.read()
    neighbour = asyncio.create_task(told(provider, question("wait once")))
    while not Path(os.environ["FAKE_MODEL_MARK"]).exists():  # noqa: ASYNC240  the fake model's process makes it
        await asyncio.sleep(0.01)
    culprit, later = await asyncio.gather(told(provider, held("stall", PLAIN)), told(provider, question("Hello")))
    assert culprit.startswith("PROVIDER_UNAVAILABLE: the embedded model gave no sign of life and was ended;")
    assert "the JSON Schema of this request" in culprit
    assert (later, await neighbour) == ("Hi", "Hi")
    with pytest.raises(
        HeadwaterError, match=r"gave no sign of life and was ended; it is started again by the next call$"
    ):
        await begun.read()
    await begun.aclose()
    assert await told(provider, question("Hello")) == "Hi"


async def test_a_reply_that_takes_too_long_is_ended(provider):
    provider._reply_seconds = 0.5
    begun = provider.stream(question("wait after"))
    assert await begun.read()
    with pytest.raises(HeadwaterError, match=r"longer than 0\.5 seconds, its reply_seconds") as caught:
        await begun.read()
    await begun.aclose()
    assert caught.value.reason is Reason.STREAM_TIMEOUT


def test_a_model_that_ends_again_and_again_is_started_after_growing_pauses(tmp_path):
    async def pauses() -> list[float]:
        async with local_provider(tmp_path) as provider:
            found = []
            for _ in range(8):
                provider._note_end()
                found.append(provider._pause())
            return found

    assert asyncio.run(pauses()) == [0, 0, 2, 4, 8, 16, local.MAX_PAUSE_SECONDS, local.MAX_PAUSE_SECONDS]


@pytest.mark.parametrize(("number", "stalled"), [(signal.SIGSTOP, True), (signal.SIGKILL, False)])
async def test_the_watch_tells_a_process_that_stands_still_from_one_that_ended(number, stalled):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import time\nwhile True: print(flush=True); time.sleep(0.05)",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    model = ModelProcess(process, Address("http://127.0.0.1:1", ""))
    watching = asyncio.create_task(model.watch(2.0))
    os.kill(process.pid, number)
    assert await watching is stalled
    await model.stop()


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


ALTERNATIVES = [{"type": "string"}] * 65
BAD_SCHEMAS = {
    "has a pattern": {"properties": {"a": {"items": [{"anyOf": [{"pattern": "(a?){50}"}]}]}}},
    "has a pattern, which the embedded model does not take": {"$defs": {"x": {"pattern": "a"}}, "$ref": "#/$defs/x"},
    "nested more than 24 levels": nested(25),
    "longer than 64 KiB": {"enum": ["x" * 70_000]},
    "more than 1000 schemas": {"properties": {f"p{number}": {} for number in range(1001)}},
    "value of maxLength that is not from 0 to 1000": {"maxLength": 1001},
    "value of minItems that is not from 0 to 1000": {"type": "array", "minItems": -1},
    "value of maxItems that is not from 0 to 1000": {"not": {"maxItems": "9" * 30}},
    "value of maxLength": {"properties": {"pattern": {"maxLength": 1e300}}},
    "counts to more than 4000": {"properties": {f"p{number}": {"maxLength": 900} for number in range(5)}},
    "more than 20 digits": {"minimum": 10**30},
    "more than 64 items in anyOf": {"anyOf": ALTERNATIVES},
    "more than 64 items in type": {"type": ["string"] * 65},
    "refers to #/default/x": {"$ref": "#/default/x", "default": {"x": {"pattern": "a"}}},
    "refers to https://evil.example/schema": {"$ref": "https://evil.example/schema"},
    "refers to #/enum/0": {"properties": {"a": {"$ref": "#/enum/0"}}, "enum": [{"pattern": "a"}]},
}


def refused(request: ChatRequest, tmp_path: Path) -> HeadwaterError:
    def connect(url: str, key: str) -> Any:
        raise AssertionError("nothing is connected to")

    provider = LocalProvider("local", connect, local.LocalSettings(), directory=tmp_path)
    with pytest.raises(HeadwaterError) as caught:
        provider.stream(request)
    return caught.value


@pytest.mark.parametrize("fault", BAD_SCHEMAS)
def test_a_schema_beyond_the_bounds_is_refused_with_its_field_and_fault(tmp_path, fault):
    [violation] = refused(held("x", BAD_SCHEMAS[fault]), tmp_path).violations
    assert violation.field == "response_format.schema_json"
    assert fault in violation.description
    tools = (Tool("fine", "", PLAIN), Tool("bad", "", BAD_SCHEMAS[fault]))
    [violation] = refused(question("x", tools=tools), tmp_path).violations
    assert violation.field == "tools[1].function.parameters_json"


def test_too_many_tools_are_refused(tmp_path):
    tools = tuple(Tool(f"t{number}", "", PLAIN) for number in range(65))
    [violation] = refused(question("x", tools=tools), tmp_path).violations
    assert (violation.field, "more than 64" in violation.description) == ("tools", True)


@pytest.mark.parametrize(
    "option", ["grammar", "grammar_lazy", "grammar_triggers", "json_schema", "response_format", "tools"]
)
def test_a_grammar_of_a_caller_is_refused(tmp_path, option):
    [violation] = refused(question("x", provider_options={option: "root ::= (" * 100}), tmp_path).violations
    assert violation.field == f"provider_options.local.{option}"
    assert violation.description.startswith("is not taken from callers; send ")


@pytest.mark.parametrize(
    "schema",
    [
        {},
        nested(24),
        {
            "properties": {"pattern": {"type": "string"}, "enum": {"enum": [{"pattern": "a"}]}},
            "default": {"pattern": "a"},
        },
        {"$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}}}}, "$ref": "#/$defs/node"},
        {"properties": {"next": {"$ref": "#"}}},
        {"maxLength": 1000, "minimum": 0.5, "anyOf": ALTERNATIVES[:64]},
        {"items": True, "additionalProperties": False, "properties": {"a": True}},
    ],
)
async def test_an_honest_schema_is_taken(provider, schema):
    assert await told(provider, held("Hello", schema)) == "Hi"


@pytest.mark.chaos
async def test_a_schema_that_makes_the_real_model_compute_without_end_costs_its_sender_alone(tmp_path):
    """Of 64 alternatives that are alike, each bracket of a list multiplies the ways by 64."""
    step = {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/a"}}
    endless = {"$defs": {"a": {"anyOf": [step] * 64}}, "$ref": "#/$defs/a"}
    async with local_provider(tmp_path / "run", stall_seconds=5.0) as provider:
        assert await told(provider, question("Hi", sampling={"max_tokens": 2}))
        culprit = await told(provider, held("Hi", endless))
        assert "PROVIDER_UNAVAILABLE: the embedded model gave no sign of life" in culprit
        later = await told(provider, question("Hi", sampling={"max_tokens": 2}))
        assert later
        assert "PROVIDER" not in later
