"""A reply over HTTP: the call is signed and sent, its head is looked at, its body is decoded as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import httpx

from headwater_server.domain.chunks import ProviderEvent
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.secret_text import without
from headwater_server.providers.base import Decoder, Wire
from headwater_server.providers.credentials.base import Credential, OutgoingCall
from headwater_server.providers.http.body import MOST_READ, BodyReader, body_reader, left_over
from headwater_server.providers.http.client import TRANSPORT_ERRORS
from headwater_server.providers.http.failures import is_success, redacted, refusal, unreachable, why
from headwater_server.providers.http.signing import send_signed
from headwater_server.providers.http.site import Site
from headwater_server.providers.wires.errors import REQUEST_ID_HEADERS

MAX_REQUEST_ID = 200
LARGE_BYTES = 256 * 1024
"""A message with more bytes is not decoded on the event loop."""


def _no_body() -> bytes:
    return b""


class HttpStream:
    """A reply over HTTP; see ProviderStream.

    Args:
        site: where the provider is asked.
        call: without its body.
        encode: makes the body, when the reply is read first.
        wire: reads the reply.
        credential: signs the call.
        logprobs: whether log probabilities were asked for.
        is_large: whether the body is made on a thread.
    """

    def __init__(
        self,
        site: Site,
        call: OutgoingCall,
        encode: Callable[[], bytes],
        wire: Wire,
        credential: Credential,
        logprobs: bool = False,
        *,
        is_large: bool = False,
    ) -> None:
        self.request_id = ""
        self.heard = 0.0
        self._site = site
        self._call = call
        self._encode = encode
        self._is_large = is_large
        self._wire = wire
        self._credential = credential
        self._logprobs = logprobs
        self._secrets = site.secrets
        self._response: httpx.Response | None = None
        self._decoder: Decoder
        self._body: BodyReader | None = None
        self._failure: HeadwaterError | None = None
        self._size = 0  # of the message that is coming
        self._is_more_there = False

    async def aclose(self) -> None:
        """Ends the reply and closes its connection, unless it was read to its end."""
        if self._response is not None:
            await self._response.aclose()

    async def read(self) -> list[ProviderEvent]:
        """The next events; those that came before an error are returned before it is raised."""
        if self._failure is not None:
            self._raise_failure()
        events: list[ProviderEvent] = []
        try:
            body = self._body or await self._open()
            self._size = 0
            while True:
                if self._is_more_there:
                    await asyncio.sleep(0)  # reading on at once would keep everybody else from running
                data = await body()
                self._is_more_there = len(data) >= MOST_READ
                if not data:
                    break
                self._size += len(data)
                if self._size <= LARGE_BYTES:
                    self._decoder.feed(data, events)
                else:
                    await self._decode(partial(self._decoder.feed, data, events))
                if events:
                    return events
                self.heard = asyncio.get_running_loop().time()
            await self._decode(partial(self._decoder.close, events))
        except TRANSPORT_ERRORS as error:
            self._failure = self._cut(error, events)
        except HeadwaterError as error:
            self._failure = redacted(error, self._secrets)
        if not events:
            self._raise_failure()
        return events

    async def _decode(self, work: Callable[[], None]) -> None:
        """Lets the decoder read the bytes of a large message, and those of a small one at once."""
        await self._site.client.aside.do(work, is_large=self._size > LARGE_BYTES)

    def _cut(self, error: BaseException, events: list[ProviderEvent]) -> HeadwaterError | None:
        """The error of a connection that broke, after the events of the bytes that had arrived until then.

        None when the reply was whole: the provider had said why it stopped.
        """
        try:
            if self._body is not None and self._response is not None:
                self._decoder.feed(left_over(self._response), events)
                if self._decoder.is_whole:
                    self._decoder.close(events)
                    return None
        except HeadwaterError as told:
            return redacted(told, self._secrets)
        cut = HeadwaterError(Reason.PROVIDER_UNAVAILABLE, f"the connection broke ({why(error)})")
        cut.__cause__ = error
        return cut

    def _raise_failure(self) -> None:
        """Raises the error that has come, and drops the reference to it: its traceback refers to this stream."""
        failure, self._failure = self._failure, None
        try:
            if failure is not None:
                raise failure
        finally:
            del failure

    async def _open(self) -> BodyReader:
        """Asks, and looks at the head of the answer."""
        client = self._site.client
        encode, self._encode = self._encode, _no_body  # it refers to the whole request, and a reply can take minutes
        call = replace(self._call, body=await client.aside.do(encode, is_large=self._is_large))
        del encode
        try:
            self._response, key = await send_signed(client, call, self._credential)
        except TRANSPORT_ERRORS as error:
            raise unreachable(error) from error
        self._secrets = (key, *self._site.secrets)
        response = self._response
        found = next((response.headers[h] for h in REQUEST_ID_HEADERS if h in response.headers), "")
        self.request_id = without(self._secrets, found)[:MAX_REQUEST_ID]
        if not is_success(response):
            raise await refusal(response, self._wire, self._secrets, self._credential.cure)
        self._decoder = self._wire.decoder(response.headers.get("content-type", ""), self._logprobs)
        self._body = body_reader(response)
        return self._body
