"""Settings: layers, mistakes, secrets."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from headwater_server.cli import render
from headwater_server.config import Config, ConfigError, load


def written(folder: Path, text: str) -> Path:
    file = folder / "headwater.toml"
    file.write_text(text)
    return file


def mistakes(file: Path | None = None, environment: dict[str, str] | None = None, **flags: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(file, environment or {}, {("server", key): value for key, value in flags.items()})
    return caught.value.mistakes


def test_without_anything_the_defaults_hold():
    config = load(None, {})
    assert (config.settings.server.host, config.settings.server.port) == ("127.0.0.1", 50051)
    assert set(config.settings.providers) == {"openai", "anthropic", "gemini", "ollama", "local", "scripted"}
    assert config.configured == frozenset()


def test_flags_go_over_the_environment_over_the_file_over_the_defaults(tmp_path):
    file = written(tmp_path, '[server]\ninsecure = true\nhost = "1.1.1.1"\nport = 1\nlog_level = "error"\n')
    config = load(file, {"HEADWATER_HOST": "2.2.2.2", "HEADWATER_PORT": "2"}, {("server", "port"): 3})
    server = config.settings.server
    assert (server.port, server.host, server.log_level, server.drain_seconds) == (3, "2.2.2.2", "error", 10.0)


def test_the_file_may_be_named_by_the_environment(tmp_path):
    file = written(tmp_path, "[server]\nport = 77\n")
    assert load(None, {"HEADWATER_CONFIG": str(file)}).settings.server.port == 77


def test_an_empty_variable_is_as_good_as_none():
    assert load(None, {"HEADWATER_PORT": "", "OPENAI_API_KEY": ""}).configured == frozenset()


def test_a_service_link_of_kubernetes_is_not_a_port():
    assert load(None, {"HEADWATER_PORT": "tcp://10.0.0.1:50051"}).settings.server.port == 50051


@pytest.mark.parametrize(
    ("environment", "configured"),
    [
        ({"OPENAI_API_KEY": "k"}, {"openai"}),
        ({"ANTHROPIC_API_KEY": "k"}, {"anthropic"}),
        ({"OLLAMA_HOST": "gpu-box"}, {"ollama"}),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, {"openai"}),
        ({"HEADWATER_SCRIPTED": "1"}, {"scripted"}),
    ],
)
def test_a_key_an_address_or_a_flag_configures_a_provider(environment, configured):
    assert load(None, environment).configured == configured


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("gpu-box", "http://gpu-box:11434"),
        ("gpu-box:9", "http://gpu-box:9"),
        (":9", "http://127.0.0.1:9"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:9", "http://127.0.0.1:9"),
        ("[::1]", "http://[::1]:11434"),
        ("::1", "http://[::1]:11434"),
        ("[::1]:9", "http://[::1]:9"),
        ("http://gpu-box", "http://gpu-box:80"),
        ("https://gpu-box", "https://gpu-box:443"),
        ("https://gpu-box/ollama/", "https://gpu-box:443/ollama"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(host, url):
    assert load(None, {"OLLAMA_HOST": host}).settings.providers["ollama"].base_url == url


def test_further_servers_that_speak_openai_come_from_the_file(tmp_path):
    text = '[providers.vllm]\ntype = "openai"\nbase_url = "http://gpu:8000/v1/"\napi_key_env = "VLLM_KEY"\nmodels = ["m"]\n'
    config = load(written(tmp_path, text), {"VLLM_KEY": " secret\n"})
    assert config.settings.providers["vllm"].base_url == "http://gpu:8000/v1"
    assert config.keys == {"vllm": "secret"}
    assert config.configured == {"vllm"}


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("HEADWATER_PROCESES", "HEADWATER_PROCESSES"),
        ("HEADWATER_DEFALT_MODEL", "HEADWATER_DEFAULT_MODEL"),
        ("HEADWATER_SCRIPTD", "HEADWATER_SCRIPTED"),
        ("HEADWATER_CONFG", "HEADWATER_CONFIG"),
    ],
)
def test_a_misspelt_variable_is_a_mistake_that_names_the_nearest(variable, meant):
    with pytest.raises(ConfigError) as caught:
        load(None, {variable: "1"})
    assert caught.value.mistakes == [f"{variable}: there is no such variable; did you mean {meant}?"]


def test_variables_that_are_not_ours_do_not_matter():
    kubernetes = {"HEADWATER_SERVICE_HOST": "1.2.3.4", "HEADWATER_SERVICE_PORT_GRPC": "1", "HEADWATER_PORT_1_TCP": "x"}
    assert load(None, {**kubernetes, "HEADWATER_OWNER": "us", "HEADWATER_PROCESES": ""}).settings.server.processes == 1


@pytest.mark.parametrize(
    ("text", "key", "meant"),
    [
        ("[server]\nprot = 1\n", "server.prot in {file}", "server.port"),
        ("port = 1\n", "port in {file}", "server.port"),
        ("[provider.openai]\nmodels = []\n", "provider", "providers"),
        ("[providers.openai]\nbase_ulr = 1\n", "providers.openai.base_ulr in {file}", "providers.openai.base_url"),
    ],
)
def test_a_misspelt_key_of_the_file_is_a_mistake_that_names_the_nearest(tmp_path, text, key, meant):
    file = tmp_path / "headwater.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert caught.value.mistakes == [f"{key.format(file=file)}: there is no such setting; did you mean {meant}?"]


def test_every_mistake_is_named_with_the_key_as_it_was_written(tmp_path):
    file = written(
        tmp_path,
        '[server]\nlog_level = "loud"\nprot = 1\n'
        '[providers.a]\nbase_url = "http://x"\n'
        '[providers.b]\ntype = "openai"\nbase_url = "gpu:8000"\n'
        '[providers.c]\ntype = "openai"\n',
    )
    lines = mistakes(file, {"HEADWATER_DRAIN_SECONDS": "soon"}, port=99_999)
    assert len(lines) == 7
    for words in (
        f"server.log_level in {file}: Input should be 'debug'",
        f"server.prot in {file}: there is no such setting; did you mean server.port?",
        "providers.a: needs type, one of openai",
        f"providers.b.base_url in {file}: must begin with http",
        "providers.c.base_url: is missing",
        "HEADWATER_DRAIN_SECONDS: Input should be a valid number",
        "--port: Input should be less than or equal to 65535",
    ):
        assert any(line.startswith(words) for line in lines), (words, lines)


def test_a_key_variable_that_is_named_but_not_set_is_a_mistake(tmp_path):
    text = '[providers.b]\ntype = "openai"\nbase_url = "http://x"\napi_key_env = "B_KEY"\n'
    assert mistakes(written(tmp_path, text)) == [
        f"providers.b.api_key_env in {tmp_path}/headwater.toml: names B_KEY, which is not set"
    ]


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://h:99999",
        "http://h:port",
        "http://[::1",
        "http:// h",
        "http://u:p@h",
        "http://h?key=1",
        "h:80",
    ],
)
def test_an_address_that_is_none_is_a_mistake(url):
    assert mistakes(environment={"OPENAI_BASE_URL": url})[0].startswith("OPENAI_BASE_URL: ")


def test_the_name_of_a_provider_must_fit_before_a_slash(tmp_path):
    text = '[providers."a/b"]\ntype = "openai"\nbase_url = "http://x"\n'
    assert mistakes(written(tmp_path, text)) == ["providers.a/b: a provider's name has 1 to 64 letters, digits, _ or -"]


def test_a_model_belongs_to_one_provider(tmp_path):
    provider = '[providers.{}]\ntype = "openai"\nbase_url = "http://x"\nmodels = ["m"]\n'
    file = written(tmp_path, provider.format("a") + provider.format("b"))
    assert mistakes(file) == ["providers.b.models: m stands in providers.a.models too"]


@pytest.mark.parametrize("key", ["k\n2", "ké", "k\x00"])
def test_a_key_that_no_header_can_carry_is_a_mistake(key):
    [line] = mistakes(environment={"OPENAI_API_KEY": key})
    assert line.startswith("OPENAI_API_KEY: ")
    assert key not in line


@pytest.mark.parametrize(
    ("text", "words"),
    [("[server", "is not TOML"), ("server = 1", "server"), ("[server.port]\nx = 1", "server.port")],
)
def test_a_file_of_another_shape_is_a_mistake(tmp_path, text, words):
    assert any(words in line for line in mistakes(written(tmp_path, text)))


def test_a_file_that_is_not_there_is_a_mistake(tmp_path):
    assert "cannot be read" in mistakes(tmp_path / "none.toml")[0]


def shown(environment: dict[str, str]) -> tuple[Config, str]:
    config = load(None, environment)
    return config, render(config)


def test_what_is_in_force_is_shown_as_toml_with_its_origin():
    config, text = shown({"HEADWATER_PORT": "4000"})
    assert "port = 4000  # HEADWATER_PORT" in text
    assert 'host = "127.0.0.1"  # default' in text
    tree = tomllib.loads(text)
    assert tree["server"] == config.settings.server.model_dump()


def test_secrets_are_never_shown():
    config, text = shown({"OPENAI_API_KEY": "sk-very-secret"})
    assert "OPENAI_API_KEY is set: ***" in text
    assert "ANTHROPIC_API_KEY is not set" in text
    assert "sk-very-secret" not in text + repr(config)


@pytest.mark.parametrize("processes", [0, 65, "many"])
def test_a_number_of_processes_that_cannot_be_is_a_mistake(processes):
    assert mistakes(processes=processes)[0].startswith("--processes: ")


def test_another_process_of_the_same_environment_gets_the_same_settings_and_keys(tmp_path):
    file = written(tmp_path, '[providers.mine]\ntype = "openai"\nbase_url = "http://a.b"\napi_key_env = "MINE"\n')
    environment = {"MINE": "sk-secret", "OLLAMA_HOST": "gpu-box", "HEADWATER_PROCESSES": "3"}
    config = load(file, environment, {("server", "port"): 3})
    handed = json.dumps(config.to_json())
    assert "sk-secret" not in handed
    assert Config.from_json(json.loads(handed), environment) == config


def test_reading_the_configuration_loads_no_provider():
    code = "import headwater_server.config, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "pydantic" in loaded
    assert not {"grpc", "google", "headwater", "aiohttp", "httpx", "msgspec", "structlog", "asyncio"} & loaded


def test_the_switch_of_a_provider_is_where_its_setting_comes_from():
    config = load(None, {}, {("providers", "scripted", "enabled"): True})
    assert "enabled = true  # --scripted" in render(config)


def test_a_key_comes_from_a_file_or_a_command_and_sets_the_provider_up(tmp_path):
    text = """
