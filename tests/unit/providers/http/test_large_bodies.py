"""Large requests are encoded and sent in pieces, and are the same bytes as others."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.http import large_bodies
from headwater_server.providers.http.client import HttpClient, parsed_url
from headwater_server.providers.http.large_bodies import LARGE_BYTES, encode_large
from tests.support.upstream.upstream import Upstream, always

TEXT = 'a "quoted" line\n\\ and é, €, 😀 \t' * 20_000


@given(text=st.text(st.characters(exclude_categories=("Cs",)), max_size=60))
def test_a_text_in_pieces_is_the_same_json(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_bodies, "_LONG", 3)
        patch.setattr(large_bodies, "_PIECE", 2)
        body = {"messages": [{"content": text, "n": 1.5}], "x": [text, None, {"y": True}]}
        assert encode_large(body) == msgspec.json.encode(body)


def test_quotes_and_line_ends_may_double_a_text() -> None:
    assert json.loads(encode_large({"a": '"\n' * 4_000_000}))["a"] == '"\n' * 4_000_000


@pytest.mark.parametrize("body", [{"a": "\x01" * 4_000_000}, {"a": [{"b": "\0" * 5_000}] * 800}], ids=["one", "many"])
def test_a_body_of_control_characters_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(HeadwaterError) as caught:
        encode_large(body)
    assert caught.value.reason is Reason.INVALID_REQUEST
    assert "control characters" in caught.value.violations[0].description


@pytest.mark.parametrize("size", [LARGE_BYTES, LARGE_BYTES + 1, 3 * LARGE_BYTES + 7])
async def test_a_large_body_arrives_whole_with_its_length_and_again_after_a_401(size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with Upstream(always("200 OK", b"{}")) as upstream, HttpClient("test") as client:
        for _ in range(2):
            answer = await client.send("POST", parsed_url(upstream.url), {}, body)
            await answer.aclose()
        assert upstream.bodies == [body, body]
        for head in upstream.requests:
            assert f"content-length: {size}" in head.lower()
            assert "transfer-encoding" not in head.lower()
