"""Which provider answers a request, and which sampling parameters it is asked with."""

from __future__ import annotations

from typing import Any

import pytest

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import ChatRequest, Message, Role, Text
from headwater_server.providers.registry import Alias, ProviderRegistry, fit_params

DEFAULTS = {
    "openai": "gpt-4o-mini",
    "anthropic": "claude-sonnet-4-6",
    "ollama": "llama3.2",
    "local": "small",
    "scripted": "story",
    "box": "box-model",
    "azure": "azure-model",
    "bare": "",
}


class FakeProvider:
    """A name, a default model and the parameters that it takes."""

    def __init__(self, name: str, default_model: str = "", params: frozenset[str] = frozenset()) -> None:
        self.name = name
        self.type = "fake"
        self.default_model = default_model
        self.closed = 0
        self._params = params

    def supported_params(self, request: ChatRequest) -> frozenset[str]:
        return self._params

    async def aclose(self) -> None:
        self.closed += 1


def registry(configured: str, default_model: str = "", models: dict[str, str] | None = None) -> ProviderRegistry:
    """All of DEFAULTS can be named; those that `configured` lists were set up."""
    providers: dict[str, Any] = {name: FakeProvider(name, model) for name, model in DEFAULTS.items()}
    return ProviderRegistry(providers, frozenset(configured.split()), default_model, models)


def route(providers: ProviderRegistry, model: str = "", provider: str = "") -> tuple[str, str]:
    found = providers.resolve(model, provider)
    return found.provider.name, found.model


def refused(providers: ProviderRegistry, model: str = "", provider: str = "") -> HeadwaterError:
    with pytest.raises(HeadwaterError) as caught:
        providers.resolve(model, provider)
    return caught.value


@pytest.mark.parametrize(
    ("configured", "answers"),
    [
        ("scripted local box azure ollama anthropic openai", ("openai", "gpt-4o-mini")),
        ("scripted local box azure ollama anthropic", ("anthropic", "claude-sonnet-4-6")),
        ("scripted local box azure ollama", ("ollama", "llama3.2")),
        ("scripted local box azure", ("azure", "azure-model")),
        ("scripted local box", ("box", "box-model")),
        ("scripted local bare", ("local", "small")),
        ("scripted", ("scripted", "story")),
    ],
)
def test_a_request_that_names_nothing_goes_to_the_first_that_is_set_up(configured, answers):
    assert route(registry(configured)) == answers


@pytest.mark.parametrize(
    ("default_model", "answers"),
    [
        ("claude-opus-4", ("anthropic", "claude-opus-4")),
        ("box/other", ("box", "other")),
        ("scripted/", ("scripted", "story")),
    ],
)
def test_default_model_goes_over_that_order(default_model, answers):
    assert route(registry("openai", default_model)) == answers


@pytest.mark.parametrize(
    ("model", "provider", "answers"),
    [
        ("gpt-4o", "", ("openai", "gpt-4o")),
        ("claude-opus-4", "", ("anthropic", "claude-opus-4")),
        ("llama3.2:1b", "", ("ollama", "llama3.2:1b")),
        ("scripted/echo", "", ("scripted", "echo")),
        ("openai/llama3.2", "", ("openai", "llama3.2")),
        ("box/", "", ("box", "box-model")),
        ("box/org/name", "", ("box", "org/name")),
        ("", "anthropic", ("anthropic", "claude-sonnet-4-6")),
        ("gpt-4o", "anthropic", ("anthropic", "gpt-4o")),
        ("box/m", "box", ("box", "m")),
        ("box/m", "azure", ("azure", "box/m")),
        ("mine", "", ("box", "mine")),
        ("org/mine", "", ("azure", "org/mine")),
        ("gpt-4o-own", "", ("azure", "gpt-4o-own")),
    ],
)
def test_who_answers_for_a_model_and_a_provider(model, provider, answers):
    models = {"mine": "box", "org/mine": "azure", "gpt-4o-own": "azure"}
    assert route(registry("openai", models=models), model, provider) == answers


def test_a_model_that_nobody_is_known_to_have_is_told_with_those_that_are_set_up():
    error = refused(registry("scripted openai"), model="unheard-of")
    assert error.reason is Reason.PROVIDER_NOT_FOUND
    assert '"unheard-of"' in error.message
    assert "configured: openai, scripted." in error.message
    assert error.metadata == {"model": "unheard-of", "configured": "openai, scripted"}


