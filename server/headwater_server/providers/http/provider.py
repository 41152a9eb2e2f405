"""A provider over HTTP: address, credential and transport; the wire makes requests and reads answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

import msgspec

from headwater_server.domain.errors import HeadwaterError, Reason, invalid
from headwater_server.domain.messages import ChatRequest
from headwater_server.providers.base import ModelInfo, ProviderInfo, Wire
from headwater_server.providers.http.body import body_reader
from headwater_server.providers.http.client import Answer
from headwater_server.providers.http.failures import is_success, refusal, unreachable
from headwater_server.providers.http.large_bodies import LARGE_BYTES, encode_large
from headwater_server.providers.http.signing import send_signed
from headwater_server.providers.http.site import Site, joined
from headwater_server.providers.http.stream import HttpStream
from headwater_server.providers.http.transport_errors import transport_errors
from headwater_server.providers.own_data import account_fingerprint

MAX_ANSWER = 8 * 1024 * 1024
ANSWER_SECONDS = 10.0


class HttpProvider:
    """A provider over HTTP.

    Args:
        name: its name in configuration and requests.
        type: its kind.
        site: its address, and all that goes with every call.
        wires: its formats, by the name of the API; the first is the default.
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
        site: Site,
        wires: Mapping[str, Wire],
        default_model: str,
        models_path: str,
        parse_models: Callable[[bytes], list[ModelInfo]],
        choose_api: Callable[[str], str] | None = None,
    ) -> None:
        self.name = name
        self.type = type
        self.default_model = default_model
        self.address = site.base_url
        self._site = site
        self._wires = wires
        self._choose_api = choose_api
        self._first_wire = next(iter(wires.values()))
        self._models_path = models_path
        self._parse_models = parse_models

    def _wire(self, request: ChatRequest) -> Wire:
        api = request.provider_options.get("api")
        if not api and self._choose_api is None:
            return self._first_wire
        api = api or self._api(request.model)
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
        supported = wire.supported_params(request.model).difference(self._site.omit)
        effort = request.sampling.get("reasoning_effort")
        return (
            supported if effort is None or effort in wire.efforts(request.model) else supported - {"reasoning_effort"}
        )

    def account(self, request: ChatRequest) -> str:
        """Fingerprint of address and key."""
        return account_fingerprint(self._site.base_url, request.api_key or self._site.credential.identity)

    def stream(self, request: ChatRequest) -> HttpStream:
        """Begins a reply; see Provider.stream."""
        wire = self._wire(request)
        call = wire.call(request)
        headers = {"content-type": "application/json", **call.headers}
        if request.headers:
            headers = joined(headers, request.headers)
        outgoing = self._site.call("POST", call.path, headers, request.model, request.connect_seconds)
        body = self._site.kept(call.body) if self._site.omit else call.body
        is_large = request.size > LARGE_BYTES
        encode = encode_large if is_large else msgspec.json.encode
        signer = self._site.signer(request.api_key) if request.api_key else self._site.credential
        return HttpStream(self._site, outgoing, partial(encode, body), wire, signer, call.logprobs, is_large=is_large)

    async def info(self, model: str) -> ProviderInfo:
        """The abilities of the provider with the model, as far as they are known without a call."""
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

        Raises HeadwaterError for all but a success of at most 8 MiB within 10 seconds.
        """
        method, content = ("GET", b"") if body is None else ("POST", msgspec.json.encode(body))
        site = self._site
        call = site.call(method, path, {})(content)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer, key = await send_signed(site.client, call, site.credential)
                async with aclosing(answer):
                    if not is_success(answer):
                        raise await refusal(answer, self._first_wire, (key, *site.secrets), site.credential.cure)
                    return await _bounded_body(answer)
        except TimeoutError as error:
            raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, f"no answer within {ANSWER_SECONDS:g} seconds") from error
        except transport_errors() as error:
            raise unreachable(error) from error

    async def open(self) -> None:
        """Starts nothing: the provider runs elsewhere."""

    async def drain(self, seconds: float) -> None:
        """Waits for nothing: the readers of streams wait for them."""

    async def aclose(self) -> None:
        """Frees nothing: the client is its owner's."""


async def _bounded_body(answer: Answer) -> bytes:
    body, read = bytearray(), body_reader(answer)
    while data := await read():
        body += data
        if len(body) > MAX_ANSWER:
            raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "its answer is over 8 MiB")
    return bytes(body)
