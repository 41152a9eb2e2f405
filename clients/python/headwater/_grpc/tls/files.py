"""The files of a connection with TLS: whom this client trusts, and its own certificate."""

from __future__ import annotations

import os
import pkgutil
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from headwater._grpc.loading import grpc
from headwater._values.validation import invalid
from headwater.exceptions import ValidationError

FilePath: TypeAlias = str | os.PathLike[str]

_GRPC_ROOTS = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"
_ROOTS_IN_GRPC = "_cython/_credentials/roots.pem"


class TlsFile(NamedTuple):
    """A file in PEM.

    Attributes:
        name: the argument or the variable that gave it, for errors.
        path: where it is.
    """

    name: str
    path: str

    def read(self) -> bytes:
        """Its content. Raises ValidationError."""
        try:
            return Path(self.path).read_bytes()
        except OSError as error:
            raise invalid(self.name, f"{self.path} cannot be read: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files of a connection; None for those that were not given.

    Attributes:
        ca: certificates of the authorities to trust; None for those that gRPC trusts.
        cert: this client's certificate, with those between it and its authority.
        key: its private key, without a passphrase.
    """

    ca: TlsFile | None = None
    cert: TlsFile | None = None
    key: TlsFile | None = None

    def given(self) -> Iterator[TlsFile]:
        """Those that were given."""
        yield from (file for file in (self.ca, self.cert, self.key) if file is not None)

    def over(self, others: TlsFiles) -> TlsFiles:
        """These, and the others where these lack; a certificate and its key come from one side."""
        own = self if self.cert or self.key else others
        return TlsFiles(self.ca or others.ca, own.cert, own.key)

    def stamp(self) -> tuple[Any, ...]:
        """Differs when a file has changed; a missing file is a state too."""
        return tuple(_state(file.path) for file in self.given())

    def context(self) -> ssl.SSLContext:
        """The files as Python's TLS takes them. Raises ValidationError for those that it refuses."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_alpn_protocols(["h2"])
        named, roots = self.ca.name if self.ca else _GRPC_ROOTS, self._roots().decode("ascii", "replace")
        try:
            context.load_verify_locations(cadata=roots)
        except (ssl.SSLError, ValueError):
            raise invalid(named, f"{self.ca.path if self.ca else 'its file'} has no certificate in PEM") from None
        if (self.cert is None) is not (self.key is None):
            given, own, other = (self.cert, "cert", "key") if self.cert else (self.key, "key", "cert")
            assert given is not None  # noqa: S101  one of the two is
            missing = given.name.replace(own, other).replace(own.upper(), other.upper())
            raise invalid(given.name, f"needs {missing} too: a certificate and its private key belong together")
        if self.cert and self.key:
            self.cert.read()
            self.key.read()
            try:
                context.load_cert_chain(self.cert.path, self.key.path, password=lambda: b"")
            except OSError as error:
                raise self._refused(error) from None
        return context

    def credentials(self) -> grpc.ChannelCredentials:
        """The files as gRPC takes them. Raises ValidationError."""
        self.context()
        read = [file.read() if file else None for file in (self.ca, self.key, self.cert)]
        return grpc.ssl_channel_credentials(*read)

    def _refused(self, error: OSError) -> ValidationError:
        assert self.cert is not None and self.key is not None  # noqa: S101, PT018  they were read
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            return invalid(self.key.name, f"{self.key.path} is not the key of the certificate in {self.cert.path}")
        why = "no certificate and key in PEM, or the key has a passphrase"
        return invalid(self.cert.name, f"{self.cert.path} and its key cannot be used: {why}")

    def _roots(self) -> bytes:
        """The authorities, as gRPC finds them."""
        if self.ca:
            return self.ca.read()
        if path := os.environ.get(_GRPC_ROOTS):
            return TlsFile(_GRPC_ROOTS, path).read()
        return pkgutil.get_data("grpc", _ROOTS_IN_GRPC) or b""


NO_FILES = TlsFiles()


def given_files(ca_file: Any, cert_file: Any, key_file: Any) -> TlsFiles:
    """The files that a caller names; None for none. Raises ValidationError."""
    given = {"ca_file": ca_file, "cert_file": cert_file, "key_file": key_file}
    for name, value in given.items():
        if value is not None and not isinstance(value, str | os.PathLike):
            raise invalid(name, f"must be the path of a file, not {type(value).__name__}")
        if value is not None and (not isinstance(os.fspath(value), str) or "\0" in os.fspath(value)):
            raise invalid(name, "must be the path of a file, as a str without NUL")
    return TlsFiles(*(TlsFile(name, os.fspath(path)) if path else None for name, path in given.items()))


def files_of_environment() -> TlsFiles:
    """The files that the environment names."""
    names = ("HEADWATER_CA_FILE", "HEADWATER_CERT_FILE", "HEADWATER_KEY_FILE")
    return TlsFiles(*(TlsFile(name, path) if (path := os.environ.get(name)) else None for name in names))


def _state(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
