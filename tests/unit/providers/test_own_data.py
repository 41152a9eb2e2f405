"""Data that a provider wants back goes to that provider and account, and to no other."""

from __future__ import annotations

from headwater_server.domain.messages import Opaque, ProviderData, Text, Thinking, ToolCall, ToolResult
from headwater_server.providers.own_data import account_fingerprint, only_data_of
from tests.unit.providers.conversations import PIXEL, ask, assistant, tool_results, user

OWN = ProviderData("openai", "a1", "{}")


def said(data: ProviderData | None):
    return assistant(
        Thinking("hm", "s", data), Opaque(data), Text("Yes.", data), ToolCall("c", "f", "{}", data), "plain"
    )


def test_the_accounts_own_data_is_kept_as_it_is():
    request = ask(user("Hi", PIXEL), said(OWN), tool_results(ToolResult("c", "f", "1")))
    assert only_data_of(request, "openai", "a1") is request


def test_data_of_another_provider_or_account_is_left_out():
    request = ask(user("Hi", PIXEL), said(OWN), said(ProviderData("openai", "a2", "{}")))
    assert only_data_of(request, "openai", "a2").messages == (
        user("Hi", PIXEL), said(None), said(ProviderData("openai", "a2", "{}")),
    )  # fmt: skip
    assert only_data_of(request, "other", "a1").messages == (user("Hi", PIXEL), said(None), said(None))


def test_a_fingerprint_is_the_same_only_for_the_same_address_and_key():
    same = account_fingerprint("https://a", "sk-1")
    assert same == account_fingerprint("https://a", "sk-1")
    others = {account_fingerprint("https://b", "sk-1"), account_fingerprint("https://a", "sk-2")}
    assert same not in others
    assert len(others | {account_fingerprint("https://a", "")}) == 3


def test_data_does_not_show_in_a_repr():
    assert "secret" not in repr(ProviderData("openai", "a1", "secret"))
