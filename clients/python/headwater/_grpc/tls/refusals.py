"""Says which side refused what, where a connection with TLS could not be made.

gRPC's own words are those of its TLS library, and where the server refuses, it has none: the connection is just closed.
So after such a failure one connection is made with Python's TLS and the same files, for three seconds at most. It stops
where gRPC did, and knows why.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING

from headwater._grpc.tls.files import TlsFile, TlsFiles

if TYPE_CHECKING:
    from headwater._grpc.server import Server

SECONDS = 3.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""The first words of a client of HTTP/2; each server answers with a frame."""

_EXPIRED, _NOT_YET = 10, 9
_ANOTHER_NAME = (62, 63, 64)
_UNKNOWN = (2, 18, 19, 20, 21)
"""Codes of OpenSSL's check of a certificate, X509_V_ERR_…."""
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
_OLD = ("UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION", "VERSION_TOO_LOW")
_OF_OURS = ("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE", "ACCESS_DENIED")

_CLOCK = "renew it there, and check the clock of this machine"


async def refusal(server: Server, place: tuple[str, int]) -> str:
    """Which side refused what, and the cure, in one sentence; empty where the connection is fine, or nothing answers.

    Args:
        server: where the call went, with TLS.
        place: its host and port.
    """
    context = server.files.context()
    try:
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection(*place, ssl=context, server_hostname=place[0])
            try:
                writer.write(_PREFACE)
                heard = await reader.read(9)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        return f"the server at {server.target} says nothing in the TLS handshake; see that it is Headwater's port"
    except ssl.SSLError as error:
        return _fault(error, server)
    except ConnectionRefusedError:
        return ""
    except ConnectionError:  # it left without a word
        return _left(server)
    except OSError:
        return ""  # gRPC's words say it
    return "" if heard else _left(server)


def _fault(error: ssl.SSLError, server: Server) -> str:
    where = f"the server at {server.target}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"this client refuses the certificate of {where}: {_certificate_fault(error)}"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return _left(server)
    reason = error.reason or ""
    if reason.endswith(_NO_TLS):
        return f"{where} speaks no TLS; write {server.address}, without https://, or give that server a certificate"
    if reason.endswith(_OLD):
        return f"{where} speaks no TLS of version 1.2 or later ({reason})"
    if any(word in reason for word in _OF_OURS):
        return f"{where} refuses this client ({reason}): {_cure(server.files)}"
    return f"the TLS handshake with {where} failed: {reason or 'no reason given'}"


def _certificate_fault(error: ssl.SSLCertVerificationError) -> str:
    code = error.verify_code
    if code == _EXPIRED:
        return f"it has expired; {_CLOCK}"
    if code == _NOT_YET:
        return f"it is not valid yet; {_CLOCK}"
    if code in _ANOTHER_NAME:
        return f"it is for another name: {error.verify_message.rstrip('.')}; give a target that it names"
    if code in _UNKNOWN:
        return "its authority is unknown here; name the authority's certificate with ca_file= or HEADWATER_CA_FILE"
    return error.verify_message


def _left(server: Server) -> str:
    where = f"the server at {server.target}"
    return f"{where} closed the connection in the TLS handshake, so it refuses this client: {_cure(server.files)}"


def _cure(files: TlsFiles) -> str:
    if not (files.cert and files.key):
        return (
            "it wants a certificate of its callers, and none was given; name one with cert_file= and key_file=, or "
            "HEADWATER_CERT_FILE and HEADWATER_KEY_FILE"
        )
    if _has_expired(files.cert, files.key):
        return f"the certificate in {files.cert.path} has expired; renew it"
    return (
        f"it does not accept the certificate in {files.cert.path}; the certificate must be of an authority in the "
        "server's tls_client_ca_file, and the server's log says more"
    )


def _has_expired(cert: TlsFile, key: TlsFile) -> bool:
    """Whether our own certificate has: it is shown to a check that trusts it, within this process."""
    checking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    showing = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    showing.check_hostname, showing.verify_mode = False, ssl.CERT_NONE
    checking.verify_mode = ssl.CERT_REQUIRED
    checking.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    checking.load_verify_locations(cert.path)
    for context in (checking, showing):
        context.load_cert_chain(cert.path, key.path, password=lambda: b"")
    to_check, to_show = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (checking.wrap_bio(to_check, to_show, server_side=True), showing.wrap_bio(to_show, to_check))
    for _ in range(4):  # flights of a handshake
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return error.verify_code == _EXPIRED
            except ssl.SSLError:
                return False
    return False
