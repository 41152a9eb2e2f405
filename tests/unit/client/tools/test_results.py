"""The result of a tool: text, JSON, or parts where there are images."""

from __future__ import annotations

from typing import Any

import pytest

from headwater import Image, ValidationError
from headwater._values.messages import show_result, to_dict, to_messages
from headwater._values.tool_results import MAX_IMAGES, MAX_TEXT, read_result, result_text, too_large, tool_result
from headwater.v1 import agent_pb2

PNG = b"\x89PNG\xff"
PIXEL = Image(data=PNG, media_type="image/png")
SENT = agent_pb2.Part(image=agent_pb2.Image(data=PNG, media_type="image/png"))
URL = "https://example.org/a.png"
AT_URL = agent_pb2.Part(image=agent_pb2.Image(url=URL))


def said(text: str) -> agent_pb2.Part:
    return agent_pb2.Part(text=text)


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (PIXEL, [SENT]),
        (Image(data=bytearray(PNG), media_type="IMAGE/PNG"), [SENT]),  # type: ignore[arg-type]
        (Image(url=URL), [AT_URL]),
        (Image(url="data:image/png;base64,iVBOR/8="), [SENT]),
        (SENT, [SENT]),
        ([PIXEL], [SENT]),
        (("a chart:", PIXEL, "as asked"), [said("a chart:"), SENT, said("as asked")]),
        ([{"width": 3}, PIXEL, 4], [said('{"width": 3}'), SENT, said("4")]),
        ([{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": URL}}], [said("see"), AT_URL]),
        ([{"type": "image_url", "image_url": URL}], [AT_URL]),
        ([{"type": "image", "url": URL}], [AT_URL]),
        ([{"type": "image", "data": PNG, "media_type": "image/png"}], [SENT]),
        ([said("see"), SENT], [said("see"), SENT]),
        (["half \ud800", PIXEL], [said("half �"), SENT]),
    ],
)
def test_an_image_or_a_list_with_one_is_sent_as_parts(value: Any, parts: list[agent_pb2.Part]) -> None:
    assert read_result("the result", value) == parts


@pytest.mark.parametrize(
    "value",
    [
        [],
        ["a", "b"],
        [{"type": "image", "url": URL, "name": "a.png"}],
        {"type": "image", "url": URL},
        [{"type": "text", "text": "a"}],
        [{"type": ["image"]}],
    ],
)
def test_data_that_only_looks_like_an_image_stays_json(value: Any) -> None:
    assert isinstance(read_result("the result", value), str)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Image(), "the result: needs either data"),
        (["a", Image(data=PNG)], r"the result\[1\]\.media_type: is missing"),
        (Image(data=b"%PDF", media_type="application/pdf"), "must be an image's, such as image/png"),
        (Image(data="iVBOR/8=", media_type="image/png"), "decode base64 first"),  # type: ignore[arg-type]
        (Image(url="file:///tmp/a.png"), "must begin with https://"),
        ([PIXEL, agent_pb2.Part()], r"the result\[1\]: has no place"),
    ],
)
def test_what_is_no_image_is_an_error_that_names_the_cure(value: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        read_result("the result", value)


@pytest.mark.parametrize("value", [{"shot": PIXEL}, [[PIXEL]], {"all": [{"deep": PIXEL}]}])
def test_an_image_inside_json_is_an_error_that_names_the_cure(value: Any) -> None:
    with pytest.raises(TypeError, match="with an Image inside; return the Image itself, or a list"):
        read_result("the result", value)


def test_the_size_of_images_is_bounded() -> None:
    assert too_large([SENT]) == ""
    huge = agent_pb2.Part(image=agent_pb2.Image(data=bytes(MAX_IMAGES), media_type="image/png"))
    assert too_large([huge, SENT]) == "the result has 16,777,221 bytes of images; a tool may return 16,777,216"
    assert "characters" in too_large([said("x" * MAX_TEXT), said("x"), SENT])


def test_a_result_is_shown_with_its_images() -> None:
    result = tool_result("c1", "shoot", [said("a chart:"), SENT, AT_URL], is_error=False)
    assert show_result(result) == {
        "id": "c1",
        "name": "shoot",
        "content": f"a chart:\n[image/png, 5 bytes]\n[{URL}]",
        "is_error": False,
        "parts": [
            {"type": "text", "text": "a chart:"},
            {"type": "image", "data": PNG, "media_type": "image/png"},
            {"type": "image_url", "image_url": URL},
        ],
    }


def test_a_result_with_images_comes_back_from_the_history_as_it_was() -> None:
    result = tool_result("c1", "shoot", [said("a chart:"), SENT, AT_URL], is_error=False)
    message = agent_pb2.ChatMessage(role=agent_pb2.ROLE_TOOL, parts=[agent_pb2.Part(tool_result=result)])
    assert to_messages([to_dict(message)]) == [message]


def test_a_message_of_a_caller_may_have_images_in_a_result() -> None:
    [message] = to_messages([{"role": "tool", "tool_call_id": "c1", "content": ["see", PIXEL]}])
    assert message.parts[0].tool_result.parts == [said("see"), SENT]


def test_a_failure_is_shown_by_its_message() -> None:
    assert result_text(tool_result("c1", "f", "KeyError: 'x'", is_error=True)) == "KeyError: 'x'"
