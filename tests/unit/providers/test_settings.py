"""Settings of providers: presets, variables, and mistakes that name the setting and its cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater_server.config import Config, ConfigError, load
from headwater_server.providers.presets import PRESETS, vendor

CLOUD = {
    "AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com/",
    "AWS_REGION": "eu-west-1",
    "GOOGLE_CLOUD_PROJECT": "p-1",
}


def loaded(folder: Path, text: str, **environment: str) -> Config:
    file = folder / "headwater.toml"
    file.write_text(text)
    return load(file, environment)


def mistake(folder: Path, text: str, **environment: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, **environment)
    [line] = caught.value.mistakes
    return line.replace(f" in {folder}/headwater.toml", "")


def box(setting: str) -> str:
    return f'[providers.box]\ntype = "openai"\nbase_url = "http://box/v1"\n{setting}\n'


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_is_one_line(tmp_path, name):
    config = loaded(tmp_path, f'providers.mine.preset = "{name}"', **CLOUD)
    provider = config.settings.providers["mine"]
    assert provider.type == PRESETS[name].type
    assert "${" not in provider.base_url
    assert "mine" in config.configured


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("azure", "https://r.openai.azure.com/openai/v1"),
        ("azure-classic", "https://r.openai.azure.com/openai/deployments/{model}"),
        ("bedrock-anthropic", "https://bedrock-mantle.eu-west-1.api.aws/anthropic"),
        ("vertex", "https://aiplatform.googleapis.com/v1/projects/p-1/locations/global/publishers/google"),
    ],
)
def test_the_address_of_a_preset_is_made_of_the_variables_that_its_users_have_set(tmp_path, name, url):
    config = loaded(tmp_path, f'providers.mine.preset = "{name}"', **CLOUD)
    assert config.settings.providers["mine"].base_url == url


def test_the_key_is_under_the_name_that_is_set(tmp_path):
    text = 'providers.mine.preset = "gemini-openai"'
    assert loaded(tmp_path, text, GOOGLE_API_KEY="k-1").keys["mine"] == "k-1"
    assert loaded(tmp_path, text, GOOGLE_API_KEY="k-1", GEMINI_API_KEY="k-2").keys["mine"] == "k-2"
    assert "mine" not in loaded(tmp_path, text).keys


def test_a_setting_goes_over_that_of_its_preset(tmp_path):
    text = '[providers.mine]\npreset = "azure-classic"\nauth = "bearer"\nquery = { api-version = "2025-01-01" }\n'
    provider = loaded(tmp_path, text, **CLOUD).settings.providers["mine"]
    assert (provider.auth, provider.query) == ("bearer", {"api-version": "2025-01-01"})


def test_a_token_of_a_command_is_a_bearer_though_the_presets_key_is_not(tmp_path):
    text = 'providers.mine = { preset = "azure", token_command = ["az"] }'
    assert loaded(tmp_path, text, **CLOUD).settings.providers["mine"].key_header == "bearer"
    assert (
        loaded(tmp_path, 'providers.mine.preset = "azure"', **CLOUD).settings.providers["mine"].key_header == "api-key"
    )


def test_a_preset_may_stand_on_a_provider_that_is_there_without_configuration(tmp_path):
    config = loaded(tmp_path, 'providers.openai.preset = "azure"', AZURE_OPENAI_API_KEY="k", **CLOUD)
    assert config.settings.providers["openai"].base_url.startswith("https://r.openai.azure.com/")
    assert config.keys == {"openai": "k"}


def test_the_token_variable_of_anthropics_tools_is_known(tmp_path):
    config = loaded(tmp_path, "", ANTHROPIC_AUTH_TOKEN="t-1", ANTHROPIC_BASE_URL="https://gateway.example")
    assert config.keys == {"anthropic": "t-1"}
    assert config.settings.providers["anthropic"].key_header == "bearer"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('providers.a.preset = "mistrall"', "providers.a.preset: must be one of openai, anthropic, azure,"),
        ('providers.a = { preset = "mistral", type = "ollama" }', "providers.a.type: is openai for the preset mistral"),
        (
            'providers.a.preset = "azure"',
            "providers.a.base_url: is missing; set the variable AZURE_OPENAI_ENDPOINT, or",
        ),
        (box('headers = { "bad name" = "x" }'), "providers.box.headers.bad name"),
        (box('headers = { Host = "evil" }'), "providers.box.headers.Host"),
        (box('headers = { a = "x\\ny" }'), "providers.box.headers.a: must be printable ASCII"),
        (box('headers = { a = "${NONE_SUCH}" }'), "providers.box.headers.a: names NONE_SUCH, which is not set"),
        (
            box('headers = { Authorization = "Basic x" }'),
            "providers.box.headers: authorization carries the key; set auth",
        ),
        (box('query = { v = "${NONE_SUCH}" }'), "providers.box.query.v: names NONE_SUCH, which is not set"),
        (box('auth = "basic"'), "providers.box.auth: Input should be"),
        (box('ca_file = "/none/such.pem"'), "providers.box.ca_file: cannot be read: No such file"),
        (box('ca_file = "/etc/hostname"'), "providers.box.ca_file: holds no certificate in PEM form"),
        (box('proxy = "socks5://x"'), "providers.box.proxy: must be the address of an HTTP proxy"),
        (box('proxy = "http://${NONE_SUCH}@p"'), "providers.box.proxy: names NONE_SUCH, which is not set"),
        (box('unix_socket = "run/x"'), "providers.box.unix_socket: must be an absolute path"),
        (box('proxy = "none"\nunix_socket = "/run/x"'), "providers.box.unix_socket: needs a base_url"),
        (box("connect_seconds = 0"), "providers.box.connect_seconds: Input should be greater than 0"),
        (box('omit = ["a b"]'), "providers.box.omit: String should match"),
        (box('max_tokens_field = "limit"'), "providers.box.max_tokens_field: Input should be"),
        (box('caller_headers = ["Authorization"]'), "providers.box.caller_headers: authorization cannot be left to"),
        (box('caller_headers = ["host"]'), "providers.box.caller_headers: host cannot be set"),
        ('providers.a = { type = "openai", base_url = "unix:///run/x" }', "providers.a.base_url: must begin with http"),
        ('providers.a = { type = "openai", base_url = "http://h/v1?v=1" }', "providers.a.base_url: must hold no user,"),
        (
            'providers.a = { type = "openai", base_url = "http://{model}.h" }',
            "providers.a.base_url: may hold one {model}",
        ),
        ('providers.a = { type = "openai", base_url = "http://h/{x}" }', "providers.a.base_url: may hold one {model}"),
    ],
)
def test_a_mistake_names_its_setting(tmp_path, text, line):
    assert mistake(tmp_path, text).startswith(line)


@pytest.mark.parametrize(
    ("variable", "url", "read"),
    [
        ("OPENAI_BASE_URL", "http://h/v1/", "http://h/v1"),
        ("OPENAI_BASE_URL", "http://h/v1/chat/completions", "http://h/v1"),
        ("OPENAI_BASE_URL", "http://h/v1/responses/", "http://h/v1"),
        ("OPENAI_BASE_URL", "http://h/team%20a/v1", "http://h/team%20a/v1"),
        ("ANTHROPIC_BASE_URL", "http://h/v1", "http://h"),
        ("ANTHROPIC_BASE_URL", "http://h/v1/messages", "http://h"),
        ("ANTHROPIC_BASE_URL", "http://h/anthropic/", "http://h/anthropic"),
        ("ANTHROPIC_BASE_URL", "http://h/anthropic/v1/", "http://h/anthropic"),
        ("OLLAMA_HOST", "http://h:1/v1", "http://h:1"),
        ("OLLAMA_HOST", "http://h:1/ollama/", "http://h:1/ollama"),
        ("OLLAMA_HOST", "h:1/ollama/v1", "http://h:1/ollama"),
        ("OLLAMA_HOST", "http://h:1/api/chat", "http://h:1"),
        ("GOOGLE_GEMINI_BASE_URL", "http://h", "http://h/v1beta"),
        ("GOOGLE_GEMINI_BASE_URL", " http://h/v1/models/ ", "http://h/v1"),
    ],
)
def test_an_address_with_the_path_of_a_call_is_that_of_its_server(variable, url, read):
    name = {"OPENAI": "openai", "ANTHRO": "anthropic", "OLLAMA": "ollama", "GOOGLE": "gemini"}[variable[:6]]
    assert load(None, {variable: url}).settings.providers[name].base_url == read


@pytest.mark.parametrize(
    ("url", "service"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://api.openai.com.evil.example/v1", ""),
        ("https://notapi.openai.com/v1", ""),
        ("https://api.mistral.ai/v1", "mistral"),
        ("https://r.openai.azure.com/openai/v1", "azure"),
        ("http://gpu-box:8000/v1", ""),
    ],
)
def test_a_service_is_known_by_its_host(url, service):
    assert vendor("", url) == service
    assert vendor("openai", url) == "openai"


def test_variables_stay_out_of_the_settings_and_reach_another_process(tmp_path):
    config = loaded(tmp_path, box('headers = { X-A = "${SECRET}" }'), SECRET="s-1")
    assert config.variables == {"SECRET": "s-1"}
    assert "s-1" not in str(config.to_json())
    assert Config.from_json(config.to_json(), {"SECRET": "s-1"}) == config
