"""Certificates as callers: their names, kept apart by kind."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from headwater_server.callers.admission import Admission
from headwater_server.callers.caller import Caller
from headwater_server.callers.certificates.certificate_callers import CertificateCallers
from headwater_server.callers.certificates.certificate_names import certificate_name
from headwater_server.domain.errors import HeadwaterError

CA = trustme.CA()


def known(**callers: str) -> CertificateCallers:
    """Callers by one name each; all have the scope `stream`."""
    return CertificateCallers(
        {certificate_name(name): caller for caller, name in callers.items()}, lambda _: frozenset(["stream"])
    )


def issued(*identities: str, common_name: str | None = None) -> bytes:
    return CA.issue_cert(*identities, common_name=common_name).cert_chain_pems[0].bytes()


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("dns:billing.internal", "billing.internal"),
        ("dns:Billing.Internal", "billing.INTERNAL"),
        ("ip:10.1.2.3", "10.1.2.3"),
        ("ip:2001:db8::0:1", "2001:db8::1"),
        ("email:billing@example.org", "billing@example.org"),
    ],
)
def test_a_certificate_names_its_caller(name, identity):
    answer = known(billing=name).admit(issued("other.example", identity))
    assert isinstance(answer, Admission)
    assert answer.caller == Caller("billing", frozenset(["stream"]))


def signed(subject: str, *alternatives: x509.GeneralName, extension: x509.ExtensionType | None = None) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    name = x509.Name.from_rfc4514_string(subject)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    if alternatives:
        extension = x509.SubjectAlternativeName(alternatives)
    if extension:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_the_whole_subject_is_compared_and_a_uri():
    callers = known(billing="subject:CN=billing,O=Example", mesh="uri:spiffe://example.org/mesh")
    for pem, name in (
        (signed("CN=billing,O=Example"), "billing"),
        (signed("CN=x", x509.UniformResourceIdentifier("spiffe://example.org/mesh")), "mesh"),
    ):
        answer = callers.admit(pem)
        assert isinstance(answer, Admission)
        assert answer.caller.name == name
    for pem in (
        signed("CN=billing"),
        signed("CN=billing,O=Example,OU=x"),
        signed("O=Example,CN=billing"),
        signed("CN=x", x509.UniformResourceIdentifier("spiffe://example.org/mesh/x")),
    ):
        assert isinstance(callers.admit(pem), str)


def test_a_name_of_another_kind_is_another_name():
    text = "billing.internal"
    callers = known(billing=f"dns:{text}")
    others = [
        signed(f"CN={text}"),
        signed("CN=x", x509.UniformResourceIdentifier(text)),
        signed("CN=x", x509.RFC822Name(text)),
        signed("CN=x", x509.OtherName(NameOID.COMMON_NAME, b"\x0c\x10billing.internal")),
        issued("x.billing.internal"),
        issued("*.internal"),
    ]
    for pem in others:
        assert isinstance(callers.admit(pem), str)


def test_a_certificate_of_two_callers_is_nobodys():
    with pytest.raises(HeadwaterError, match="a and b are configured for one certificate"):
        known(a="dns:a.example", b="dns:b.example").admit(issued("a.example", "b.example"))


def test_a_certificate_that_expires_on_its_connection_ends_its_calls(monkeypatch):
    callers = known(a="dns:a.example")
    pem = signed("CN=x", x509.DNSName("a.example"))
    answer = callers.admit(pem)
    assert isinstance(answer, Admission)
    assert answer.why_over
    assert answer.why_over() == ""
    later = time.time() + 2 * 86_400
    monkeypatch.setattr(time, "time", lambda: later)
    assert "has expired" in answer.why_over()
    with pytest.raises(HeadwaterError, match="has expired"):
        callers.admit(pem)


@pytest.mark.parametrize("pem", [b"x", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_nobodys(pem):
    assert isinstance(known(a="dns:a.example").admit(pem), str)


@pytest.mark.parametrize("tag", [b"\xa3", b"\xa5"], ids=["X.400 address", "EDI party"])
def test_a_kind_of_name_that_cannot_be_read_makes_the_certificate_nobodys(tag):
    encoded = b"\x30\x04" + tag + b"\x02\x30\x00"
    odd = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, encoded)
    assert "cannot be read" in str(known(a="subject:CN=a").admit(signed("CN=a", extension=odd)))
