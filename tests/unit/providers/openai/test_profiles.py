"""Each service gets the fields that it takes: parameters by its names, and nothing that it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from headwater_server.domain.messages import ALL_EFFORTS, SAMPLING_PARAMS
from headwater_server.providers.openai.chat import OpenAIChatWire
from headwater_server.providers.openai.profiles import PROFILES
from headwater_server.providers.openai.responses import OpenAIResponsesWire
from headwater_server.providers.presets import PRESETS
from tests.unit.providers.conversations import TOOL_ROUND, WEATHER, ask


def wire(service: str, max_tokens_field: str = "") -> OpenAIChatWire:
    return OpenAIChatWire(genuine=False, profile=PROFILES[service], max_tokens_field=max_tokens_field)


def sent(wire: OpenAIChatWire, model: str = "a-model", **fields: Any) -> dict[str, Any]:
    return wire.call(ask(model=model, **fields)).body


def test_every_profile_is_that_of_a_preset() -> None:
    assert {PRESETS[name].type for name in PROFILES} == {"openai"}


@pytest.mark.parametrize("service", sorted(PROFILES))
def test_the_parameters_that_a_service_takes_are_all_that_it_gets(service: str) -> None:
    profile, its = PROFILES[service], wire(service)
    taken = its.supported_params("a-model")
    efforts = set() if profile.efforts else {"reasoning_effort"}
    assert set(SAMPLING_PARAMS) - taken == profile.lacks | efforts
    assert its.efforts("a-model") == profile.efforts <= ALL_EFFORTS
    sampling = {name: {"stop": ["x"], "reasoning_effort": "high"}.get(name, 1) for name in taken}
    body = sent(its, sampling=sampling)
    assert body.keys().isdisjoint(profile.omit | profile.lacks | profile.renamed.keys())


@pytest.mark.parametrize(
    ("service", "model", "field"),
    [
        ("mistral", "mistral-small", "max_tokens"),
        ("azure", "my-deployment", "max_completion_tokens"),
        ("azure-classic", "gpt-4o", "max_tokens"),
        ("azure-classic", "o3", "max_completion_tokens"),
        ("groq", "llama-4", "max_completion_tokens"),
        ("openrouter", "openai/gpt-5", "max_tokens"),
    ],
)
def test_the_name_of_the_limit(service: str, model: str, field: str) -> None:
    body = sent(wire(service), model, sampling={"max_tokens": 7})
    assert {name: body[name] for name in ("max_tokens", "max_completion_tokens") if name in body} == {field: 7}


@pytest.mark.parametrize("model", ["o3", "gpt-5-mini", "openai/gpt-5", "o3@a-deployment"])
def test_a_reasoning_model_of_openai_has_its_own_limit_behind_any_server(model: str) -> None:
    body = sent(OpenAIChatWire(genuine=False), model, sampling={"max_tokens": 7})
    assert body["max_completion_tokens"] == 7
    assert "max_tokens" not in body


def test_the_setting_goes_over_the_profile() -> None:
    assert sent(wire("mistral", "max_completion_tokens"), sampling={"max_tokens": 7})["max_completion_tokens"] == 7
    its = OpenAIChatWire(genuine=True, max_tokens_field="max_tokens")
    assert sent(its, "gpt-4o", sampling={"max_tokens": 7})["max_tokens"] == 7


def test_mistral_gets_neither_stream_options_nor_seed_by_openais_name() -> None:
    body = sent(wire("mistral"), sampling={"seed": 3})
    assert body["random_seed"] == 3
    assert body.keys().isdisjoint({"seed", "stream_options"})


def test_no_effort_is_another_field_for_deepseek() -> None:
    assert sent(wire("deepseek"), sampling={"reasoning_effort": "none"})["thinking"] == {"type": "disabled"}
    assert sent(wire("deepseek"), sampling={"reasoning_effort": "max"})["reasoning_effort"] == "max"


def test_a_strict_tool_is_an_ordinary_one_for_gemini() -> None:
    tool = WEATHER.__class__(WEATHER.name, WEATHER.description, WEATHER.parameters, strict=True)
    assert "strict" not in sent(wire("gemini-openai"), tools=(tool,))["tools"][0]["function"]
    assert sent(wire("groq"), tools=(tool,))["tools"][0]["function"]["strict"] is True


@pytest.mark.parametrize("model", ["gpt-5.4", "openai.gpt-5.4"])
def test_openais_models_reason_behind_other_doors_to_responses_too(model: str) -> None:
    door = OpenAIResponsesWire(genuine=False, hosts_openai=True)
    body = door.call(ask(model=model, tools=(WEATHER,), sampling={"reasoning_effort": "low"})).body
    assert (body["reasoning"], body["include"]) == ({"effort": "low"}, ["reasoning.encrypted_content"])
    assert body.keys().isdisjoint({"stream_options", "safety_identifier", "temperature"})
    assert door.supported_params(model) == {"max_tokens", "parallel_tool_calls", "reasoning_effort"}


def test_a_call_that_gemini_did_not_make_is_marked_for_it() -> None:
    request = ask(*TOOL_ROUND)
    calls = wire("gemini-openai").call(request).body["messages"][2]["tool_calls"]
    assert calls[0]["extra_content"] == {"google": {"thought_signature": "skip_thought_signature_validator"}}
    assert "extra_content" not in calls[1]
    assert "extra_content" not in OpenAIChatWire(genuine=False).call(request).body["messages"][2]["tool_calls"][0]
