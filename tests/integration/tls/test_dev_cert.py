"""`headwater dev-cert`: its files work at once, and it overwrites none without --force."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from headwater.cli.main import headwater
from tests.support.servers.server import ServerProcess, run_cli

FILES = ["ca.pem", "client.key", "client.pem", "server.key", "server.pem"]


def dev_cert(*args: str | Path) -> Result:
    return CliRunner().invoke(headwater, ["dev-cert", *map(str, args)])


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_what_it_prints_starts_a_server_and_lets_a_caller_in(tmp_path):
    done = dev_cert(tmp_path / "certs")
    assert done.exit_code == 0, done.stderr
    flags = re.findall(r"--tls-[a-z-]+ \S+", done.stdout)
    variables = dict(re.findall(r"(HEADWATER_\w+)=(\S+)", done.stdout))
    assert variables["HEADWATER_TARGET"] == "https://localhost:50051"
    with ServerProcess("--scripted", *" ".join(flags).split()) as server:
        port = server.target.rpartition(":")[2]
        there = variables | {"HEADWATER_TARGET": f"https://localhost:{port}"}
        assert run_cli("stream", "-m", "scripted/echo", "hello", variables=there).stdout.strip() == "hello"
        del there["HEADWATER_CERT_FILE"], there["HEADWATER_KEY_FILE"]
        refused = run_cli("providers", variables=there)
        assert (refused.returncode, "it wants a certificate of its callers" in refused.stderr) == (7, True)


def test_each_file_is_for_its_owner_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        assert dev_cert(tmp_path / "certs").exit_code == 0
    finally:
        os.umask(before)
    assert sorted(path.name for path in (tmp_path / "certs").iterdir()) == FILES
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "certs").iterdir()} == {0o600}
    assert stat.S_IMODE((tmp_path / "certs").stat().st_mode) == 0o700


def test_nothing_is_overwritten_unless_it_is_told_so(tmp_path):
    assert dev_cert(tmp_path).exit_code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "ca.pem").unlink()
    done = dev_cert(tmp_path)
    assert done.exit_code == 1
    assert "server.key is there already; choose another folder, or replace it with --force" in done.stderr
    assert not (tmp_path / "ca.pem").exists()
    assert (tmp_path / "server.pem").read_bytes() == before["server.pem"]
    assert dev_cert(tmp_path, "--force").exit_code == 0
    assert all((tmp_path / name).read_bytes() != content for name, content in before.items())


def test_a_link_is_never_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "server.key").symlink_to(tmp_path / "precious")
    done = dev_cert(tmp_path / "certs", "--force")
    assert (done.exit_code, "is no ordinary file" in done.stderr) == (1, True)
    assert (tmp_path / "precious").read_text() == "mine"


def test_the_names_and_the_days_are_those_asked_for(tmp_path):
    assert (
        dev_cert(
            tmp_path, "--name", "box.internal", "--name", "10.0.0.5", "--caller", "billing", "--days", "7"
        ).exit_code
        == 0
    )
    server = certificate(tmp_path / "server.pem")
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "box.internal"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1", "10.0.0.5"]
    client = certificate(tmp_path / "client.pem")
    assert client.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value == "billing"
    for each in (server, client):
        assert 6 <= (each.not_valid_after_utc - datetime.now(UTC)).days <= 7


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--name", "a b"], "a name cannot be in a certificate"),
        (["--name", ""], "a name cannot be in a certificate"),
        (["--caller", ""], "a name cannot be in a certificate"),
        (["--days", "0"], "--days"),
    ],
)
def test_what_cannot_be_in_a_certificate_is_refused(tmp_path, args, words):
    done = dev_cert(tmp_path / "certs", *args)
    assert done.exit_code in (1, 2)
    assert words in done.stderr
    assert not (tmp_path / "certs").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    done = dev_cert(tmp_path / "file")
    assert (done.exit_code, done.stderr) == (1, f"headwater: {tmp_path / 'file'}: File exists\n")


def test_keys_have_the_form_that_all_languages_read(tmp_path):
    assert dev_cert(tmp_path).exit_code == 0
    for name in ("server.key", "client.key"):
        assert (tmp_path / name).read_text().startswith("-----BEGIN PRIVATE KEY-----\n")


def test_openssl_agrees_with_the_chain(tmp_path):
    assert dev_cert(tmp_path).exit_code == 0
    for name in ("server.pem", "client.pem"):
        command = ["openssl", "verify", "-x509_strict", "-CAfile", str(tmp_path / "ca.pem"), str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
