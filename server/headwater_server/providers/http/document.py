"""A small document at a URL, such as the keys of an issuer of tokens."""

from __future__ import annotations

import asyncio

from headwater_server.callers.issuers.key_set import KeysError
from headwater_server.domain.errors import HeadwaterError
from headwater_server.providers.http.body import body_reader
from headwater_server.providers.http.client import HttpClient, Way, parsed_url
from headwater_server.providers.http.failures import why
from headwater_server.providers.http.transport_errors import transport_errors

FETCH_SECONDS = 5.0


async def fetch(client: HttpClient, url: str, ca_file: str, most_bytes: int) -> bytes:
    """The document. No redirect is followed.

    Args:
        client: makes the connection.
        url: the address.
        ca_file: certificates to trust instead of the system's; empty for those.
        most_bytes: that the document may have.

    Raises KeysError for any other answer than the document, and when it takes longer than 5 seconds.
    """
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            return await _read(client.over(Way(ca_file)), url, most_bytes)
    except TimeoutError as error:
        raise KeysError(f"the keys cannot be fetched: no answer within {FETCH_SECONDS:g} seconds") from error
    except HeadwaterError as error:
        raise KeysError(f"the keys cannot be fetched: {error.message}") from error
    except transport_errors() as error:
        raise KeysError(f"the keys cannot be fetched: {why(error)}") from error


async def _read(client: HttpClient, url: str, most_bytes: int) -> bytes:
    answer = await client.send("GET", parsed_url(url), {"accept": "application/json"})
    try:
        if answer.status != 200:
            raise KeysError(f"the keys cannot be fetched: the answer has the status {answer.status}")
        read, content = body_reader(answer), b""
        while piece := await read():
            content += piece
            if len(content) > most_bytes:
                raise KeysError(f"the keys cannot be fetched: the answer has more than {most_bytes:,} bytes")
        return content
    finally:
        await answer.aclose()
