"""A reply over HTTP: the call is signed and sent, its head is looked at, its body is decoded as it comes.

Theory of operation. `read` sends the call and waits for the first events. From then on, with a receiver, each piece of
the body is decoded in the callback in which it comes, and its events go straight to the receiver. While the receiver
takes none, at most READ_AHEAD_BYTES are decoded ahead; the rest waits in the socket. A message of more than LARGE_BYTES
is decoded on a thread, piece by piece, and what comes meanwhile waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from headwater_server.domain.chunks import ProviderEvent
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.secret_text import without
from headwater_server.providers.base import Decoder, Wire
from headwater_server.providers.credentials.base import Credential, OutgoingCall
from headwater_server.providers.http.body import Body, body
from headwater_server.providers.http.client import Answer
from headwater_server.providers.http.failures import is_success, redacted, refusal, unreachable, why
from headwater_server.providers.http.signing import send_signed
from headwater_server.providers.http.site import Site
from headwater_server.providers.http.transport_errors import transport_errors
from headwater_server.providers.http1.answer import READ_AHEAD_BYTES
from headwater_server.providers.wires.errors import request_id
from headwater_server.streaming.begun import Begun
from headwater_server.streaming.source import Receiver

_OK = 200
MAX_REQUEST_ID = 200
LARGE_BYTES = 256 * 1024
"""A message with more bytes is not decoded on the event loop."""


class HttpStream:
    """A reply over HTTP; see ProviderStream.

    Args:
        site: where the provider is asked.
        call: makes the call of its body.
        encode: makes the body, when the reply is read first.
        wire: reads the reply.
        credential: signs the call.
        logprobs: whether log probabilities were asked for.
        is_large: whether the body is made on a thread.
    """

    __slots__ = (
        "_answer",
        "_asking",
        "_body",
        "_call",
        "_credential",
        "_decoder",
        "_decoding",
        "_encode",
        "_events",
        "_failure",
        "_is_large",
        "_is_over",
        "_is_paused",
        "_late_end",
        "_logprobs",
        "_loop",
        "_reader",
        "_receiver",
        "_secrets",
        "_site",
        "_size",
        "_undecoded",
        "_untaken",
        "_wire",
        "heard",
        "request_id",
    )

    def __init__(
        self,
        site: Site,
        call: Callable[[bytes], OutgoingCall],
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
        self._loop = asyncio.get_running_loop()
        self._answer: Answer | None = None
        self._asking: Begun[tuple[Answer, str]] | None = None
        self._body: Body | None = None
        self._decoder: Decoder
        self._undecoded: list[bytes] = []
        self._late_end: list[BaseException | None] = []
        self._decoding: asyncio.Task[None] | None = None
        self._size = 0  # of the message that is coming
        self._receiver: Receiver | None = None
        self._events: list[ProviderEvent] = []
        self._untaken = 0  # bytes whose events wait here or at the receiver
        self._is_paused = False
        self._is_over = False
        self._failure: Exception | None = None
        self._reader: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Asks as far as that needs no wait, for the task that reads next. A fault is raised to the reader."""
        if not self._is_large:
            self._asking = Begun(self._ask())

    async def aclose(self) -> None:
        """Ends the reply and closes its connection, unless it was read to its end."""
        self._is_over = True
        self._receiver = None
        if self._asking is not None:
            self._asking.close()
        if self._reader is not None:
            self._wake()
        if self._decoding is not None:
            self._decoding.cancel()
            await asyncio.wait([self._decoding])
        if self._body is not None:
            await self._body.aclose()
        elif self._answer is not None:
            await self._answer.aclose()

    async def read(self) -> list[ProviderEvent]:
        """The next events; those that came before an error are returned before it is raised."""
        if self._body is None:
            await self._open()
        while not self._events and not self._is_over:
            self.resume()
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        events, self._events = self._events, []
        if not events:
            self._raise_failure()
        return events

    def follow(self, receiver: Receiver) -> None:
        """See Source."""
        self._receiver = receiver
        events, self._events = self._events, []
        if events:
            receiver.arrived(events)
        if self._is_over:
            failure, self._failure = self._failure, None
            receiver.ended(failure)

    def resume(self) -> None:
        """See Source."""
        self._untaken = 0
        if self._is_paused and self._body is not None:
            self._is_paused = False
            self._body.resume()

    def body_arrived(self, data: bytes) -> None:
        """Decodes a piece of the body."""
        if self._is_over:
            return
        size = len(data)
        coming = self._size + size
        if coming > LARGE_BYTES or self._decoding is not None:
            self._size = coming
            self._decode_aside(data)
            return
        events: list[ProviderEvent] = []
        try:
            self._decoder.feed(data, events)
        except Exception as error:  # noqa: BLE001  the reader raises it
            self._pass_on(events, size)
            self._over(error)
            return
        receiver = self._receiver
        if receiver is None or not events:
            self._size = coming
            self._pass_on(events, size)
            return
        if self._size:
            self._size = 0
        if not receiver.arrived(events):
            self._keep_back(size)
        elif self._untaken:
            self._untaken = 0

    def body_ended(self, error: BaseException | None) -> None:
        """Decodes the end of the body."""
        if self._is_over:
            return
        if self._decoding is not None:
            self._late_end.append(error)
            return
        events: list[ProviderEvent] = []
        try:
            self._decode_end(error, events)
        except Exception as fault:  # noqa: BLE001  the reader raises it
            self._pass_on(events, 0)
            self._over(fault)
        else:
            if events:
                self._pass_on(events, 0)
            self._over(None)

    def _pass_on(self, events: list[ProviderEvent], size: int) -> None:
        """Hands over the events that so many bytes had in them."""
        if not events:
            self.heard = self._loop.time()
            return
        self._size = 0
        receiver = self._receiver
        if receiver is None:
            self._events += events
            self._wake()
        elif receiver.arrived(events):
            self._untaken = 0
            return
        self._keep_back(size)

    def _keep_back(self, size: int) -> None:
        """Counts bytes whose events were not taken; with too many of them the body stops."""
        self._untaken += size
        if self._untaken > READ_AHEAD_BYTES and not self._is_paused and self._body is not None:
            self._is_paused = True
            self._body.pause()

    def _over(self, fault: Exception | None) -> None:
        """The reply is at its end, or has failed."""
        if self._is_over:
            return  # the receiver has closed it
        self._is_over = True
        if isinstance(fault, HeadwaterError):
            fault = redacted(fault, self._secrets)
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.ended(fault)
        else:
            self._failure = fault
            self._wake()

    def _decode_end(self, error: BaseException | None, events: list[ProviderEvent]) -> None:
        """Adds the last events. Raises the error of a body that broke off, unless the reply was whole before."""
        if error is not None and not (isinstance(error, transport_errors()) and self._decoder.is_whole):
            if not isinstance(error, transport_errors()):
                raise error
            raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, f"the connection broke ({why(error)})") from error
        self._decoder.close(events)

    def _decode_aside(self, data: bytes) -> None:
        self._undecoded.append(data)
        if self._decoding is None:
            self._decoding = asyncio.create_task(self._decode_large(), name="headwater large message")
        elif self._body is not None and sum(map(len, self._undecoded)) > LARGE_BYTES:
            self._body.pause()

    async def _decode_large(self) -> None:
        """Decodes a large message on a thread, and all that comes behind it meanwhile."""
        events: list[ProviderEvent] = []
        aside = self._site.client.aside
        try:
            while self._undecoded:
                data = b"".join(self._undecoded)
                self._undecoded.clear()
                await aside.do(partial(self._decoder.feed, data, events), is_large=True)
                self._pass_on(events, len(data))
                events = []
            if self._late_end:
                await aside.do(partial(self._decode_end, self._late_end[0], events), is_large=True)
        except Exception as error:  # noqa: BLE001  the reader raises it
            self._pass_on(events, 0)
            self._over(error)
            return
        finally:
            self._decoding = None
        if self._late_end:
            self._pass_on(events, 0)
            self._over(None)
        elif not self._is_paused and self._body is not None:
            self._body.resume()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _raise_failure(self) -> None:
        """Raises the error that has come, and drops the reference to it: its traceback refers to this stream."""
        failure, self._failure = self._failure, None
        try:
            if failure is not None:
                raise failure
        finally:
            del failure

    async def _ask(self) -> tuple[Answer, str]:
        """The answer, of which only the head was looked at, and the secret that it was asked with."""
        client = self._site.client
        encoded = await client.aside.do(self._encode, is_large=True) if self._is_large else self._encode()
        call = self._call(encoded)
        del self._encode, self._call  # they refer to the whole request, and a reply can take minutes
        try:
            return await send_signed(client, call, self._credential)
        except transport_errors() as error:
            raise unreachable(error) from error

    async def _open(self) -> None:
        """Asks, and looks at the head of the answer."""
        asking, self._asking = self._asking, None
        answer, key = await (asking or self._ask())
        self._answer = answer
        self._secrets = (key, *self._site.secrets)
        if found := request_id(answer.headers):
            self.request_id = without(self._secrets, found)[:MAX_REQUEST_ID]
        if answer.status != _OK and not is_success(answer):
            raise await refusal(answer, self._wire, self._secrets, self._credential.cure)
        self._decoder = self._wire.decoder(answer.headers.get("content-type", ""), self._logprobs)
        self._body = body(answer)
        self._body.follow(self)
