"""The certificate of the port, read again from its files when they change.

Theory of operation. Before each TLS handshake the server asks for the certificate (`_fetch`): gRPC on one of its
threads, Python's `ssl` in the event loop, when the caller has said which name it wants. Then the files are looked at;
where one has changed since the last look, all are read and checked, and the next handshakes use them. Connections that
exist keep their session, so running streams do not notice. Files are seldom replaced in one moment: a new certificate
may meet the old key. Files that do not belong together, or cannot be read, change nothing: the certificate in use
stays, one line of the log says why, and the next change of a file is the next try.

Worked example: cert-manager writes `tls.crt` at 10:00:00.1 and `tls.key` at 10:00:00.2. A handshake between the two
finds a certificate that the old key does not fit, so it gets the old pair. The handshake at
10:00:00.3 finds the key changed too, and gets the new pair.

gRPC's Python API knows two ways to ask callers for a certificate: never, and always (docs/adr/0015-tls.md). Python's
`ssl` has a third: a caller may have none, but one that it shows must be good.
"""

from __future__ import annotations

import os
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grpc
import structlog

_PEM_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_PEM_KEY = b"PRIVATE KEY-----"
_LARGEST_FILE = 4 * 1024 * 1024
"""Bytes: all authorities of a system are a quarter of a megabyte."""

Stamp: TypeAlias = tuple[tuple[int, int, int], ...]

log = structlog.get_logger("headwater.tls")


class CertificateError(Exception):
    """A file of TLS cannot be used.

    Args:
        setting: the setting that names the file.
        why: its mistake, for people.
    """

    def __init__(self, setting: str, why: str) -> None:
        super().__init__(why)
        self.setting = setting


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files of TLS, in PEM.

    Attributes:
        cert: the certificate of the server, then those between it and its authority.
        key: its private key, without a passphrase.
        client_ca: the authorities of callers, who need a certificate then; empty: callers need none.
        client_may_do_without: whether callers without a certificate are let in all the same; one that is shown is
            checked. gRPC's server cannot do that.
    """

    cert: str
    key: str
    client_ca: str = ""
    client_may_do_without: bool = False

    def by_setting(self) -> dict[str, Path]:
        """The files that are set, by the name of their setting."""
        named = {"tls_cert_file": self.cert, "tls_key_file": self.key, "tls_client_ca_file": self.client_ca}
        return {setting: Path(path) for setting, path in named.items() if path}


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate in use.

    Attributes:
        read: the content of each file, by the name of its setting.
        context: Python's TLS with them.
    """

    read: dict[str, bytes]
    context: ssl.SSLContext


class Certificates:
    """The certificate in use, for one of the two kinds of servers.

    Args:
        files: where it comes from.

    Raises CertificateError for files that cannot be used.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files.by_setting()
        self._verify = ssl.CERT_OPTIONAL if files.client_may_do_without else ssl.CERT_REQUIRED
        self._reading = threading.Lock()
        self._stamp: Stamp = ()
        self._refused = ""
        self._used = self._read(self._look())

    def for_grpc(self) -> grpc.ServerCredentials:
        """Credentials of gRPC. This object must live as long as the server that has them."""

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            return _for_grpc(pair) if (pair := self._fetch()) else None

        return grpc.dynamic_ssl_server_credentials(
            _for_grpc(self._used),
            fetch,  # type: ignore[arg-type]  # types-grpcio does not know that it may return None
            require_client_authentication="tls_client_ca_file" in self._files,
        )

    def for_python(self) -> ssl.SSLContext:
        """A context of Python's ssl, which gives each handshake the context of the files of now."""
        first = self._used.context

        def choose(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            self._fetch()
            if self._used.context is not first:
                connection.context = self._used.context

        first.sni_callback = choose
        return first

    def _fetch(self) -> Pair | None:
        """The certificate for a handshake, where it is another than before; None for the same."""
        if not self._reading.acquire(blocking=False):
            return None  # another handshake reads the files just now
        try:
            try:
                stamp = self._look()
                if stamp == self._stamp:
                    return None
                self._used = self._read(stamp)
            except CertificateError as error:
                self._refuse(error)
                return None
            log.info("certificate reloaded", file=str(self._files["tls_cert_file"]))
            return self._used
        finally:
            self._reading.release()

    def _refuse(self, error: CertificateError) -> None:
        why = f"{error.setting}: {error}"
        if why != self._refused:
            self._refused = why
            log.error("certificate not reloaded", why=why, cure="the one before stays in use until the files are right")

    def _look(self) -> Stamp:
        """Differs when a file has changed. Raises CertificateError for one that is missing."""
        stamp = []
        for setting, path in self._files.items():
            try:
                found = os.stat(path)
            except OSError as error:
                raise CertificateError(setting, f"{path} cannot be read: {error.strerror}") from error
            stamp.append((found.st_ino, found.st_size, found.st_mtime_ns))
        return tuple(stamp)

    def _read(self, stamp: Stamp) -> Pair:
        """The certificate in the files, which had this state before. Raises CertificateError."""
        read = {setting: _bytes_of(setting, path) for setting, path in self._files.items()}
        context = _checked(self._files, read)
        if self._look() != stamp:
            raise CertificateError("tls_cert_file", f"{self._files['tls_cert_file']} was changed while it was read")
        self._stamp, self._refused = stamp, ""
        context.set_alpn_protocols(["h2"])
        # Without tickets each connection shows its certificate again, also after its authority was withdrawn.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        if "tls_client_ca_file" in read:
            context.verify_mode = self._verify
        return Pair(read, context)


def _for_grpc(pair: Pair) -> grpc.ServerCertificateConfiguration:
    keys = (pair.read["tls_key_file"], pair.read["tls_cert_file"])
    return grpc.ssl_server_certificate_configuration([keys], pair.read.get("tls_client_ca_file"))


def _bytes_of(setting: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            read = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise CertificateError(setting, f"{path} cannot be read: {error.strerror}") from error
    if len(read) > _LARGEST_FILE:
        raise CertificateError(setting, f"{path} is no certificate or key: it has more than {_LARGEST_FILE:,} bytes")
    return read


def _checked(files: dict[str, Path], read: dict[str, bytes]) -> ssl.SSLContext:
    """TLS with these files.

    Raises CertificateError for files that make no server: no PEM, a key with a passphrase, a pair that is none.
    """
    for setting, content in read.items():
        wanted, what = (_PEM_KEY, "private key") if setting == "tls_key_file" else (_PEM_CERTIFICATE, "certificate")
        if wanted not in content:
            raise CertificateError(setting, f"{files[setting]} has no {what} in PEM")
    if b"ENCRYPTED" in read["tls_key_file"]:
        raise CertificateError("tls_key_file", f"{files['tls_key_file']} has a passphrase; give a key without one")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(files["tls_cert_file"], files["tls_key_file"], password=lambda: b"")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            why = f"{files['tls_key_file']} is not the key of the certificate in {files['tls_cert_file']}"
            raise CertificateError("tls_key_file", why) from error
        why = f"{files['tls_cert_file']} and its key cannot be used: {error.reason or 'they are no PEM'}"
        raise CertificateError("tls_cert_file", why) from error
    except OSError as error:
        raise CertificateError("tls_cert_file", f"{error.strerror}") from error
    if "tls_client_ca_file" in read:
        try:
            context.load_verify_locations(cadata=read["tls_client_ca_file"].decode("ascii", "replace"))
        except ssl.SSLError as error:
            why = f"{files['tls_client_ca_file']} has a certificate that cannot be read: {error.reason}"
            raise CertificateError("tls_client_ca_file", why) from error
    return context
