"""A provider that is asked over HTTP: address, key and transport; what is said is the wire's."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from headwater_server.domain.chunks import ProviderEvent
from headwater_server.domain.errors import HeadwaterError, Reason, invalid
from headwater_server.domain.messages import ChatRequest
from headwater_server.providers.base import Decoder, ModelInfo, ProviderInfo, Wire
from headwater_server.providers.http.client import (
    CONNECT_SECONDS,
    MOST_READ,
    TRANSPORT_ERRORS,
    BodyReader,
    HttpClient,
    body_reader,
    left_over,
)
from headwater_server.providers.own_data import account_fingerprint
from headwater_server.providers.wires.errors import REQUEST_ID_HEADERS

MAX_ERROR_BODY = 64 * 1024
MAX_ANSWER = 8 * 1024 * 1024
ANSWER_SECONDS = 10.0
ERROR_BODY_SECONDS = 5.0
REDACTED = "***"
MAX_REQUEST_ID = 200
SHORTEST_KEY = 8


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider is, and with which key.

    Attributes:
        base_url: up to what the wire's path is appended to, without a slash at the end.
        api_key: empty for a provider that wants none, or whose key is not set.
        key_help: what to set when the key is missing; empty for a provider that wants none.
    """

    base_url: str
    api_key: str
    key_help: str = ""

    def key_for(self, request: ChatRequest) -> str:
        """The caller's key, else the server's. Raises HeadwaterError (PROVIDER_AUTH_FAILED) when one is missing."""
        key = request.api_key or self.api_key
        if not key and self.key_help:
            raise HeadwaterError(Reason.PROVIDER_AUTH_FAILED, f"there is no key: {self.key_help}")
        return key


class HttpProvider:
    """A provider over HTTP.

    Args:
        name: its name in configuration and requests.
        type: its kind.
        endpoint: where it is.
        client: shared by all providers, and closed by its owner.
        wires: what it speaks, by the name of the API; the first is the default.
        default_model: the model that is taken when none is named; empty for none.
        choose_api: the API for a model; None: the first wire.
        models_path: where it lists its models.
        parse_models: reads that list.
    """

    def __init__(
        self,
        *,
        name: str,
        type: str,
        endpoint: Endpoint,
        client: HttpClient,
        wires: Mapping[str, Wire],
        default_model: str,
        models_path: str,
        parse_models: Callable[[bytes], list[ModelInfo]],
        choose_api: Callable[[str], str] | None = None,
    ) -> None:
        self.name = name
        self.type = type
        self.default_model = default_model
        self._endpoint = endpoint
        self._client = client
        self._wires = wires
        self._choose_api = choose_api
        self._models_path = models_path
        self._parse_models = parse_models
        self._urls: dict[str, httpx.URL] = {}

    def _wire(self, request: ChatRequest) -> Wire:
        api = request.provider_options.get("api") or self._api(request.model)
        wire = self._wires.get(api) if isinstance(api, str) else None
        if wire is None:
            known = ", ".join(f'"{api}"' for api in self._wires)
            raise invalid(f"provider_options.{self.name}.api", f"must be one of {known}")
        return wire

    def _api(self, model: str) -> str:
        return self._choose_api(model) if self._choose_api else next(iter(self._wires))

    def supported_params(self, request: ChatRequest) -> frozenset[str]:
        """The sampling parameters that the model takes over the wire that would be used."""
        wire = self._wire(request)
        supported = wire.supported_params(request.model)
        effort = request.sampling.get("reasoning_effort")
        return (
            supported if effort is None or effort in wire.efforts(request.model) else supported - {"reasoning_effort"}
        )

    def account(self, request: ChatRequest) -> str:
        """Fingerprint of address and key."""
        return account_fingerprint(self._endpoint.base_url, request.api_key or self._endpoint.api_key)

    def _url(self, path: str) -> httpx.URL:
        """Parsed once for each of the few paths: it is a twentieth of what a short stream costs."""
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = httpx.URL(self._endpoint.base_url + path)
        return url

    def stream(self, request: ChatRequest) -> HttpStream:
        """Begins a reply; see Provider.stream."""
        wire = self._wire(request)
        key = self._endpoint.key_for(request)
        call = wire.call(request)
        headers = {"content-type": "application/json", **wire.auth(key), **call.headers}
        http_request = self._client.request("POST", self._url(call.path), headers, msgspec.json.encode(call.body))
        hint = "" if request.api_key else self._endpoint.key_help
        return HttpStream(self._client, http_request, wire, key, hint)

    async def info(self, model: str) -> ProviderInfo:
        """What the provider can do with the model, as far as is known without asking it."""
        model = model or self.default_model
        api = self._api(model)
        wire = self._wires[api]
        return ProviderInfo(
            name=self.name,
            type=self.type,
            model=model,
            supported_params=tuple(sorted(wire.supported_params(model))),
            api=api if len(self._wires) > 1 else "",
        )

    async def models(self) -> list[ModelInfo]:
        """The provider's models. Raises HeadwaterError when it cannot be asked."""
        return self._parse_models(await self.get(self._models_path))

    async def get(self, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        """The answer to a short question, a GET or with a body a POST.

        Raises HeadwaterError for all but a 200 of at most 8 MiB within 10 seconds.
        """
        wire = next(iter(self._wires.values()))
        key = self._endpoint.api_key
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                method, content = ("GET", None) if body is None else ("POST", msgspec.json.encode(body))
                response = await self._client.send(
                    self._client.request(method, self._url(path), wire.auth(key), content)
                )
                async with aclosing(response):
                    if response.status_code != 200:
                        raise await _refusal(response, wire, key, self._endpoint.key_help)
                    return await _bounded_body(response)
        except TimeoutError as error:
            raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, f"no answer within {ANSWER_SECONDS:g} seconds") from error
        except TRANSPORT_ERRORS as error:
            raise _unreachable(error) from error

    async def aclose(self) -> None:
        """Frees nothing: the client is its owner's."""


