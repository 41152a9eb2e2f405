"""Sends a call with the signature of a credential."""

from __future__ import annotations

import time

import httpx
import structlog

from headwater_server.providers.credentials.base import Credential, OutgoingCall, Signature
from headwater_server.providers.http.client import TRANSPORT_ERRORS, HttpClient
from headwater_server.providers.http.failures import why

log = structlog.get_logger("headwater.providers")


async def send_signed(client: HttpClient, call: OutgoingCall, credential: Credential) -> tuple[httpx.Response, str]:
    """The answer, of which only the head is read, to be closed by the caller; and the secret of the signature.

    After a 401 the call is sent once more, if the credential has another signature. Raises HeadwaterError
    (PROVIDER_AUTH_FAILED) when there is none, and TRANSPORT_ERRORS.
    """
    signature = await credential.sign(call)
    response = await _send(client, call, signature)
    if response.status_code != httpx.codes.UNAUTHORIZED:
        return response, signature.secret
    try:
        better = await credential.refused(signature)
    except BaseException:
        await response.aclose()
        raise
    if not better:
        return response, signature.secret
    await response.aclose()
    signature = await credential.sign(call)
    return await _send(client, call, signature), signature.secret


async def _send(client: HttpClient, call: OutgoingCall, signature: Signature) -> httpx.Response:
    """Sends the call once; how that went is a line at level debug."""
    headers = {**call.headers, **signature.headers}
    request = client.request(call.method, call.url, headers, call.body or None, call.connect_seconds)
    facts = {"host": request.url.host, "path": request.url.path}
    began = time.monotonic()
    try:
        response = await client.send(request)
    except TRANSPORT_ERRORS as error:
        log.debug("provider not reached", **facts, seconds=round(time.monotonic() - began, 4), why=why(error))
        raise
    seconds = round(time.monotonic() - began, 4)
    log.debug("provider answered", **facts, seconds=seconds, http_status=response.status_code)
    return response
