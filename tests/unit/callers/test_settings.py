"""The tables `[callers.NAME]` of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater_server.cli import render
from headwater_server.config import Config, ConfigError, load
from headwater_server.config.callers import NO_SETTINGS, CallerSettings, settings_of

NUL = r"/a\u0000b"
MTLS = "[server]\ntls_cert_file = 'c'\ntls_key_file = 'k'\ntls_client_ca_file = 'a'\n"


def loaded(folder: Path, text: str) -> Config:
    file = folder / "headwater.toml"
    file.write_text(text)
    return load(file, {})


def mistake_of(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text)
    return str(caught.value).replace(str(folder / "headwater.toml"), "FILE")


def test_each_key_of_a_caller_goes_over_that_of_all(tmp_path):
    config = loaded(
        tmp_path,
        """
        [callers."*"]
        models = ["gpt-*"]
        requests_per_minute = 60
        [callers."alice@example.com"]
        requests_per_minute = 600
        monthly_tokens = 1000000
        [callers.nothing]
        """,
    )
    callers = config.settings.callers
    each = CallerSettings(models=("gpt-*",), requests_per_minute=60)
    assert settings_of(callers, "alice@example.com") == CallerSettings(
        models=("gpt-*",), requests_per_minute=600, monthly_tokens=1_000_000
    )
    assert settings_of(callers, "nothing") == settings_of(callers, "") == settings_of(callers, "*") == each
    assert settings_of({}, "alice") == NO_SETTINGS


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            "[callers.a]\nmodles = []",
            "callers.a.modles in FILE: there is no such setting; did you mean callers.a.models?",
        ),
        ("[callers.a]\nmodels = []", "callers.a.models in FILE: Tuple should have at least 1 item"),
        ("[callers.a]\nmodels = 'gpt-4o'", "callers.a.models in FILE: must be a list"),
        ("[callers.a]\nmax_concurrent = 0", "callers.a.max_concurrent in FILE: Input should be greater than or equal"),
        ("[callers.a]\nmonthly_tokens = -1", "callers.a.monthly_tokens in FILE: Input should be greater than or equal"),
        ("[callers.a]\nproviders = ['opnai']", "callers.a.providers in FILE: there is no provider 'opnai'; there are "),
        ("[callers.'a b']\nmax_concurrent = 1", "callers.a b: the name of a caller has 1 to 256 printable ASCII"),
        ("[callers.a]\nscopes = ['root']", "callers.a.scopes in FILE: there is no such scope; there are stream, "),
        ("[callers.a]\ncertificates = ['a']", "callers.a.certificates in FILE: must be subject:…, dns:…, "),
        ("[callers.a]\ncertificates = ['ip:a']", "callers.a.certificates in FILE: is no address"),
        ("[callers.a]\ncertificates = ['subject:a']", "callers.a.certificates in FILE: is no subject as RFC 4514"),
        ("[callers.a]\ncertificates = ['dns:a']", "callers.a.certificates in FILE: needs tls_client_ca_file"),
        (
            f"{MTLS}[callers.'*']\ncertificates = ['dns:a']",
            "callers.*.certificates in FILE: a certificate is one caller's",
        ),
        (
            f"{MTLS}[callers.a]\ncertificates = ['dns:A.b']\n[callers.b]\ncertificates = ['dns:a.B']",
            "callers.b.certificates in FILE: dns:a.b stands in callers.a.certificates too",
        ),
        ("[callers]\nmax_concurrent = 1", "callers.max_concurrent in FILE: "),
        (f'server.data_dir = "{NUL}"', "server.data_dir in FILE: must be the path of a file: it has the character NUL"),
        (
            f'[jwt.a]\nissuer = "a"\naudience = "a"\njwks_file = "{NUL}"',
            "jwt.a.jwks_file in FILE: must be the path of a file: it has the character NUL",
        ),
        (
            f'[jwt.a]\nissuer = "a"\naudience = "a"\njwks_url = "https://a.example/"\nca_file = "{NUL}"',
            "jwt.a.ca_file in FILE: must be the path of a file: it has the character NUL",
        ),
        (
            f'[providers.openai]\napi_key_file = "{NUL}"',
            "providers.openai.api_key_file in FILE: must be the path of a file: it has the character NUL",
        ),
    ],
)
def test_a_mistake_names_its_key(tmp_path, text, mistake):
    assert mistake_of(tmp_path, text).startswith(mistake)


def test_the_settings_in_force_show_those_of_callers(tmp_path):
    text = render(loaded(tmp_path, "[callers.'*']\nmax_concurrent = 3\n"))
    assert '[callers."*"]' in text
    assert "max_concurrent = 3" in text