class HttpStream:
    """A reply over HTTP; see ProviderStream."""

    def __init__(self, client: HttpClient, request: httpx.Request, wire: Wire, key: str, hint: str) -> None:
        self.request_id = ""
        self._hint = hint
        self._client = client
        self._request = request
        self._wire = wire
        self._key = key
        self._response: httpx.Response | None = None
        self._decoder: Decoder
        self._body: BodyReader | None = None
        self._failure: HeadwaterError | None = None

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
            while not events:
                data = await body()
                if not data:
                    self._decoder.close(events)
                    break
                self._decoder.feed(data, events)
                if len(data) == MOST_READ:
                    await asyncio.sleep(0)  # more is there already, and would keep everybody else from running
        except TRANSPORT_ERRORS as error:
            self._failure = self._cut(error, events)
        except HeadwaterError as error:
            self._failure = _redacted(error, self._key)
        if not events:
            self._raise_failure()
        return events

    def _cut(self, error: BaseException, events: list[ProviderEvent]) -> HeadwaterError:
        """The error of a connection that broke, after the events of what had arrived until then."""
        try:
            if self._response is not None and (data := left_over(self._response)):
                self._decoder.feed(data, events)
        except HeadwaterError as told:
            return _redacted(told, self._key)
        cut = HeadwaterError(Reason.PROVIDER_UNAVAILABLE, f"the connection broke ({_why(error)})")
        cut.__cause__ = error
        return cut

    def _raise_failure(self) -> None:
        """Raises the error that has come, and lets go of it: its traceback leads back here."""
        failure, self._failure = self._failure, None
        try:
            if failure is not None:
                raise failure
        finally:
            del failure

    async def _open(self) -> BodyReader:
        """Asks, and looks at the head of the answer."""
        try:
            self._response = response = await self._client.send(self._request)
        except TRANSPORT_ERRORS as error:
            raise _unreachable(error) from error
        found = next((response.headers[h] for h in REQUEST_ID_HEADERS if h in response.headers), "")
        self.request_id = _without(self._key, found)[:MAX_REQUEST_ID]
        if response.status_code != 200:
            raise await _refusal(response, self._wire, self._key, self._hint)
        self._decoder = self._wire.decoder(response.headers.get("content-type", ""))
        self._body = body_reader(response)
        return self._body


async def _bounded_body(response: httpx.Response) -> bytes:
    body = bytearray()
    async for data in response.aiter_bytes():
        body += data
        if len(body) > MAX_ANSWER:
            raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "its answer is over 8 MiB")
    return bytes(body)


async def _refusal(response: httpx.Response, wire: Wire, key: str, hint: str) -> HeadwaterError:
    """The error that an answer other than 200 stands for, from as much of its body as comes in time.

    The hint says what to set when the key is refused.
    """
    body = bytearray()
    with suppress(TimeoutError, *TRANSPORT_ERRORS):
        async with asyncio.timeout(ERROR_BODY_SECONDS):
            async for data in response.aiter_bytes():
                body += data
                if len(body) > MAX_ERROR_BODY:
                    break
    text = bytes(body[:MAX_ERROR_BODY])
    if len(key) >= SHORTEST_KEY:
        text = text.replace(key.encode(), REDACTED.encode())
    error = _redacted(wire.error(response.status_code, response.headers, text), key)
    if hint and error.reason is Reason.PROVIDER_AUTH_FAILED:
        error.message += f" ({hint})"
        error.args = (error.message,)
    return error


def _unreachable(error: BaseException) -> HeadwaterError:
    return HeadwaterError(
        Reason.PROVIDER_UNAVAILABLE,
        f"cannot be reached ({_why(error)}); check its base URL and that it is running",
    )


def _why(error: BaseException | None) -> str:
    """What went wrong: the system's words, or else the kind of the innermost error. The outer ones are mapped, and the
    transport maps a refused connection to a timeout.
    """
    name = ""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {error.verify_message}; SSL_CERT_FILE names others to trust"
        if isinstance(error, ssl.SSLError):
            return f"TLS: {error.reason}"
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return "the server has too many files open; raise its limit, ulimit -n"
        if isinstance(error, OSError) and error.errno:
            return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
        if isinstance(error, TimeoutError):
            return f"no connection within {CONNECT_SECONDS:g} seconds"
        name, error = type(error).__name__, error.__cause__
    return name


def _redacted(error: HeadwaterError, key: str) -> HeadwaterError:
    """The error without the key, which some providers repeat in what they say."""
    if key:
        error.message = _without(key, error.message)
        error.args = (error.message,)
        error.metadata = {name: _without(key, value) for name, value in error.metadata.items()}
    return error


def _without(key: str, text: str) -> str:
    """The text without the key, nor a beginning of it where the text was cut."""
    if len(key) < SHORTEST_KEY:
        return text  # no key of a provider's, and its letters stand in any sentence
    text = text.replace(key, REDACTED)
    bare = text.rstrip("….")
    for length in range(min(len(key), len(bare)), 5, -1):
        if bare.endswith(key[:length]):
            return bare[:-length] + REDACTED
    return text
