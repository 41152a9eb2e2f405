"""Providers that mean harm by the bytes of their answers: they take no memory and no time, and get a clear error."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Awaitable, Callable, Iterator

import pytest

from headwater import Agent
from headwater import HeadwaterError as ClientError
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import ChatRequest, Message, Role, Text, ToolCall
from headwater_server.providers.anthropic.decoder import MessagesDecoder
from headwater_server.providers.gemini.decoder import GeminiDecoder
from headwater_server.providers.http import body
from headwater_server.providers.http.client import HttpClient
from headwater_server.providers.ollama import decoder as ollama_decoder
from headwater_server.providers.openai import chat_decoder, responses_decoder
from headwater_server.providers.openai.settings import OpenAISettings
from headwater_server.providers.types import build_provider
from headwater_server.providers.wires.bodies import arguments_object
from headwater_server.providers.wires.decoder import EventDecoder
from headwater_server.providers.wires.events import framing
from tests.support.attacks import OtherCaller, memory, others_wait_at_most
from tests.support.servers.server import ServerProcess
from tests.support.upstream.upstream import Answer, Upstream, always

WIRES: dict[str, type[EventDecoder]] = {
    "chat_completions": chat_decoder.ChatDecoder,
    "responses": responses_decoder.ResponsesDecoder,
    "messages": MessagesDecoder,
    "gemini": GeminiDecoder,
    "ollama": ollama_decoder.ChatDecoder,
}
MESSAGES = {
    "chat_completions": [
        '{"id":"x","choices":[{"index":0,"delta":{"content":"a","tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{}"}}],"annotations":[{"type":"url_citation","url_citation":{"url":"u"}}],"reasoning_details":[{"a":1}],"images":[{"image_url":{"url":"x"}}]},"finish_reason":"stop","logprobs":{"content":[]}}],"usage":{"prompt_tokens":1,"completion_tokens":2},"citations":["u"],"error":{"message":"m","code":"c"},"x":1}',
    ],
    "responses": [
        '{"type":"response.completed","response":{"id":"r","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"a","annotations":[{"a":1}]}]},{"type":"reasoning","encrypted_content":"e","summary":[{"text":"t"}]}],"usage":{"input_tokens":1,"output_tokens":1},"error":{"message":"m"},"incomplete_details":{"reason":"x"}}}',
        '{"type":"response.output_text.delta","delta":"a","item_id":"i","logprobs":[1]}',
        '{"type":"response.output_item.done","item":{"type":"function_call","call_id":"c","name":"f","arguments":"{}","x":1}}',
        '{"type":"error","message":"m","code":"c"}',
        '{"type":"response.output_text.annotation.added","annotation":{"type":"url_citation","url":"u"}}',
    ],
    "messages": [
        '{"type":"message_start","message":{"id":"m","usage":{"input_tokens":1},"content":[]}}',
        '{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"n","input":{"a":1}}}',
        '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a","citation":{"type":"x"}}}',
        '{"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{"type":"x","url":"u"}}}',
        '{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}',
        '{"type":"error","error":{"type":"t","message":"m"}}',
        '{"type":"message","content":[{"type":"text","text":"a","citations":[{"a":1}]},{"type":"tool_use","id":"t","name":"n","input":{"a":1}},{"type":"web_search_tool_result","content":[{"a":1}]}],"stop_reason":"end_turn","usage":{}}',
        '{"type":"content_block_start","index":0,"content_block":{"type":"web_search_tool_result","content":[{"url":"u","title":"t"}]}}',
    ],
    "gemini": [
        '{"candidates":[{"content":{"parts":[{"text":"a","thoughtSignature":"s"},{"functionCall":{"name":"f","args":{"a":1}}},{"inlineData":{"mimeType":"m","data":"d"}},{"executableCode":{"a":1}}]},"finishReason":"STOP","groundingMetadata":{"groundingChunks":[{"web":{"uri":"u"}}]},"citationMetadata":{"citationSources":[{"a":1}]}}],"usageMetadata":{"promptTokenCount":1},"error":{"message":"m","details":[{"a":1}]},"promptFeedback":{"blockReason":"x"}}',
    ],
    "ollama": [
        '{"model":"m","message":{"role":"assistant","content":"a","thinking":"t","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]},"done":true,"done_reason":"stop","error":"e","prompt_eval_count":1}',
    ],
}
QUESTION = ChatRequest("m", (Message(Role.USER, (Text("Hi"),)),))
SAID = b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
EVENTS = {"content_type": "text/event-stream", "connection": "close"}


def bomb(size: int) -> bytes:
    """Comments of so many bytes, a thousandth of it in gzip: one block, repeated."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(b": " + b"x" * (1 << 20) + b"\n") + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + block * (size >> 20)