[providers.anthropic]
api_key_file = "~/key"
[providers.vertex]
type = "openai"
base_url = "http://x"
token_command = ["gcloud", "auth", "print-access-token"]
token_lifetime_seconds = 600
"""
    config = load(written(tmp_path, text), {"HOME": str(tmp_path)})
    providers: dict[str, Any] = dict(config.settings.providers)
    assert not providers["anthropic"].api_key_file.startswith("~")
    assert providers["vertex"].token_command == ("gcloud", "auth", "print-access-token")
    assert config.configured == {"anthropic", "vertex"}
    assert f"token_command in {tmp_path}/headwater.toml" in render(config)
    assert tomllib.loads(render(config))["providers"]["vertex"]["token_lifetime_seconds"] == 600


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('token_command = "gcloud auth"', "providers.b.token_command in {file}: must be a list"),
        ('token_command = [""]', "providers.b.token_command in {file}: String should have at least 1"),
        ("token_lifetime_seconds = 0", "providers.b.token_lifetime_seconds in {file}: Input should be greater than 0"),
        (
            'api_key_file = "/run/key"\ntoken_command = ["true"]',
            "providers.b.token_command in {file}: cannot stand beside api_key_file; leave one of them out",
        ),
    ],
)
def test_a_source_of_a_key_that_cannot_be_is_a_mistake(tmp_path, lines, words):
    file = written(tmp_path, f'[providers.b]\ntype = "openai"\nbase_url = "http://x"\n{lines}\n')
    [line] = mistakes(file)
    assert line.startswith(words.format(file=file))


@pytest.mark.parametrize("address", ["", "127.0.0.1:9464", "[::1]:0", "localhost:1"])
def test_the_admin_pages_are_shown_on_this_machine(address):
    assert load(None, {}, {("server", "admin_address"): address}).settings.server.admin_address == address


@pytest.mark.parametrize("address", ["0.0.0.0:9464", "[::]:9464", "box.internal:9464", "10.0.0.1:1"])
def test_admin_pages_that_other_machines_reach_need_the_word_that_it_is_meant(address):
    (mistake,) = mistakes(admin_address=address)
    assert mistake.startswith(f"--admin-address: {address.rpartition(':')[0].strip('[]')} can be reached from other")
    assert "admin_insecure = true" in mistake
    variables = {"HEADWATER_ADMIN_ADDRESS": address, "HEADWATER_ADMIN_INSECURE": "1"}
    assert load(None, variables).settings.server.admin_address == address


@pytest.mark.parametrize(
    "address", ["9464", ":9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "h:²"]
)
def test_an_admin_address_is_a_host_and_a_port(address):
    (mistake,) = mistakes(admin_address=address)
    assert mistake == "--admin-address: must be HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.9.10", "127.1", "localhost", "LocalHost", "::1", "::ffff:127.0.0.1", "unix:/tmp/s"]
)
def test_no_other_machine_reaches_loopback_or_a_unix_socket_so_they_need_no_tls(host):
    assert load(None, {}, {("server", "host"): host}).settings.server.host == host


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "0", "", "::", "10.0.0.1", "fe80::1%lo", "::ffff:10.0.0.1", "box.internal", "localhost.example.com"],
)
def test_an_address_that_other_machines_reach_needs_tls_or_the_word_that_it_is_meant(host):
    [mistake] = mistakes(host=host)
    assert mistake.startswith(
        f"--host: {host} can be reached from other machines, and there is no TLS; set tls_cert_file"
    )
    assert "`headwater dev-cert`" in mistake
    assert "insecure = true" in mistake
    assert load(None, {"HEADWATER_INSECURE": "1"}, {("server", "host"): host}).settings.server.insecure
    assert load(
        None, {}, {("server", k): v for k, v in (("host", host), ("tls_cert_file", "c"), ("tls_key_file", "k"))}
    )


@pytest.mark.parametrize(
    ("flags", "start"),
    [
        ({"tls_cert_file": "c"}, "--tls-cert-file: needs tls_key_file"),
        ({"tls_key_file": "k"}, "--tls-key-file: needs tls_cert_file"),
        ({"tls_cert_file": "a\0b", "tls_key_file": "k"}, "--tls-cert-file: must be the path of a file: it has the"),
        ({"tls_client_ca_file": "a"}, "--tls-client-ca-file: needs tls_cert_file and tls_key_file"),
        (
            {"tls_cert_file": "c", "tls_key_file": "k", "host": "unix:/tmp/s"},
            "--tls-cert-file: a Unix socket takes no TLS",
        ),
    ],
)
def test_settings_of_tls_that_miss_each_other_are_named(flags, start):
    [mistake] = mistakes(**flags)
    assert mistake.startswith(start)
