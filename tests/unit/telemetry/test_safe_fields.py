"""A field of the log shows names and ids; a text that could be a prompt or a key of a sentence is not shown."""

from __future__ import annotations

import pytest

from headwater_server.telemetry.safe_fields import HIDDEN, hide_unsafe

CARD = "4111-1111-1111-1111"


def shown(field: str, value: object) -> object:
    return hide_unsafe(None, "info", {field: value})[field]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "openai/gpt-4o:free"),
        ("model", "hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M"),
        ("model", "anthropic.claude-3-5-sonnet-20241022-v2:0"),
        ("model_asked", ""),
        ("provider_request_id", "req_011CSHoEeqs5C35K2UUqR7Fy"),
        ("request_id", "3f2c9a1e-0b7d-4b1e-9f59-6d2b1c3a4e5f"),
        ("fields", ["messages[3].content", "agent.temperature"]),
        ("path", "/v1beta/models/gemini-2.5-pro:streamGenerateContent"),
        ("provider_code", "rate_limit_exceeded"),
        ("provider_code", "InvalidParameter.DataInspection"),
        ("provider_code", "base_resp-1004"),
        ("provider_code", 429),
        ("http_status", 400),
        ("seconds", 0.1),
        ("why", "it can be written again"),
        ("labels", {"team": "all of us"}),
    ],
)
def test_a_name_is_shown(field: str, value: object) -> None:
    assert shown(field, value) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("provider_code", f"cannot parse: my card is {CARD}"),
        ("provider_code", CARD),
        ("provider_code", f"card-{CARD}"),
        ("provider_code", "sk-proj-a8Xb2Qz91kLmv0"),
        ("provider_code", "x" * 65),
        ("provider_request_id", "my card is 4111"),
        ("model", "Tell me a secret"),
        ("model_asked", "x" * 201),
        ("queue", "a\nforged line"),
        ("step", "\x1b[31mred"),
        ("workflow", "我的卡号"),
        ("request_id", 'a"b'),
        ("any_new_field", "two words"),
    ],
)
def test_another_text_is_not_shown(field: str, value: object) -> None:
    assert shown(field, value) == HIDDEN


def test_texts_within_are_checked_too() -> None:
    assert shown("features", ["chunks", "two words"]) == ["chunks", HIDDEN]
    assert shown("facts", {"a key": {"name": "a value"}}) == {HIDDEN: {"name": HIDDEN}}
