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
    has_sent = False
    while True:
        signature = await credential.sign(call)
        headers, address = {**call.headers, **signature.headers}, parsed_url(call.url)
        began = time.monotonic()
        try:
            answer = await client.send(call.method, address, headers, call.body or None, call.connect_seconds)
        except transport_errors() as error:
            facts = {"host": address.host, "path": address.path, "seconds": round(time.monotonic() - began, 4)}
            client.log.debug("provider not reached", **facts, why=why(error))
            raise
        facts = {"host": address.host, "path": address.path, "seconds": round(time.monotonic() - began, 4)}
        client.log.debug("provider answered", **facts, http_status=answer.status)
        if answer.status != _UNAUTHORIZED or has_sent or not await _is_refused(answer, credential, signature):
            return answer, signature.secret
        has_sent = True


async def _is_refused(answer: Answer, credential: Credential, signature: Signature) -> bool:
    """Whether the next signature will be another one; the answer is closed then."""
    try:
        has_better = await credential.refused(signature)
    except BaseException:
        await answer.aclose()
        raise
    if has_better:
        await answer.aclose()
    return has_better
