"""Google's `streamGenerateContent`: the request, and what goes back in the next round."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.messages import (
    ChatRequest,
    Message,
    Opaque,
    Part,
    ProviderData,
    ResponseFormat,
    ResponseFormatType,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
)
from headwater_server.providers.base import ModelInfo
from headwater_server.providers.gemini.provider import parse_models
from headwater_server.providers.gemini.wire import GeminiWire
from headwater_server.streaming.accumulator import Account, MessageAccumulator, ToolCallAccumulator
from tests.support.upstream.decoding import decode
from tests.support.upstream.fixtures import load_gemini
from tests.unit.providers.conversations import (
    PICTURE_URL,
    PIXEL,
    PIXEL_BASE64,
    TOOL_ROUND,
    WEATHER,
    ask,
    assistant,
    system,
    tool_results,
    user,
)

WIRE = GeminiWire()
STRICT = Tool("f", "", {}, strict=True)


def sent(*messages: Message, model: str = "gemini-2.0-flash", **fields: Any) -> dict[str, Any]:
    return WIRE.call(ask(*messages, model=model, **fields)).body


def config(model: str = "gemini-2.0-flash", **sampling: Any) -> dict[str, Any]:
    found: dict[str, Any] = sent(model=model, sampling=sampling).get("generationConfig", {})
    return found


def data(value: dict[str, Any]) -> ProviderData:
    return ProviderData("gemini", "a-1", json.dumps(value))


def reply_of(fixture: str) -> Message:
    """The assistant message of a reply, as its final chunk has it."""
    account = Account("gemini", "a-1")
    message, calls = MessageAccumulator(account, from_start=True), ToolCallAccumulator(account)
    for delta in decode(WIRE.decoder(""), [load_gemini()[fixture].body]).deltas:
        message.add(delta)
        calls.add(delta.tool_calls or ())
    complete = message.complete(calls.complete())
    assert complete is not None
    return complete


def test_the_least_request() -> None:
    call = WIRE.call(ask(system("Be brief."), user("Hi"), model="gemini-2.0-flash"))
    assert call.path == "/models/gemini-2.0-flash:streamGenerateContent?alt=sse"
    assert call.headers == {}
    assert call.body == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
    }


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("models/gemini-x", "/models/gemini-x:stream"),
        ("../../v1/x", "/models/..%2F..%2Fv1%2Fx:stream"),
        ("a?b#c", "/models/a%3Fb%23c:stream"),
    ],
)
def test_the_model_is_one_piece_of_the_path(model: str, path: str) -> None:
    assert WIRE.call(ask(model=model)).path.startswith(path)


def test_sampling_parameters_have_googles_names() -> None:
    sampling = {"temperature": 0.0, "max_tokens": 5, "top_p": 1.0, "stop": ["a"], "seed": 7, "presence_penalty": 0.5}
    assert config(**sampling) == {
        "temperature": 0.0, "maxOutputTokens": 5, "topP": 1.0, "stopSequences": ["a"], "seed": 7,
        "presencePenalty": 0.5,
    }  # fmt: skip
    with pytest.raises(HeadwaterError, match="parallel_tool_calls: Gemini has no such parameter"):
        config(parallel_tool_calls=True)


@pytest.mark.parametrize(
    ("count", "sent"), [(0, {"responseLogprobs": True}), (3, {"responseLogprobs": True, "logprobs": 3})]
)
def test_log_probabilities_and_how_many_likely_tokens(count: int, sent: dict[str, Any]) -> None:
    assert config("gemini-2.0-flash", logprobs=count) == sent
    assert WIRE.call(ask(sampling={"logprobs": count})).logprobs
    assert not WIRE.call(ask()).logprobs


@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [
        ("gemini-2.0-flash", "", None),
        ("gemini-2.5-flash", "", {"includeThoughts": True}),
        ("gemini-2.5-flash", "none", {"includeThoughts": False, "thinkingBudget": 0}),
        ("gemini-2.5-pro", "high", {"includeThoughts": True, "thinkingBudget": 24_576}),
        ("gemini-3-pro-preview", "low", {"includeThoughts": True, "thinkingLevel": "LOW"}),
        ("gemini-3.5-flash", "minimal", {"includeThoughts": True, "thinkingLevel": "MINIMAL"}),
        ("gemini-flash-latest", "high", {"includeThoughts": True, "thinkingLevel": "HIGH"}),
        ("gemini-3-pro-image", "", None),
        ("gemma-3", "", None),
    ],
)
def test_thoughts_come_from_models_that_think_as_hard_as_they_are_asked_to(
    model: str, effort: str, thinking: dict[str, Any] | None
) -> None:
    sampling = {"reasoning_effort": effort} if effort else {}
    assert config(model, **sampling).get("thinkingConfig") == thinking


@pytest.mark.parametrize(
    ("model", "efforts"),
    [
        ("gemini-2.0-flash", set()),
        ("gemini-2.5-flash", {"none", "minimal", "low", "medium", "high"}),
        ("gemini-2.5-pro", {"minimal", "low", "medium", "high"}),
        ("gemini-3-pro", {"minimal", "low", "medium", "high", "xhigh"}),
    ],
)
def test_which_efforts_a_model_takes(model: str, efforts: set[str]) -> None:
    assert WIRE.efforts(model) == efforts
    assert ("reasoning_effort" in WIRE.supported_params(model)) is bool(efforts)
    with pytest.raises(HeadwaterError, match=r"reasoning_effort: Gemini's model has no MAX"):
        config(model, reasoning_effort="max")


def test_a_tool_round_of_another_provider() -> None:
    assert sent(*TOOL_ROUND)["contents"] == [
        {"role": "user", "parts": [{"text": "Weather in Lima and Oslo?"}]},
        {
            "role": "model",
            "parts": [
                {"text": "Checking."},
                {"functionCall": {"name": "get_weather", "args": {"city": "Lima", "n": 9007199254740993}}},
                {"functionCall": {"name": "get_weather", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "get_weather", "response": {"output": "18 °C"}}},
                {"functionResponse": {"name": "get_weather", "response": {"error": "no city"}}},
                {"text": "And tomorrow?"},
            ],
        },
    ]


def test_the_first_call_of_another_provider_is_marked_for_models_that_want_signatures() -> None:
    parts = sent(*TOOL_ROUND, model="gemini-3-flash")["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [None, "skip_thought_signature_validator", None]


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-3-flash"])
def test_calls_go_back_with_their_signatures_and_ids(model: str) -> None:
    results = tool_results(ToolResult("fc_1", "", "18"), ToolResult("fc_2", "", "5"))
    turns = sent(user("Weather?"), reply_of("tools"), results, model=model)["contents"]
    assert turns[1]["parts"] == [
        {
            "functionCall": {"name": "get_weather", "args": {"city": "Zürich", "days": 3}, "id": "fc_1"},
            "thoughtSignature": "CiQB0e2Kb",
        },
        {"functionCall": {"name": "get_weather", "args": {"city": "Oslo"}, "id": "fc_2"}},
    ]
    assert [part["functionResponse"] for part in turns[2]["parts"]] == [
        {"name": "get_weather", "response": {"output": "18"}, "id": "fc_1"},
        {"name": "get_weather", "response": {"output": "5"}, "id": "fc_2"},
    ]


@pytest.mark.parametrize(
    ("fixture", "parts"),
    [
        ("text", [{"text": "Grüezi 🦊 mitenand."}, {"text": "", "thoughtSignature": "Eo0BCooB"}]),
        (
            "code-execution",
            [
                {"executableCode": {"language": "PYTHON", "code": "print(6*7)"}, "thoughtSignature": "Ab1"},
                {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "42\n"}},
                {"text": "42"},
            ],
        ),
        ("thoughts", [{"text": "Yes."}]),
    ],
)
def test_a_reply_goes_back_as_it_came_without_thoughts_that_are_not_signed(fixture: str, parts: list[Any]) -> None:
    assert sent(user("a"), reply_of(fixture), user("b"))["contents"][1]["parts"] == parts


@pytest.mark.parametrize(
    ("part", "back"),
    [
        (Text("a", data({"thoughtSignature": "s"})), {"text": "a", "thoughtSignature": "s"}),
        (Thinking("a", "", data({"thoughtSignature": "s"})), {"text": "a", "thought": True, "thoughtSignature": "s"}),
        (Opaque(data({"part": {"inlineData": {}}})), {"inlineData": {}}),
    ],
)
def test_the_providers_data_stands_on_the_part_that_it_came_with(part: Part, back: dict[str, Any]) -> None:
    assert sent(user("a"), assistant(part), user("b"))["contents"][1]["parts"] == [back]


@pytest.mark.parametrize("part", [Text(" \n"), Thinking("a", "another's"), Opaque(None)])
def test_what_google_does_not_take_is_left_out(part: Part) -> None:
    assert sent(user("a"), assistant(part), user("b"))["contents"] == [
        {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}
    ]


def test_images() -> None:
    assert sent(user("a", PIXEL, PICTURE_URL))["contents"][0]["parts"] == [
        {"text": "a"},
        {"inlineData": {"mimeType": "image/png", "data": PIXEL_BASE64}},
        {"fileData": {"fileUri": "https://example.org/a.png"}},
    ]


def test_tools() -> None:
    [declared] = sent(tools=(WEATHER,))["tools"]
    assert declared["functionDeclarations"] == [
        {"name": "get_weather", "description": "Weather of a city", "parametersJsonSchema": WEATHER.parameters}
    ]


@pytest.mark.parametrize(
    ("choice", "tool", "calling"),
    [
        (None, WEATHER, None),
        (None, STRICT, {"mode": "VALIDATED"}),
        (ToolChoice(ToolChoiceMode.AUTO), WEATHER, {"mode": "AUTO"}),
        (ToolChoice(ToolChoiceMode.NONE), STRICT, {"mode": "NONE"}),
        (ToolChoice(ToolChoiceMode.REQUIRED), WEATHER, {"mode": "ANY"}),
        (ToolChoice(ToolChoiceMode.REQUIRED, "f"), STRICT, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_tool_choice(choice: ToolChoice | None, tool: Tool, calling: dict[str, Any] | None) -> None:
    body = sent(tools=(tool,), tool_choice=choice)
    assert body.get("toolConfig") == ({"functionCallingConfig": calling} if calling else None)


def test_response_format() -> None:
    schema = {"type": "object"}
    form = ResponseFormat(ResponseFormatType.JSON_SCHEMA, schema)
    both = {"responseMimeType": "application/json", "responseJsonSchema": schema}
    assert sent(response_format=form)["generationConfig"] == both
    plain = ResponseFormat(ResponseFormatType.JSON_OBJECT)
    assert sent(response_format=plain)["generationConfig"] == {"responseMimeType": "application/json"}


def test_options_go_into_googles_objects() -> None:
    options = {"generationConfig": {"topK": 3}, "safetySettings": [1], "api": "generate_content"}
    body = WIRE.call(ChatRequest("gemini-2.0-flash", (user("a"),), {"seed": 1}, provider_options=options)).body
    assert body["generationConfig"] == {"seed": 1, "topK": 3}
    assert body["safetySettings"] == [1]
    assert "api" not in body


def test_data_that_was_changed_is_refused() -> None:
    call = ToolCall("c", "f", "{}", ProviderData("gemini", "a-1", "[]"))
    with pytest.raises(HeadwaterError, match="data_json: is not as the provider sent it"):
        sent(user("a"), Message(Role.ASSISTANT, (call,)))


@pytest.mark.parametrize("key", ["models", "publisherModels"])
def test_the_names_of_models_are_without_their_paths(key: str) -> None:
    body = json.dumps({key: [{"name": "models/gemini-x"}, {"name": "publishers/google/models/gemini-y"}]})
    assert parse_models(body.encode()) == [ModelInfo("gemini-x"), ModelInfo("gemini-y")]
