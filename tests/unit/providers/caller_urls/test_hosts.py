"""Addresses that a caller names for a provider: private ones in every form, against Python's own registries."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater_server.providers.caller_urls.hosts import NOT_PUBLIC, is_public, mistake_of

PRIVATE_V4 = st.sampled_from(
    [
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
        "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
    ]
).flatmap(lambda network: st.ip_addresses(v=4, network=network))  # fmt: skip
PRIVATE_V6 = st.sampled_from(["::/96", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "2001:db8::/32"]).flatmap(
    lambda network: st.ip_addresses(v=6, network=network)
)
PATHS = st.sampled_from(["", "/", "/a.png", "?x=1", "#y", ":80/", ":8443/latest/meta-data/"])
SCHEMES = st.sampled_from(["http", "https", "HTTP", "hTTps"])


def forms(address: ipaddress.IPv4Address) -> list[str]:
    """The ways in which one program or another reads this address."""
    one, two, three, four = address.packed
    number = int(address)
    return [
        str(address),
        f"{address}.",
        f"{number}",
        f"0x{number:x}",
        f"0{number:o}",
        f"{one}.{number & 0xFFFFFF}",
        f"{one}.{two}.{number & 0xFFFF}",
        f"0x{one:x}.{two}.0{three:o}.{four}",
        f"{one:03}.{two:03}.{three:03}.{four:03}",
        f"{one}.{two}.{three}.{four}.",
        f"[::ffff:{address}]",
        f"[::ffff:{number >> 16:x}:{number & 0xFFFF:x}]",
        f"[::{number >> 16:x}:{number & 0xFFFF:x}]",
        f"[64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}]",
        f"[2002:{number >> 16:x}:{number & 0xFFFF:x}::1]",
        str(address).replace(".", "\u3002"),
        str(address).translate({ord("0") + i: chr(0xFF10 + i) for i in range(10)}),
        str(address).translate({ord("1") + i: chr(0x2460 + i) for i in range(9)} | {ord("0"): "\u24ea"}),
        str(address).translate({ord("0") + i: chr(0x0660 + i) for i in range(10)}),
        f"{address}\ufe0f",
        "".join(f"%{ord(letter):02x}" for letter in str(address)),
        f"example.org@{address}",
        f"user:password@{address}",
        f"{address}\\@example.org",
        f"{address} ",
        f"\t{address}",
    ]


@given(address=PRIVATE_V4, scheme=SCHEMES, path=PATHS, data=st.data())
def test_no_form_of_a_private_address_is_handed_on(address, scheme, path, data):
    host = data.draw(st.sampled_from(forms(address)))
    assert mistake_of(f"{scheme}://{host}{path}"), host


@given(address=PRIVATE_V6, path=PATHS)
def test_no_private_address_of_ipv6_is_handed_on(address, path):
    assert mistake_of(f"https://[{address}]{path}")
    assert mistake_of(f"https://[{address.exploded}]{path}")
    assert mistake_of(f"https://[{address}%25eth0]{path}")


@given(address=st.ip_addresses())
def test_an_address_that_python_knows_as_private_is_none_of_the_public(address):
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_link_local:
        assert not is_public(address)


@given(address=st.ip_addresses(v=4))
def test_an_address_is_written_in_one_form_alone_and_a_public_one_is_then_handed_on(address):
    assert bool(mistake_of(f"https://{address}/a.png")) != is_public(address)
    for form in (f"{int(address)}", f"0x{int(address):x}"):
        assert mistake_of(f"https://{form}/", allow_private=True), form


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a.png",
        "http://example.org./a.png",
        "https://EXAMPLE.org:8443/a%20b.png?x=1#f",
        "https://xn--bcher-kva.example/a.png",
        "https://93.184.215.14/a.png",
        "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/a.png",
        "https://a_b.example.org/é.png",
        "https://exámple.org/",
        "https://例え.example/",
        "https://internal.example.org/localhost?http://127.0.0.1",
    ],
)
def test_a_public_address_is_handed_on(url):
    assert mistake_of(url) == ""


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST", "localhost.", "a.localhost", "metadata.google.internal", "metadata", "redis", "printer.local",
        "a.home.arpa", "1.0.0.127.in-addr.arpa", "a.corp", "a.lan", "127.0.0.1", "[::1]", "[::]", "168.63.129.16",
    ],
)  # fmt: skip
def test_a_private_host_is_handed_on_where_the_provider_may_have_it(host):
    assert mistake_of(f"http://{host}:8000/a.png").endswith(NOT_PUBLIC)
    assert mistake_of(f"http://{host}:8000/a.png", allow_private=True) == ""


@pytest.mark.parametrize(
    "url",
    [
        "http:///127.0.0.1/", "http://", "http://?x", "http://:80/", "http://a..b/", "http://.a.b/", "http://a.b../", "http://-a.b/",
        "http://a b.example/", "http://a.b\x00/", "http://a.b\\c/", "http://a@b.example/", "http://a.b:99999/", "http://a.b:x/",
        "http://[::1/", "http://[v1.example.org]/", "http://[127.0.0.1]/", "http://1.2.3/", "http://1.2.3.256/", "http://1.2.3.4.5/",
        "http://a.0x1/", "http://a.1/", "http://ex%61mple.org/", "http://loc\u00adalhost/", "http://é.org\ufe0f..a/", "http://ｅxample.org/", "http://a,b.example/", "http://a;b/",
        "http://xn--127-/", "http://xn--9999999999.example/", "http://a." + "b" * 64 + ".example/", "http://" + "a." * 130 + "example/",
        "http://[fe80::1%25eth0]/", "http://${HOST}/", "http://[::1]a.example/",
    ],
)  # fmt: skip
def test_an_address_that_programs_read_differently_is_handed_to_none(url):
    assert mistake_of(url, allow_private=True)


@given(rest=st.text(), scheme=SCHEMES)
def test_any_text_is_judged(rest, scheme):
    assert isinstance(mistake_of(f"{scheme}://{rest}"), str)
    assert isinstance(mistake_of(f"{scheme}://xn--{rest}"), str)
