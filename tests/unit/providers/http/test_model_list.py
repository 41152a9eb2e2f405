"""Lists of models in the shapes that servers send, each as its documentation or a recording has it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.base import ModelInfo
from headwater_server.providers.gemini import provider as gemini
from headwater_server.providers.http.model_list import parse_models


def listed(*models: Any, **beside: Any) -> dict[str, Any]:
    return {"object": "list", "data": list(models), **beside}


def named(model: str, **more: Any) -> dict[str, Any]:
    return {"id": model, "object": "model", "created": 1_700_000_000, "owned_by": "somebody", **more}


LLAMA = {
    "name": "llama3.2:latest",
    "model": "llama3.2:latest",
    "size": 1,
    "digest": "a",
    "details": {"family": "llama"},
}
GGUF = {"name": "m.gguf", "model": "m.gguf", "type": "model", "capabilities": ["completion"], "details": {}}
UUID = "f9f2250b-1048-4a52-9910-d0bf976616a1"

SHAPES: dict[str, tuple[Any, list[str]]] = {
    "OpenAI": (listed(named("gpt-4o"), named("gpt-4o-mini")), ["gpt-4o", "gpt-4o-mini"]),
    "Ollama, its own": ({"models": [LLAMA]}, ["llama3.2:latest"]),
    "Ollama, an older one": ({"models": [{"name": "llama2:7b", "modified_at": "2024", "size": 1}]}, ["llama2:7b"]),
    "Ollama, without models": ({"models": None}, []),
    "Ollama, by OpenAI's door": (listed(named("llama3.2:latest", owned_by="library")), ["llama3.2:latest"]),
    "Ollama, by OpenAI's door, without models": ({"object": "list", "data": None}, []),
    "Gemini, by OpenAI's door": (listed(named("models/gemini-2.5-pro", display_name="G")), ["models/gemini-2.5-pro"]),
    "Together": ([named("meta-llama/Llama-3", type="chat", display_name="L", pricing={})], ["meta-llama/Llama-3"]),
    "OpenRouter": (
        {
            "data": [
                {"id": "openai/gpt-4o", "canonical_slug": "openai/gpt-4o-1", "name": "OpenAI: GPT-4o", "pricing": {}}
            ]
        },
        ["openai/gpt-4o"],
    ),
    "LM Studio, by OpenAI's door": (listed(named("qwen2.5-7b-instruct")), ["qwen2.5-7b-instruct"]),
    "LM Studio, version 0": (listed({"id": "qwen2-vl", "type": "vlm", "state": "not-loaded"}), ["qwen2-vl"]),
    "LM Studio, version 1": (
        {"models": [{"type": "llm", "publisher": "google", "key": "google/gemma-3", "display_name": "Gemma 3"}]},
        ["google/gemma-3"],
    ),
    "llama.cpp": ({"models": [GGUF], **listed(named("m.gguf", aliases=[], meta={}))}, ["m.gguf"]),
    "llama.cpp, one of the two lists empty": ({**listed(), "models": [GGUF]}, ["m.gguf"]),
    "vLLM": (listed(named("Qwen/Qwen3", root="/models/q", parent=None, permission=[{"id": "p"}])), ["Qwen/Qwen3"]),
    "SGLang": (listed(named("default", root="default", max_model_len=4096)), ["default"]),
    "Azure": (
        listed({"id": "gpt-4o-2024-11-20", "status": "succeeded", "capabilities": {"inference": True}}),
        ["gpt-4o-2024-11-20"],
    ),
    "Azure's catalog": (
        [{"id": "azureml://registries/azure-openai/models/gpt-4o/versions/2", "name": "gpt-4o", "friendly_name": "G"}],
        ["gpt-4o"],
    ),
    "Bedrock": ({"modelSummaries": [{"modelArn": "arn:x", "modelId": "openai.gpt-oss-20b"}]}, ["openai.gpt-oss-20b"]),
    "Anthropic": (
        {"data": [{"type": "model", "id": "claude-x", "display_name": "X"}], "has_more": False},
        ["claude-x"],
    ),
    "Cohere": ({"models": [{"name": "command-r", "endpoints": ["chat"]}], "next_page_token": "t"}, ["command-r"]),
    "Cloudflare": (
        {"success": True, "result": [{"id": UUID, "name": "@cf/meta/llama-3", "task": {"id": UUID}}], "errors": []},
        ["@cf/meta/llama-3"],
    ),
    "watsonx": ({"total_count": 1, "resources": [{"model_id": "ibm/granite", "label": "g"}]}, ["ibm/granite"]),
    "LiteLLM": ({"data": [{"model_name": "gpt", "litellm_params": {"model": "openai/gpt-4o"}}]}, ["gpt"]),
    "text-generation-webui": ({"model_names": ["a", "b"]}, ["a", "b"]),
    "names by themselves": (["a", "b", "a"], ["a", "b"]),
    "ids as keys": ({"data": {"a": {"x": 1}, "b": {}}}, ["a", "b"]),
    "a list within": ({"data": {"models": [named("a")]}}, ["a"]),
    "an empty list within": ({"data": {"models": []}}, []),
    "nothing, as protobuf writes an empty list": ({}, []),
    "numbers, nothing and odd things": (listed({"id": 7}, None, {"id": ""}, {"id": True}, [], "a" * 300, 3.5), ["7"]),
}


@pytest.mark.parametrize(("value", "names"), SHAPES.values(), ids=SHAPES.keys())
def test_the_names_of_the_models(value: Any, names: list[str]) -> None:
    assert [model.name for model in parse_models(json.dumps(value).encode())] == names


def test_names_and_abilities_hold_no_surrogates() -> None:
    body = rb'{"models": [{"name": "a\ud83d", "capabilities": ["\ude00"]}]}'
    assert parse_models(body) == [ModelInfo("a\ufffd", ("\ufffd",))]


def test_abilities_are_in_the_providers_words() -> None:
    body = {"models": [{**LLAMA, "capabilities": ["completion", "tools", 7]}, {**LLAMA, "name": "b", "model": "b"}]}
    assert parse_models(json.dumps(body).encode()) == [
        ModelInfo("llama3.2:latest", ("completion", "tools")),
        ModelInfo("b"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"models": [{"name": "models/gemini-x", "supportedGenerationMethods": ["generateContent"]}]},
        {"publisherModels": [{"name": "publishers/google/models/gemini-x", "versionId": "default"}]},
        listed(named("models/gemini-x")),
    ],
)
def test_geminis_models_are_named_without_their_path(body: dict[str, Any]) -> None:
    assert gemini.parse_models(json.dumps(body).encode()) == [ModelInfo("gemini-x")]


@pytest.mark.parametrize("body", [b"<html>", b'"a"', b"7", b"null", b'{"data": "a"}', b'{"x": 1}', b"[" * 100_000, b""])
def test_another_answer_is_no_list(body: bytes) -> None:
    with pytest.raises(HeadwaterError, match="not a list of models") as caught:
        parse_models(body)
    assert caught.value.reason is Reason.PROVIDER_UNAVAILABLE


def test_an_error_in_place_of_a_list_has_the_providers_words() -> None:
    with pytest.raises(HeadwaterError, match="Incorrect API key") as caught:
        parse_models(b'{"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}')
    assert caught.value.reason is Reason.PROVIDER_AUTH_FAILED
