"""Certificates in files, from authorities that live in a folder."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

LOCAL = ("localhost", "127.0.0.1", "::1")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Pair:
    """The files of a certificate and its private key."""

    cert: Path
    key: Path

    @property
    def flags(self) -> tuple[str, ...]:
        """For `headwater serve`."""
        return ("--tls-cert-file", str(self.cert), "--tls-key-file", str(self.key))


class Authority:
    """An authority, and the certificates that it has issued.

    Args:
        folder: gets the files.

    Attributes:
        file: its certificate.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self._ca = trustme.CA()
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(self, name: str, *identities: str, expired: bool = False) -> Pair:
        """A certificate for these names and addresses; without any, for those of this machine.

        Files of the same name are replaced, each in one moment.
        """
        until = LONG_AGO + timedelta(days=1) if expired else None
        leaf = self._ca.issue_cert(*(identities or LOCAL), not_before=LONG_AGO if expired else None, not_after=until)
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()  # which Java reads too
        self._write(pair.key, key.private_bytes(serialization.Encoding.PEM, *form))
        self._write(pair.cert, b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        return pair

    def _write(self, path: Path, content: bytes) -> None:
        new = path.with_suffix(".new")
        new.write_bytes(content)
        os.replace(new, path)


def serial_at(target: str, authority: Authority) -> str:
    """The serial number of the certificate that a new connection meets at an https:// address."""
    host, _, port = target.removeprefix("https://").rpartition(":")
    return serial(ssl.get_server_certificate((host, int(port)), ca_certs=str(authority.file), timeout=5))


def serial(pem: str) -> str:
    """The serial number of a certificate in PEM."""
    return str(x509.load_pem_x509_certificate(pem.encode()).serial_number)