def endless(head: bytes, piece: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()

    return answer


def large(text: bytes) -> Answer:
    """One event."""
    return always("200 OK", b"data: " + text + b"\n\n", **EVENTS)


MANY = b"[]," * 10_000_000 + b"[]"
OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
Asked = Callable[[HttpClient, str], Awaitable[object]]


async def reply(client: HttpClient, url: str) -> object:
    stream = build_provider("box", OpenAISettings(base_url=url), client).stream(QUESTION)
    events: list[object] = []
    try:
        while read := await stream.read():
            events += read
    finally:
        await stream.aclose()
    return events


async def models(client: HttpClient, url: str) -> object:
    return await build_provider("box", OpenAISettings(base_url=url), client).models()


async def error_of(answer: Answer, ask: Asked = reply) -> HeadwaterError:
    async with Upstream(answer) as upstream, HttpClient("test") as client:
        with pytest.raises(HeadwaterError) as caught:
            async with asyncio.timeout(50):
                await ask(client, upstream.url)
    return caught.value


@pytest.mark.parametrize("ask", [reply, models])
async def test_a_small_body_that_stands_for_a_large_one_is_refused(ask):
    data = bomb(64 << 20)
    error = await error_of(always("200 OK", data, content_encoding="gzip"), ask)
    assert error.reason is Reason.PROVIDER_UNAVAILABLE
    assert "inflates to more than 200 times its length" in error.message or "over 8 MiB" in error.message


@pytest.mark.parametrize("encoding", ["gzip, gzip", "gzip,deflate", "deflate, gzip, x-gzip", "gzip, br", "zstd", "BR"])
@pytest.mark.parametrize("ask", [reply, models])
async def test_encodings_upon_each_other_and_others_are_refused_unread(ask, encoding):
    error = await error_of(always("200 OK", gzip.compress(gzip.compress(SAID)), content_encoding=encoding), ask)
    assert error.reason is Reason.PROVIDER_UNAVAILABLE
    assert "which was not asked for" in error.message


async def test_an_encoded_error_body_that_cannot_be_read_still_has_its_status():
    error = await error_of(always("429 No", gzip.compress(bomb(1 << 20)), content_encoding="gzip, gzip"))
    assert error.reason is Reason.PROVIDER_RATE_LIMITED
    error = await error_of(always("401 No", b"no gzip", content_encoding="gzip"))
    assert error.reason is Reason.PROVIDER_AUTH_FAILED


@pytest.mark.parametrize("level", [zlib.Z_DEFAULT_COMPRESSION, 0, 9])
@pytest.mark.parametrize(("encoding", "wbits"), [("gzip", 31), ("x-gzip", 31), ("deflate", 15), ("deflate", -15)])
async def test_one_honest_encoding_is_read_whole_however_it_is_cut(monkeypatch, encoding, wbits, level):
    monkeypatch.setattr(body, "MOST_READ", 7)
    packer = zlib.compressobj(level, wbits=wbits)
    data = packer.compress(b": x\n" * 1000 + SAID) + packer.flush()
    async with Upstream(always("200 OK", data, content_encoding=encoding)) as upstream, HttpClient("test") as client:
        events = await reply(client, upstream.url)
    assert len(events) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("head", "piece", "words"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, "without an answer"),
        (b"", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 1000, "without an answer"),
        (b"HTTP/1.1 200 OK\r\n", b"".join(b"x-%d: y\r\n" % number for number in range(1000)), "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nx: ", b"y" * 65536, "not HTTP"),
        (b"HTTP/1.1 200 ", b"y" * 65536, "not HTTP"),
        (OK + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n" * 8000, "its answer is not HTTP"),
        (OK + b"\r\ndata: ", b"y" * 65536, "more than 32 MiB"),
        (OK + b"\r\n", b"data:\n" * 10_000, "more than 32 MiB"),
        (b"HTTP/1.1 200 OK\r\n\r\n{", b'"a":\n' * 10_000, "sent a reply of more than"),
    ],
    ids=["100", "103", "headers", "header", "status", "trailers", "line", "data lines", "json lines"],
)
async def test_an_answer_whose_parts_never_end_is_given_up(monkeypatch, head, piece, words):
    monkeypatch.setattr(framing, "MAX_EVENT_BYTES", 1 << 20)
    error = await error_of(endless(head, piece))
    assert error.reason is Reason.PROVIDER_UNAVAILABLE
    assert words in error.message


