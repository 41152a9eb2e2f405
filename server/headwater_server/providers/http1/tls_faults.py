"""Faults of TLS in words, each with its cure."""

from __future__ import annotations

import ssl

_EXPIRED = frozenset({9, 10})
_ANOTHER_NAME = frozenset({62, 63, 64})
"""Codes of OpenSSL's check of a certificate (X509_V_ERR_…): its time, and its name or address."""

_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
_OLD = ("UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE", "VERSION_TOO_LOW")
_WANTS_OURS = ("CERTIFICATE_REQUIRED", "ALERT_BAD_CERTIFICATE", "ALERT_UNKNOWN_CA", "HANDSHAKE_FAILURE")


def tls_fault(error: ssl.SSLError) -> str:
    """The fault and its cure."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate_fault(getattr(error, "verify_code", 0), getattr(error, "verify_message", ""))
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "it closed the connection in the TLS handshake"
    reason = getattr(error, "reason", None) or error.strerror or "the handshake failed"
    if reason.endswith(_NO_TLS):
        return "it does not speak TLS there; check the port, and whether its base URL begins with http://"
    if reason.endswith(_OLD):
        return f"TLS: {reason}; it must speak TLS 1.2 or later"
    if reason.endswith(_WANTS_OURS):
        return f"TLS: {reason}; where it wants a certificate of its callers, set base_url to a proxy that has one"
    return f"TLS: {reason}"


def _certificate_fault(code: int, message: str) -> str:
    if code in _EXPIRED:
        return f"its certificate is not accepted: {message}; renew it there, and check the clock of this machine"
    if code in _ANOTHER_NAME:
        return f"its certificate is not accepted: {message}; its base URL must have a name that the certificate has"
    fault = f"its certificate is not accepted: {message}" if message else "its certificate is not accepted"
    return f"{fault}; the setting ca_file names others to trust"
