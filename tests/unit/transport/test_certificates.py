"""Files of TLS that make no server are refused by the name of their setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater_server.transport.certificates import CertificateError, Certificates, TlsFiles
from tests.support.servers.certificates import Authority


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Good and bad files by name."""
    folder = tmp_path_factory.mktemp("tls")
    good, other = Authority(folder / "a").issue("server"), Authority(folder / "b").issue("server")
    contents = {
        "text": b"hello",
        "locked": b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "broken": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "huge": b"-----BEGIN CERTIFICATE-----\n" * 200_000,
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    made = {name: str(folder / name) for name in (*contents, "missing")}
    return {"cert": str(good.cert), "key": str(good.key), "other": str(other.key), "folder": str(folder), **made}


@pytest.mark.parametrize(
    ("cert", "key", "client_ca", "setting", "why"),
    [
        ("missing", "key", "", "tls_cert_file", "cannot be read: No such file or directory"),
        ("folder", "key", "", "tls_cert_file", "cannot be read: Is a directory"),
        ("text", "key", "", "tls_cert_file", "has no certificate in PEM"),
        ("broken", "key", "", "tls_cert_file", "and its key cannot be used"),
        ("huge", "key", "", "tls_cert_file", "is no certificate or key: it has more than 4,194,304 bytes"),
        ("cert", "cert", "", "tls_key_file", "has no private key in PEM"),
        ("cert", "locked", "", "tls_key_file", "has a passphrase; give a key without one"),
        ("cert", "other", "", "tls_key_file", "is not the key of the certificate in"),
        ("cert", "key", "missing", "tls_client_ca_file", "cannot be read"),
        ("cert", "key", "key", "tls_client_ca_file", "has no certificate in PEM"),
        ("cert", "key", "broken", "tls_client_ca_file", "has a certificate that cannot be read"),
    ],
)
def test_a_bad_file_is_named_with_its_setting(files, cert, key, client_ca, setting, why):
    chosen = TlsFiles(files[cert], files[key], files.get(client_ca, ""))
    with pytest.raises(CertificateError, match=why) as caught:
        Certificates(chosen)
    assert caught.value.setting == setting
    assert str(chosen.by_setting()[setting]) in str(caught.value)


def test_a_key_is_never_repeated(files):
    with pytest.raises(CertificateError) as caught:
        Certificates(TlsFiles(files["key"], files["cert"]))
    assert Path(files["key"]).read_text().splitlines()[1] not in str(caught.value)