async def test_a_few_interim_answers_do_no_harm():
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + OK + b"connection: close\r\n\r\n" + SAID)

    async with Upstream(answer) as upstream, HttpClient("test") as client:
        assert await reply(client, upstream.url)


async def test_answers_that_no_request_waits_for_close_the_connection():
    read, closed = asyncio.Event(), asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"content-length: %d\r\n\r\n" % len(SAID) + SAID)
        await read.wait()
        try:
            while True:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" * 1000)
                await writer.drain()
        finally:
            closed.set()

    async with Upstream(answer) as upstream, HttpClient("test") as client:
        assert await reply(client, upstream.url)
        read.set()
        async with asyncio.timeout(10):
            await closed.wait()


@pytest.mark.parametrize(
    "text",
    [
        b'{"choices":[' + MANY + b"]}",
        b'{"choices":5,"x":[' + MANY + b"]}",
        b'{"choices":5,"x":[' + b"[]," * 300_000 + b"[]]}",
        b'{"error":{"message":5,"x":[' + MANY + b"]}}",
        b"[" + MANY + b"]",
        b'{"choices":[{"delta":{"content":"' + rb"\ud83d" * 5_000_000 + b'"}}]}',
    ],
    ids=["lists", "odd", "fewer and odd", "error", "list", "surrogates"],
)
async def test_json_of_more_values_than_any_reply_has_is_refused_before_it_is_parsed(text):
    error = await error_of(large(text))
    assert error.reason is Reason.PROVIDER_UNAVAILABLE
    assert "it holds too many values" in error.message


async def test_a_list_of_models_with_too_many_values_is_refused():
    error = await error_of(always("200 OK", b'{"data":[' + b"{}," * 2_000_000 + b"{}]}"), models)
    assert "not a list of models" in error.message


async def test_the_server_stays_small_and_answers_others_meanwhile(tmp_path):
    """A bomb of a gigabyte, another of three layers, and a large JSON, through the real server."""
    layers = gzip.compress(gzip.compress(bomb(256 << 20)))
    answers = [
        always("200 OK", bomb(1 << 30), content_encoding="gzip"),
        always("200 OK", layers, content_encoding="gzip, gzip, gzip"),
        always("500 No", layers, content_encoding="gzip, gzip, gzip"),
        large(b'{"choices":5,"x":[' + MANY + b"]}"),
    ]
    async with Upstream(answers[0]) as upstream:
        (tmp_path / "c.toml").write_text(f'[providers.box]\ntype = "openai"\nbase_url = "{upstream.url}"\n')
        with ServerProcess("--scripted", "--config", str(tmp_path / "c.toml")) as server:
            with OtherCaller(server.target) as other:
                for answer in answers:
                    upstream.answer = answer
                    with pytest.raises(ClientError) as caught:
                        await Agent(model="box/m", target=server.target).arun("Hi")
                    assert caught.value.reason == "PROVIDER_UNAVAILABLE"
            peak = memory(server.process.pid, "VmHWM")
            assert not [event for event in server.events if event["level"] == "error"]
    print(f"peak {peak} MB, others waited {other.longest:.2f} s")
    assert peak < 250
    assert not other.failures


LARGE = {
    "brackets that never close": (b"[{" * 15_000_000, "ProviderError"),
    "a long string over lines": (b'{"a":1,\n"b":"' + rb"\n" * 15_000_000 + b'"\n}\n', ""),
    "half pairs": (b'{"choices":[{"delta":{"content":"' + rb"\ud83d" * 190_000 + b"x" * 28_000_000 + b'"}}]}\n', ""),
}
"""Answers of about 30 MiB; the class of the error of each."""


