"""The offers of a server: which providers are open while streams run over a reload."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headwater_server.attempts.circuits import Circuits
from headwater_server.attempts.offers import Offer, Offers
from headwater_server.attempts.policy import AttemptSettings
from headwater_server.config import ConfigError, load
from headwater_server.config.reloading import build_offer, reload_offers, reread
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.http.client import HttpClient
from headwater_server.providers.registry import ProviderRegistry, ProviderTerms, Source
from headwater_server.streaming.answerer import Timeouts
from headwater_server.testing.replies import PlannedProvider, PlannedReplies
from tests.support.services.attempts import NO_ACCOUNTS


class Watched(PlannedProvider):
    """Knows whether it was closed."""

    def __init__(self, name: str) -> None:
        super().__init__(name, PlannedReplies())
        self.closed = asyncio.Event()

    async def aclose(self) -> None:
        assert not self.closed.is_set()
        self.closed.set()


def offer(*providers: Watched) -> Offer:
    sources = {each.name: Source(each, HttpClient("test"), (), ProviderTerms()) for each in providers}
    registry = ProviderRegistry({each.name: each for each in providers}, frozenset(sources), sources=sources)
    return Offer(registry, Timeouts(300, 120), AttemptSettings())


async def test_a_provider_is_closed_when_the_last_stream_that_began_with_it_has_ended():
    old, kept, new = Watched("openai"), Watched("ollama"), Watched("openai")
    offers = Offers(offer(old, kept))
    with offers.held() as first:
        with offers.held():
            offers.replace(offer(new, kept))
        assert first is not offers.current
        await asyncio.sleep(0)
        assert not old.closed.is_set()
    await asyncio.wait_for(old.closed.wait(), 5)
    assert not kept.closed.is_set()
    await offers.aclose()
    assert kept.closed.is_set()
    assert new.closed.is_set()


async def test_a_provider_that_nobody_asks_is_closed_at_once():
    old, new = Watched("openai"), Watched("openai")
    offers = Offers(offer(old))
    offers.replace(offer(new))
    await offers.aclose()
    assert old.closed.is_set()


async def test_a_provider_that_cannot_start_changes_nothing(tmp_path, monkeypatch):
    async def cannot(self: object) -> None:
        raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "cannot start")

    offers, circuits = Offers(build_offer(load(None, {}), "test")), Circuits(5)
    before = offers.current
    monkeypatch.setattr("headwater_server.providers.scripted.provider.ScriptedProvider.open", cannot)
    changed = load(_file(tmp_path, "[providers.scripted]\nenabled = true\n[server]\ncool_down_seconds = 9\n"), {})
    with pytest.raises(HeadwaterError, match="cannot start"):
        await reload_offers(changed, offers, circuits, NO_ACCOUNTS, "test")
    assert offers.current is before
    assert circuits.seconds == 5
    monkeypatch.undo()
    await reload_offers(changed, offers, circuits, NO_ACCOUNTS, "test")
    assert "scripted" in [provider.name for provider in offers.current.providers.configured()]
    assert circuits.seconds == 9
    await offers.aclose()


def test_what_needs_a_restart_stays_and_is_named_again_at_each_reload(tmp_path):
    file = _file(tmp_path, "[server]\nport = 1\nmax_attempts = 1\n")
    current = load(file, {}, {("server", "host"): "127.0.0.2"})
    _file(tmp_path, "[server]\nport = 2\nmax_attempts = 2\n")
    for _ in range(2):
        current, needs_restart = reread(current, {})
        server = current.settings.server
        assert (server.host, server.port, server.max_attempts, needs_restart) == ("127.0.0.2", 1, 2, ["server.port"])
    _file(tmp_path, "[server]\nport = 70000\n")
    with pytest.raises(ConfigError, match=r"server\.port"):
        reread(current, {})


def _file(folder: Path, text: str) -> Path:
    file = folder / "headwater.toml"
    file.write_text(text)
    return file
