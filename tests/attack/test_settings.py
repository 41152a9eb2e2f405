"""A key that is pasted where a name belongs: no message and no display of the settings repeats it."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater_server.cli import render
from headwater_server.config.loading import load
from headwater_server.config.mistakes import ConfigError
from headwater_server.config.resolved import Config
from headwater_server.domain.secret_text import named_variable, shown_command, without_secrets

CERTIFICATE = Path(__file__).parents[1] / "support" / "tls" / "certificate.pem"
KEYS = [
    "sk-proj-a8Xb2Qz91kLmv0pQ7rT3",
    "sk-ant-api03-AbCdEf",
    "AIzaSyD4x8Kq1Zb7Wn2Lp5Rv9Tc3Yf6Hj0Mg8Sd",
    "gsk_a8Xb2Qz91kLmv0pQ7rT3",
    "0123456789abcdef0123456789abcdef",
    "3f2c9a1e-0b7d-4b1e-9f59-6d2b1c3a4e5f",
]


def shown(folder: Path, text: str) -> str:
    """All that people see of the settings: the display, or the mistakes."""
    file = folder / "headwater.toml"
    file.write_text(text)
    try:
        return render(load(file, {}))
    except ConfigError as error:
        return str(error)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "setting",
    [
        'api_key_env = "{key}"',
        'api_key_file = "{key}"',
        'api_key = "{key}"',
        'token_command = ["{key}"]',
        'token_command = ["fetch", "--token", "{key}"]',
        'token_command = ["fetch", "--password={key}"]',
        'headers = {{ x-a = "{key}" }}',
        'headers = {{ x-a = "Bearer {key}" }}',
        'headers = {{ "{key} " = "x" }}',
        'query = {{ a = "{key}" }}',
        'base_url = "{key}"',
        'base_url = "https://me:{key}@host"',
        'base_url = "https://me:{key}#@host"',
        'proxy = "http://me:{key}@host"',
        'proxy = "me:{key}@host"',
        'preset = "{key}"',
        'auth = "{key}"',
        'default_model = "{key}"',
        'models = ["{key}"]',
        'connect_seconds = "{key}"',
        'ca_file = "{key}"',
        'unix_socket = "{key}"',
        '"{key}" = 1',
        "api_key_env = {key}",
    ],
)
def test_no_setting_of_a_provider_repeats_a_key(tmp_path, setting, key):
    base = "" if "base_url" in setting else 'base_url = "http://127.0.0.1:1/v1"\n'
    text = shown(tmp_path, f'[providers.x]\ntype = "openai"\n{base}{setting.format(key=key)}\n')
    assert text
    assert key not in text


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("setting", ["host", "port", "default_model", "log_level", "drain_seconds", "nothing"])
def test_no_setting_of_the_server_repeats_a_key(tmp_path, setting, key):
    assert key not in shown(tmp_path, f'[server]\n{setting} = "{key}"\n')


def test_settings_that_a_process_can_no_longer_read_repeat_no_key(tmp_path):
    (tmp_path / "ca.pem").write_bytes(CERTIFICATE.read_bytes())
    (tmp_path / "headwater.toml").write_text(
        '[providers.x]\ntype = "openai"\nbase_url = "http://h/v1"\nauth = "none"\n'
        f'ca_file = "{tmp_path}/ca.pem"\nheaders = {{ cookie = "hunter2" }}\n'
    )
    data = load(tmp_path / "headwater.toml", {}).to_json()
    (tmp_path / "ca.pem").unlink()
    with pytest.raises(ConfigError, match=r"providers\.x\.ca_file in .*: cannot be read") as caught:
        Config.from_json(data, {})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ['"x-api-key" = "hunter2"', 'x-session-token = "hunter2"', 'cookie = "hunter2"'])
def test_the_value_of_a_header_that_speaks_of_a_key_is_never_shown(tmp_path, text):
    text = f'[providers.x]\ntype = "openai"\nbase_url = "http://h/v1"\nauth = "none"\nheaders = {{ {text} }}\n'
    assert "hunter2" not in shown(tmp_path, text)


def test_a_variable_that_is_not_set_is_named_where_it_looks_like_one(tmp_path):
    text = '[providers.x]\ntype = "openai"\nbase_url = "http://h/v1"\napi_key_env = "{}"\n'
    assert "names MY_KEY_2, which is not set" in shown(tmp_path, text.format("MY_KEY_2"))
    assert "names a variable, which is not set; it takes the name of" in shown(tmp_path, text.format("hunter2"))


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "AWS_BEARER_TOKEN_BEDROCK", "KEY2", "GEMINI_API_KEY"])
def test_a_name_of_a_variable_is_one(name):
    assert named_variable(name) == name


@pytest.mark.parametrize(
    "text",
    [
        "anthropic.claude-3-5-sonnet-20241022-v2:0",
        "hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M",
        "/srv/0123456789abcdef0123456789abcdef/headwater.toml",
        "https://my-resource2.openai.azure.com/openai/v1",
        "2024-10-21",
        "providers.x.base_url: must begin with http:// or https://",
    ],
)
def test_what_is_no_key_is_shown(text):
    assert without_secrets(text) == text


def test_a_command_is_shown_without_its_secrets():
    command = ["gcloud", "auth", "print-access-token", "--secret", "hunter2", "--token=hunter2", "--account=me"]
    assert shown_command(command) == [*command[:3], "--secret", "***", "--token=***", "--account=me"]
