from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from benchmarks.contestants import choice
from benchmarks.contestants.base import Upstream
from benchmarks.contestants.choice import contestant
from benchmarks.contestants.headwater import Headwater
from benchmarks.load.processes import ROOT

PLAIN = Upstream(1234, 1)
ENCRYPTED = Upstream(1234, 1, Path("/certificates"))


def settings(upstream: Upstream, *options: str) -> dict[str, dict[str, object]]:
    return tomllib.loads(Headwater(options=frozenset(options))._settings(upstream, Path("/files")))


@pytest.mark.parametrize("name", ["headwater", "headwater-stub", "direct", "headwater-tls-resumable", "direct-tls"])
def test_what_needs_nothing_else_is_always_there(name):
    found = contestant(name)
    assert (found.name, found.tls, found.installed) == (name, "tls" in name, True)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nginx", "'nginx' is none of headwater, direct, smg, envoy, litellm"),
        ("before", "'before' is none of"),
        ("headwater-fast", "headwater takes lean, resumable, stub, tls, unmetered, not 'fast'"),
        ("envoy-lean", "envoy takes tls, not 'lean'"),
        ("litellm-tls", "litellm takes no options, not 'tls'"),
    ],
)
def test_a_name_that_means_nothing_is_an_error(name, why):
    with pytest.raises(ValueError, match=why):
        contestant(name)


def test_a_gateway_that_is_not_installed_names_the_cure(monkeypatch, tmp_path):
    monkeypatch.setattr(choice.smg, "PYTHON", tmp_path / "smg" / "bin" / "python")
    with pytest.raises(ValueError, match="smg-tls is not installed: `make bench-peers` does it"):
        contestant("smg-tls")


def test_a_checkout_without_an_environment_names_the_cure(tmp_path):
    with pytest.raises(ValueError, match=r"has no \.venv/bin/headwater: `make setup` there"):
        contestant("before", tmp_path)


def test_another_checkout_brings_its_own_server_and_client():
    before = contestant("before-lean", ROOT)
    assert before.client == ("headwater", ROOT / ".venv" / "bin" / "python")
    assert Headwater(ROOT).bin == ROOT / ".venv" / "bin"
    assert before.version() == Headwater().commit() != "unknown"


def test_metrics_are_on_unless_they_are_left_out():
    assert settings(PLAIN)["server"]["admin_address"] == "127.0.0.1:0"
    assert "admin_address" not in settings(PLAIN, "unmetered")["server"]


def test_the_front_is_the_usual_one_unless_it_is_named():
    assert "front" not in settings(PLAIN)["server"]
    assert settings(PLAIN, "lean")["server"]["front"] == "lean"


def test_tls_is_on_both_sides_or_on_none():
    plain, encrypted = settings(PLAIN), settings(ENCRYPTED)
    assert plain["providers"] == {"openai": {"base_url": "http://127.0.0.1:1234/v1"}}
    assert "tls_cert_file" not in plain["server"]
    assert encrypted["providers"] == {
        "openai": {"base_url": "https://127.0.0.1:1234/v1", "ca_file": "/certificates/ca.pem"}
    }
    assert encrypted["server"]["tls_cert_file"] == "/certificates/server.pem"


def test_a_stub_reads_only_what_depends_on_the_reader():
    assert contestant("headwater-stub").figures == choice.READ
    assert contestant("headwater").figures is None
