"""The names in certificates, as the configuration writes them.

| in the configuration | is |
| --- | --- |
| `subject:CN=billing,O=Example` | the whole subject, as RFC 4514 writes it |
| `dns:billing.internal` | a name of a host among the alternative names |
| `uri:spiffe://example.org/billing` | a URI among them |
| `email:billing@example.org` | an address of mail among them |
| `ip:10.1.2.3` | an address among them |

The kinds stay apart: an authority that signs any address of mail must not be able to make a host.
"""

from __future__ import annotations

import ipaddress

_KINDS = "must be subject:…, dns:…, uri:…, email:… or ip:…"


def certificate_name(text: str) -> str:
    """A name of the configuration in the one form in which it is compared. Raises ValueError with the cure."""
    kind, _, name = text.partition(":")
    if not name:
        raise ValueError(_KINDS)
    match kind:
        case "subject":
            return f"subject:{_subject(name)}"
        case "ip":
            try:
                return f"ip:{ipaddress.ip_address(name)}"
            except ValueError as error:
                raise ValueError("is no address, such as ip:10.1.2.3") from error
        case "dns":
            return f"dns:{name.lower()}"
        case "uri" | "email":
            return text
    raise ValueError(_KINDS)


def _subject(name: str) -> str:
    from cryptography import x509  # takes a tenth of a second, which most configurations need not wait

    try:
        return x509.Name.from_rfc4514_string(name).rfc4514_string()
    except ValueError as error:
        raise ValueError("is no subject as RFC 4514 writes it, such as subject:CN=billing,O=Example") from error
