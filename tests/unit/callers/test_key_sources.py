"""The keys of an issuer: read, followed and fetched."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from headwater_server.callers.issuers.key_set import MAX_BYTES, KeysError, KeySet
from headwater_server.callers.issuers.key_sources import PAUSE_SECONDS, KeyFile, KeyUrl
from headwater_server.telemetry.safe_fields import hide_unsafe
from tests.support.callers.issuer import Key, jwks

A, B = Key("a"), Key("b")


@pytest.mark.parametrize(
    "data",
    [
        "", "null", "[]", "7", "{}", '{"keys": {}}', '{"keys": []}', '{"keys": [7, null, {}]}', "\ufffd", "[" * 100_000,
        json.dumps({"keys": [{}] * 101}),
        json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "a"}]}),
        json.dumps({"keys": [{"kty": "RSA", "n": "x", "e": "AQAB"}]}),
        json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "x": "x", "y": 7}]}),
        json.dumps({"keys": [{"kty": ["RSA"], "crv": []}]}),
        json.dumps({"keys": [A.described(use="enc")]}),
        json.dumps({"keys": [A.described(key_ops=["encrypt"])]}),
        json.dumps({"keys": [A.described(alg="HS256")]}),
        *(json.dumps({"keys": [A.described(key_ops=odd)]}) for odd in (7, True, "verify", {"verify": 1}, ["sign"])),
        " " * (MAX_BYTES + 1),
    ],
)  # fmt: skip
def test_what_has_no_key_is_refused(data: str) -> None:
    with pytest.raises(KeysError):
        KeySet(data.encode())


def test_keys_of_no_use_stand_beside_others() -> None:
    keys = KeySet(jwks({"kty": "oct", "k": "c2VjcmV0"}, {"kty": "new"}, A, B.described(alg="none")).encode())
    assert len(keys) == 1
    assert keys.find("a", "ES256")
    assert keys.find("a", "HS256") is None
    assert keys.find("b", "ES256") is None
    assert len(KeySet(jwks(A, B.described(key_ops=7)).encode())) == 1
    for odd in (7, [], {}, ""):
        assert keys.find(odd, "ES256") is None


def test_a_private_key_in_the_list_checks_as_a_public_one() -> None:
    private = {**A.described(), "d": "c2VjcmV0"}
    key = KeySet(jwks(private).encode()).find("a", "ES256")
    assert key
    assert not hasattr(key.key, "sign")


async def test_a_file_is_followed_and_a_bad_one_changes_nothing(tmp_path):
    file = tmp_path / "jwks.json"
    file.write_text(jwks(A))
    keys = KeyFile("corp", file)
    assert await keys.find("a", "ES256")
    assert await keys.find("b", "ES256") is None
    file.write_text(jwks(A, B))
    assert await keys.find("b", "ES256")
    with capture_logs() as lines:
        file.write_text("{")
        assert await keys.find("b", "ES256")
        file.unlink()
        assert await keys.find("b", "ES256")
        file.write_text(jwks(B))
        assert await keys.find("a", "ES256") is None
    assert [line["log_level"] for line in lines] == ["error", "error", "info"]
    assert "cannot be read: No such file" in lines[1]["why"]
    with pytest.raises(KeysError, match="cannot be read"):
        KeyFile("corp", tmp_path / "none")


class Site:
    """Keys that are fetched, and a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.asked = 0
        self.answer: Any = jwks(A).encode()
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self) -> bytes:
        self.asked += 1
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        answer: bytes = self.answer
        return answer


@asynccontextmanager
async def fetched(site: Site, seconds: float = 300.0) -> AsyncIterator[KeyUrl]:
    keys = KeyUrl("corp", site.fetch, seconds, lambda: site.now)
    try:
        yield keys
    finally:
        await keys.aclose()


async def test_keys_are_fetched_after_each_interval_beside_the_calls():
    site = Site()
    async with fetched(site) as keys:
        keys.tend()
        assert await keys.find("a", "ES256")
        for _ in range(10):
            site.now += 29.9
            keys.tend()
        assert site.asked == 1
        site.now += 2
        keys.tend()
        await asyncio.sleep(0)
        assert site.asked == 2


async def test_all_calls_with_unknown_keys_share_one_fetch_and_the_next_must_wait():
    site = Site()
    async with fetched(site) as keys:
        assert await keys.find("a", "ES256")
        site.now += PAUSE_SECONDS
        site.answer = jwks(A, B).encode()
        site.gate.clear()
        calls = [asyncio.create_task(keys.find("b", "ES256")) for _ in range(100)]
        await asyncio.sleep(0)
        calls[0].cancel()  # it leaves, and the others get their answer
        await asyncio.sleep(0)
        assert await keys.find("a", "ES256")  # a known key waits for nothing
        site.gate.set()
        assert all(await asyncio.gather(*calls[1:]))
        for name in range(1_000):
            assert await keys.find(str(name), "ES256") is None
        assert site.asked == 2


async def test_a_fetch_that_fails_keeps_the_keys_of_before_and_says_so_once():
    site = Site()
    with capture_logs() as lines:
        async with fetched(site) as keys:
            assert await keys.find("a", "ES256")
            for answer in (KeysError("no answer"), KeysError("no answer"), b"{}", jwks(B).encode()):
                site.answer = answer
                site.now += PAUSE_SECONDS
                assert await keys.find("a", "ES256") is not None or answer == jwks(B).encode()
                await keys.find("x", "ES256")
            assert await keys.find("b", "ES256")
    assert [(line["log_level"], line.get("why", "")[:12]) for line in lines] == [
        ("info", ""), ("error", "no answer"), ("error", "is no JWKS: "), ("info", ""),
    ]  # fmt: skip
    shown = [hide_unsafe(None, "", line) for line in lines if line["log_level"] == "error"]
    assert {line["keys"] for line in shown} == {"as_before"}


async def test_without_any_keys_the_error_says_that():
    site = Site()
    site.answer = KeysError("no answer")
    async with fetched(site) as keys:
        with pytest.raises(KeysError, match="could not be fetched yet"):
            await keys.find("a", "ES256")
        site.answer = jwks(A).encode()
        with pytest.raises(KeysError):
            await keys.find("a", "ES256")
        site.now += PAUSE_SECONDS
        keys.tend()
        assert await keys.find("a", "ES256")
