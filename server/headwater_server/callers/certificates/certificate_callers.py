"""Certificates of connections as callers: by a name in the certificate, which its authority has signed.

`certificate_names` says which names there are. A connection has one certificate, and one of two callers is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from headwater_server.callers.admission import Admission, Answer, refused
from headwater_server.callers.caller import Caller, Source

if TYPE_CHECKING:
    from cryptography import x509

MAX_KEPT = 1_000
"""Certificates whose names are kept, so that each is read once and not with each call."""


def names_in(pem: bytes) -> tuple[frozenset[str], float]:
    """The names of a certificate, as `certificate_name` has them, and when it expires. Raises ValueError."""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(pem)
        return frozenset(_names(certificate)), certificate.not_valid_after_utc.timestamp()
    except (x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType) as error:
        raise ValueError(str(error)) from error  # an authority signs odd names too


def _names(certificate: x509.Certificate) -> Iterator[str]:
    from cryptography import x509

    if subject := certificate.subject.rfc4514_string():
        yield f"subject:{subject}"
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for alternative in alternatives:
        match alternative:
            case x509.DNSName():
                yield f"dns:{alternative.value.lower()}"
            case x509.UniformResourceIdentifier():
                yield f"uri:{alternative.value}"
            case x509.RFC822Name():
                yield f"email:{alternative.value}"
            case x509.IPAddress():
                yield f"ip:{alternative.value}"


class CertificateCallers:
    """The callers that are known by their certificates.

    Args:
        callers: the names of callers, by the names in certificates.
        scopes_of: the scopes of a caller, by its name.
    """

    def __init__(self, callers: Mapping[str, str], scopes_of: Callable[[str], frozenset[str]]) -> None:
        from cryptography import x509  # noqa: F401  here, not with the first call: it takes a tenth of a second

        self._callers = callers
        self._scopes_of = scopes_of
        self._names_in = lru_cache(maxsize=MAX_KEPT)(names_in)

    def admit(self, pem: bytes) -> Answer:
        """The caller with this certificate. Raises HeadwaterError (CALLER_UNAUTHENTICATED)."""
        try:
            names, until = self._names_in(pem)
        except ValueError:
            return "the certificate of the connection cannot be read"
        found = {self._callers[name] for name in names if name in self._callers}
        if not found:
            return "no caller is configured for the certificate of the connection; add it to callers.NAME.certificates"
        if len(found) > 1:
            raise refused(f"{' and '.join(sorted(found))} are configured for one certificate; take it from all but one")
        if time.time() >= until:
            raise refused(_EXPIRED)
        (name,) = found
        caller = Caller(name, self._scopes_of(name), Source.CERTIFICATE)
        return Admission(caller, lambda: _EXPIRED if time.time() >= until else "")


_EXPIRED = "the certificate of the connection has expired; connect with a new one"
