"""Where addresses stand in a request, and what an error says of one that may not be handed on."""

from __future__ import annotations

from typing import Any

import pytest

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import (
    ChatRequest,
    Image,
    Message,
    ProviderData,
    ResponseFormat,
    ResponseFormatType,
    Role,
    Text,
    Tool,
    ToolResult,
)
from headwater_server.providers.caller_urls.check import check_urls

LINK_LOCAL = "http://169.254.169.254/latest/meta-data/"
PUBLIC = "https://example.org/a.png"


def fields(chat: ChatRequest, *, allow_private: bool = False) -> list[str]:
    """The fields that the check refuses; each says the cure."""
    try:
        check_urls(chat, "box", allow_private=allow_private)
    except HeadwaterError as error:
        assert error.reason is Reason.INVALID_REQUEST
        return [violation.field for violation in error.violations]
    return []


def asking(*parts: Any, **terms: Any) -> ChatRequest:
    """A request with these parts."""
    return ChatRequest("m", (Message(Role.USER, (Text("Hi"),)), Message(Role.USER, parts)), **terms)


def options(value: Any) -> ChatRequest:
    """A request with a field of the provider's own."""
    return asking(provider_options={"x": [{"y": value}]})


def test_images_and_those_in_results_of_tools_are_judged():
    result = ToolResult("c", "t", "", parts=(Text("a"), Image(url=PUBLIC), Image(url=LINK_LOCAL)))
    chat = asking(Image(data=b"x", media_type="image/png"), Image(url=PUBLIC), Image(url=LINK_LOCAL), result)
    assert fields(chat) == ["messages[1].parts[2].image.url", "messages[1].parts[3].tool_result.parts[2].image.url"]
    assert fields(chat, allow_private=True) == []


def test_the_error_names_the_host_and_the_cure():
    with pytest.raises(HeadwaterError) as caught:
        check_urls(asking(Image(url="http://LOCALHOST:8000/a.png")), "box", allow_private=False)
    for text in ("leads to the name localhost", "send the data itself", "allow_private_urls of box"):
        assert text in caught.value.message


@pytest.mark.parametrize(
    "address",
    [
        LINK_LOCAL, LINK_LOCAL.upper(), "  " + LINK_LOCAL, "\t\nht\ttp://127.0\n.0.1/", "//127.0.0.1/a", "\\\\127.0.0.1\\a",
        "http:127.0.0.1", "http:/127.0.0.1/", "http:\\\\127.0.0.1/", "http:////127.0.0.1/", "http://127.0.0.1/a b c",
        "ws://[::1]/", "ftp://10.0.0.1/x", "file:///etc/passwd", "FILE:/etc/passwd", "file:\\\\c:\\x", "jar:file:/x!/y",
        "gopher://127.0.0.1:6379/_x", "view-source:http://127.0.0.1/", "http://user@example.org/",
    ],
)  # fmt: skip
def test_a_text_of_the_providers_own_fields_that_is_such_an_address_is_refused(address):
    assert fields(options(address)) == ["provider_options.box.x[0].y"]


@pytest.mark.parametrize(
    "text",
    [
        "", "http", "http:", "http://", "https: safe?", "https://example.org is our site", "See http://localhost:8000", "a:b",
        "data:image/png;base64,aGk=", "gs://bucket/a.png", "s3://bucket/a", "file: the second one", "dict: a table", "a//b", "// x",
        "mailto:a@b.example", "urn:x:y", "/home/x", "C:\\x", PUBLIC, "gpt-4o", 7, None, True, 1.5,
    ],
)  # fmt: skip
def test_other_text_there_is_left_alone(text):
    assert fields(options(text)) == []


def test_addresses_where_a_provider_reads_them_are_found_however_deep():
    tools = [
        {"type": "mcp", "server_url": "http://mcp.internal/sse"},
        {"type": "image_url", "image_url": {"url": LINK_LOCAL}},
    ]
    chat = asking(provider_options={"tools": tools, "mcp_servers": {"url": PUBLIC}, "file_uri": "file:///etc/passwd"})
    assert fields(chat, allow_private=True) == ["provider_options.box.file_uri"]
    assert fields(chat) == [
        "provider_options.box.tools[0].server_url",
        "provider_options.box.tools[1].image_url.url",
        "provider_options.box.file_uri",
    ]


@pytest.mark.parametrize("json", ['{"image_url":"%s"}', '[{"a":{"b":"%s"}},"%s"]'])
@pytest.mark.parametrize("address", [LINK_LOCAL, LINK_LOCAL.replace("/", "\\/"), LINK_LOCAL.replace(":", "\\u003a")])
def test_data_that_a_caller_brings_back_for_the_provider_is_judged(json, address):
    data = ProviderData("box", "account", json.replace("%s", address))
    assert fields(asking(Text("x", data))) == ["messages[1].parts[0].provider_data.data_json"]
    assert fields(asking(Text("x", ProviderData("box", "account", json.replace("%s", PUBLIC))))) == []
    assert fields(asking(Text("x", ProviderData("box", "account", "{" + address)))) == []  # the wire refuses it


def test_references_of_schemas_are_judged_and_nothing_else_of_them():
    bad: dict[str, Any] = {"properties": {"a": {"$ref": LINK_LOCAL}, "b": {"default": LINK_LOCAL, "$ref": "#/$defs/b"}}}
    fine = {"$schema": "https://json-schema.org/draft/2020-12/schema", "anyOf": [{"$ref": "#/$defs/x"}]}
    tools = (Tool("a", "", fine), Tool("b", "", bad), Tool("c", "", {"anyOf": [{"$ref": "file:///x"}]}))
    chat = asking(tools=tools, response_format=ResponseFormat(ResponseFormatType.JSON_SCHEMA, bad))
    assert fields(chat) == [
        "tools[1].function.parameters_json",
        "tools[2].function.parameters_json",
        "response_format.schema_json",
    ]


def test_a_request_full_of_such_addresses_names_the_first_hundred():
    assert len(fields(asking(*[Image(url=LINK_LOCAL)] * 1000))) == 100