@pytest.mark.parametrize("kind", LARGE)
async def test_others_are_served_while_a_large_answer_is_read(tmp_path, server, kind):
    body, error = LARGE[kind]
    answer = always("200 OK", body + b'{"choices":[{"delta":{},"finish_reason":"stop"}]}\n', content_type="text/plain")
    async with Upstream(answer) as upstream:
        (tmp_path / "c.toml").write_text(f'[providers.box]\ntype = "openai"\nbase_url = "{upstream.url}"\n')
        with (
            ServerProcess("--scripted", "--config", str(tmp_path / "c.toml")) as attacked,
            others_wait_at_most(0.25, attacked, server),
        ):
            try:
                await Agent(model="box/m", target=attacked.target).arun("Hi")
                ended = ""
            except ClientError as caught:
                ended = type(caught).__name__
    assert ended == error


@pytest.mark.parametrize("text", ['"\\' * 15_000_000, "😀" * 7_500_000], ids=["quotes", "no ASCII"])
async def test_others_are_served_while_a_large_prompt_is_sent(tmp_path, server, text):
    async with Upstream(always("200 OK", SAID)) as upstream:
        (tmp_path / "c.toml").write_text(f'[providers.box]\ntype = "openai"\nbase_url = "{upstream.url}"\n')
        with (
            ServerProcess("--scripted", "--config", str(tmp_path / "c.toml")) as attacked,
            others_wait_at_most(0.25, attacked, server),
        ):
            assert (await Agent(model="box/m", target=attacked.target).arun(text)).content == "Hi"
        [body] = upstream.bodies
        assert json.loads(body)["messages"][-1]["content"] == text


async def test_a_large_prompt_of_control_characters_is_refused(tmp_path):
    async with Upstream(always("200 OK", SAID)) as upstream:
        (tmp_path / "c.toml").write_text(f'[providers.box]\ntype = "openai"\nbase_url = "{upstream.url}"\n')
        with ServerProcess("--scripted", "--config", str(tmp_path / "c.toml")) as attacked:
            before = memory(attacked.process.pid)
            with pytest.raises(ClientError) as caught:
                await Agent(model="box/m", target=attacked.target).arun("\x01" * 30_000_000)
            assert caught.value.reason == "INVALID_REQUEST"
            assert memory(attacked.process.pid, "VmHWM") < before + 250
        assert not upstream.requests


def _places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of all values within a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*path, key)
        yield from _places(each, (*path, key))


def _with(text: str, path: tuple[str | int, ...], put: str) -> bytes:
    """JSON text with the value at the path replaced by other JSON text."""
    value = json.loads(text)
    place = value
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = "@"
    return json.dumps(value).replace('"@"', put).encode()


@pytest.mark.parametrize(("wire", "text"), [(wire, text) for wire, texts in MESSAGES.items() for text in texts])
def test_json_that_is_nested_deep_in_any_place_is_a_typed_error_at_most(wire, text):
    escaped = []
    for path in _places(json.loads(text)):
        for depth in (90, 480, 700, 900, 5000):
            for deep in ("[" * depth + "]" * depth, '{"a":' * depth + r'"\ud83d"' + "}" * depth):
                decoder = WIRES[wire]("text/event-stream")
                try:
                    decoder.feed(b"data: " + _with(text, path, deep) + b"\n\n", [])
                    decoder.close([])
                except HeadwaterError:
                    pass
                except Exception as error:  # noqa: BLE001  what the test looks for
                    escaped.append((path, depth, error))
    assert not escaped


@pytest.mark.parametrize("depth", [101, 480, 900, 5000])
@pytest.mark.parametrize("deep", ["[", '{"a":'])
def test_arguments_that_are_nested_deep_are_refused_by_their_field(depth, deep):
    text = '{"x":' + deep * depth + "1" * (deep != "[") + {"[": "]", '{"a":': "}"}[deep] * depth + "}"
    with pytest.raises(HeadwaterError) as caught:
        arguments_object(ToolCall("c1", "f", text), "messages[1].parts[0]")
    [violation] = caught.value.violations
    assert violation.field == "messages[1].parts[0].tool_call.arguments_json"
    assert "nested at most 100 levels" in violation.description