def test_a_model_that_nobody_is_known_to_have_is_told_with_the_aliases():
    aliases = {"smart": Alias(("openai/gpt-4o",)), "fast": Alias(("scripted/echo",))}
    error = refused(ProviderRegistry({}, frozenset(["openai"]), aliases=aliases), model="smrt")
    assert error.message.startswith(
        'no provider here is known to have the model "smrt", and it is none of the aliases fast, smart; configured:'
    )
    many = {f"alias-{number}": Alias(("openai/gpt-4o",)) for number in range(1000)}
    assert len(refused(ProviderRegistry({}, frozenset(), aliases=many), model="smrt").message) < 500


def test_a_provider_that_is_not_there_is_told_with_those_that_are_set_up():
    error = refused(registry("scripted openai"), model="gpt-4o", provider="opnai")
    assert error.reason is Reason.PROVIDER_NOT_FOUND
    assert 'no provider is called "opnai" here; configured: openai, scripted.' in error.message
    assert error.metadata == {"provider": "opnai", "configured": "openai, scripted"}


def test_where_nobody_is_set_up_the_error_says_so():
    assert refused(registry(""), provider="nobody").metadata["configured"] == "none"


def test_a_model_of_a_provider_that_is_not_there_is_not_found():
    providers = ProviderRegistry({}, frozenset())
    assert refused(providers, model="gpt-4o").reason is Reason.PROVIDER_NOT_FOUND


def test_a_very_long_name_is_cut_in_the_error():
    error = refused(registry("openai"), provider="x" * 10_000)
    assert error.metadata["provider"] == "x" * 100
    assert len(error.message) < 400


def test_without_a_default_a_request_must_name_its_model():
    providers = registry("bare")
    assert providers.default() is None
    error = refused(providers)
    assert (error.reason, [v.field for v in error.violations]) == (Reason.INVALID_REQUEST, ["model"])
    assert "OPENAI_API_KEY" in error.message


@pytest.mark.parametrize(("model", "provider"), [("", "bare"), ("bare/", "")])
def test_a_provider_without_a_default_model_must_be_told_one(model, provider):
    error = refused(registry("openai"), model, provider)
    assert (error.reason, [v.field for v in error.violations]) == (Reason.INVALID_REQUEST, ["model"])
    assert "bare" in error.message


def test_a_default_model_that_nobody_has_is_refused():
    with pytest.raises(HeadwaterError) as caught:
        registry("openai", "unheard-of").default()
    assert caught.value.reason is Reason.PROVIDER_NOT_FOUND


def test_a_provider_is_found_by_its_name_and_without_one_is_who_would_answer():
    providers = registry("scripted anthropic")
    assert providers.provider("box").name == "box"
    assert providers.provider("").name == "anthropic"
    with pytest.raises(HeadwaterError) as caught:
        providers.provider("nobody")
    assert caught.value.reason is Reason.PROVIDER_NOT_FOUND


def test_those_that_are_set_up_are_listed_by_name():
    names = [provider.name for provider in registry("scripted openai box").configured()]
    assert names == ["box", "openai", "scripted"]


async def test_closing_closes_every_provider_set_up_or_not():
    fakes = [FakeProvider("a"), FakeProvider("b")]
    providers: dict[str, Any] = {fake.name: fake for fake in fakes}
    await ProviderRegistry(providers, frozenset("a")).aclose()
    assert [fake.closed for fake in fakes] == [1, 1]


def asked(**sampling: Any) -> ChatRequest:
    return ChatRequest("m", (Message(Role.USER, (Text("x"),)),), sampling=sampling)


TAKES: Any = FakeProvider("box", params=frozenset({"max_tokens", "stop"}))


@pytest.mark.parametrize("drop", [False, True])
def test_a_request_whose_parameters_all_fit_is_left_as_it_is(drop):
    request = asked(max_tokens=5)
    assert fit_params(TAKES, request, drop) == (request, [])


def test_every_parameter_that_does_not_fit_is_named():
    with pytest.raises(HeadwaterError) as caught:
        fit_params(TAKES, asked(seed=1, max_tokens=5, top_p=0.5), drop=False)
    assert caught.value.reason is Reason.INVALID_REQUEST
    assert [v.field for v in caught.value.violations] == ["seed", "top_p"]
    assert all("box" in v.description and "DROP" in v.description for v in caught.value.violations)


def test_parameters_that_may_be_dropped_are_left_out_and_told():
    request = asked(seed=1, max_tokens=5, top_p=0.5)
    fitted, dropped = fit_params(TAKES, request, drop=True)
    assert (fitted, dropped) == (asked(max_tokens=5), ["seed", "top_p"])
    assert request == asked(seed=1, max_tokens=5, top_p=0.5)
