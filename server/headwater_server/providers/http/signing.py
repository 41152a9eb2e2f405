"""Sends a call with the signature of a credential."""

from __future__ import annotations

import httpx

from headwater_server.providers.credentials.base import Credential, OutgoingCall, Signature
from headwater_server.providers.http.client import HttpClient


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
    headers = {**call.headers, **signature.headers}
    return await client.send(client.request(call.method, call.url, headers, call.body or None))
