"""A local authority with a certificate for a server and one for a caller, to try TLS without an authority of your own.

The private key of the authority is thrown away once it has signed both, so no further certificates can be made that
a machine trusts by it. Another name of the server needs a new authority, so the command is run again.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization

LOCAL = ("localhost", "127.0.0.1", "::1")
_OWNER = "Headwater, for a try"
_FOR_OWNER_ALONE = 0o600


class DevCertError(Exception):
    """The files cannot be made; the message is one line for people."""


def make_certificates(folder: Path, names: Sequence[str], caller: str, days: int, *, replace: bool) -> list[Path]:
    """Writes ca.pem, server.pem, server.key, client.pem and client.key into the folder, each for its owner alone.

    Args:
        folder: made if it is missing.
        names: names and addresses of the server, beside those of this machine.
        caller: name in the caller's certificate.
        days: how long the certificates are valid.
        replace: whether files that are there may be replaced; a running server then takes the new ones.

    Returns the files. Raises DevCertError.
    """
    authority = trustme.CA(organization_name=_OWNER)
    until = datetime.now(UTC) + timedelta(days=days)
    try:
        server = authority.issue_cert(*dict.fromkeys((*LOCAL, *names)), organization_name=_OWNER, not_after=until)
        client = authority.issue_cert(caller, common_name=caller, organization_name=_OWNER, not_after=until)
    except ValueError as error:
        raise DevCertError(f"a name cannot be in a certificate: {error}") from error
    files = {"ca.pem": authority.cert_pem.bytes()}
    for name, leaf in (("server", server), ("client", client)):
        files[f"{name}.key"] = _as_pkcs8(leaf.private_key_pem.bytes())
        files[f"{name}.pem"] = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_others(folder, files, replace=replace)
        for name, content in files.items():
            _write(folder / name, content)
    except OSError as error:
        raise DevCertError(f"{error.filename or folder}: {error.strerror}") from error
    return [folder / name for name in files]


def _as_pkcs8(key: bytes) -> bytes:
    """The key in the one form that Java reads too."""
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return serialization.load_pem_private_key(key, None).private_bytes(serialization.Encoding.PEM, *form)


def _refuse_others(folder: Path, files: Mapping[str, bytes], *, replace: bool) -> None:
    """Raises DevCertError for a file that is there, unless it is an ordinary one and may be replaced."""
    for name in files:
        with suppress(FileNotFoundError):
            mode = os.lstat(folder / name).st_mode
            if not stat.S_ISREG(mode):
                raise DevCertError(f"{folder / name} is no ordinary file; remove it, or choose another folder")
            if not replace:
                raise DevCertError(
                    f"{folder / name} is there already; choose another folder, or replace it with --force"
                )


def _write(path: Path, content: bytes) -> None:
    """Writes a file in one moment. Raises OSError."""
    number, new = tempfile.mkstemp(dir=path.parent)  # for its owner alone
    try:
        with open(number, "wb") as file:
            os.fchmod(number, _FOR_OWNER_ALONE)
            file.write(content)
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise
