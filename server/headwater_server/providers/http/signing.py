"""Sends a call with the signature of a credential."""

from __future__ import annotations

import time

from headwater_server.providers.credentials.base import Credential, OutgoingCall, Signature
from headwater_server.providers.http.client import Answer, HttpClient, parsed_url
from headwater_server.providers.http.failures import why
from headwater_server.providers.http.transport_errors import transport_errors

_UNAUTHORIZED = 401


async def send_signed(client: HttpClient, call: OutgoingCall, credential: Credential) -> tuple[Answer, str]:
    """The answer, of which only the head is read, to be closed by the caller; and the secret of the signature.

    After a 401 the call is sent once more, if the credential has another signature. Raises HeadwaterError
    (PROVIDER_AUTH_FAILED) when there is none, and `transport_errors`.
    """
    signature = await credential.sign(call)
    answer = await _send(client, call, signature)
    if answer.status != _UNAUTHORIZED:
        return answer, signature.secret
    try:
        better = await credential.refused(signature)
    except BaseException:
        await answer.aclose()
        raise
    if not better:
        return answer, signature.secret
    await answer.aclose()
    signature = await credential.sign(call)
    return await _send(client, call, signature), signature.secret


async def _send(client: HttpClient, call: OutgoingCall, signature: Signature) -> Answer:
    """Sends the call once; how that went is a line at level debug."""
    headers = {**call.headers, **signature.headers}
    address, log = parsed_url(call.url), client.log
    facts = {"host": address.host, "path": address.path}
    began = time.monotonic()
    try:
        answer = await client.send(call.method, address, headers, call.body or None, call.connect_seconds)
    except transport_errors() as error:
        log.debug("provider not reached", **facts, seconds=round(time.monotonic() - began, 4), why=why(error))
        raise
    seconds = round(time.monotonic() - began, 4)
    log.debug("provider answered", **facts, seconds=seconds, http_status=answer.status)
    return answer
