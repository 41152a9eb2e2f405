"""The protocols of providers and of wire formats.

A *provider* answers: it has transport, address and credential (see `credentials`). A *wire* is its format: the body of
a request and the decoding of the answer, without I/O. Several providers may share a wire, and one provider may
speak several.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from headwater_server.domain.chunks import ProviderEvent
from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.messages import ChatRequest
from headwater_server.streaming.source import Source


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that a provider has; `capabilities` are the provider's own words, empty where it does not say."""

    name: str
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProviderInfo:
    """The abilities of a provider with a model.

    Attributes:
        supported_params: the sampling parameters that the model takes (see `messages.SAMPLING_PARAMS`).
        api: the wire that would be used, for providers with several.
        context_window: tokens, where the provider tells.
    """

    name: str
    type: str
    model: str
    supports_streaming: bool = True
    supports_tools: bool = True
    supported_params: tuple[str, ...] = ()
    api: str = ""
    context_window: int | None = None


class ProviderStream(Source, Protocol):
    """A provider's reply that is under way."""


class Provider(Protocol):
    """Answers requests.

    Attributes:
        address: URL of the server that it asks; empty where the model is on this machine.
    """

    name: str
    type: str
    default_model: str
    address: str

    def supported_params(self, request: ChatRequest) -> frozenset[str]:
        """The sampling parameters that the request's model takes, over the wire that would be used for it.

        Without `reasoning_effort` when it takes others than the request's.
        """
        ...

    def account(self, request: ChatRequest) -> str:
        """Fingerprint of the account that the request would use: the same only for the same address and key."""
        ...

    def stream(self, request: ChatRequest) -> ProviderStream:
        """Begins a reply.

        Raises HeadwaterError: at once for a request that the provider cannot express (an image by URL, a strict tool),
        and by `read` for every fault of the provider or the connection.
        """
        ...

    async def info(self, model: str) -> ProviderInfo:
        """The abilities of the provider with the model."""
        ...

    async def models(self) -> list[ModelInfo]:
        """The provider's models, in its own order. Raises HeadwaterError when it cannot be asked."""
        ...

    async def open(self) -> None:
        """Starts the parts that must run before the first call. Raises HeadwaterError when one cannot start."""
        ...

    async def drain(self, seconds: float) -> None:
        """Waits, up to `seconds`, for users in other processes of a program that the provider runs."""
        ...

    async def aclose(self) -> None:
        """Frees all that the provider holds."""
        ...


class Decoder(Protocol):
    """Turns the bytes of one answer into events; sans-IO, one instance an answer.

    Both methods raise HeadwaterError for an error that the provider reports inside a 200 answer, and for bytes that
    are not of the wire's format.
    """

    @property
    def is_whole(self) -> bool:
        """Whether the provider has said why the reply ended, so that a fault after it costs nothing of the reply."""
        ...

    def feed(self, data: bytes, events: list[ProviderEvent]) -> None:
        """Adds the events that these bytes complete; where it raises, those before the error have been added."""
        ...

    def close(self, events: list[ProviderEvent]) -> None:
        """Adds the events that the end of the body completes. The caller sees from a missing Finish that it was cut."""
        ...


class HttpCall(msgspec.Struct, frozen=True):
    """A request to make.

    Attributes:
        path: below the base URL.
        body: JSON, keys in order.
        headers: further headers.
        logprobs: whether it asks for log probabilities.
    """

    path: str
    body: dict[str, Any]
    headers: dict[str, str] = {}
    logprobs: bool = False


class Wire(Protocol):
    """A wire format: how to ask, and how to read the answer. Stateless and shared by all calls."""

    api: str
    """Its name in configuration and in the option `api`: `chat_completions`, `responses`, `messages`, `chat`."""

    def supported_params(self, model: str) -> frozenset[str]:
        """The sampling parameters that can be expressed for the model."""
        ...

    def efforts(self, model: str) -> frozenset[str]:
        """The values of `reasoning_effort` that can be expressed for the model; none when it has no such parameter."""
        ...

    def call(self, request: ChatRequest) -> HttpCall:
        """The request to make. Raises HeadwaterError (INVALID_REQUEST) for a field that the wire cannot express."""
        ...

    def decoder(self, content_type: str, logprobs: bool = False) -> Decoder:
        """A decoder for one answer, also of its log probabilities if the request asks for them.

        The body decides what it is; the type of content is for the error of another.
        """
        ...

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> HeadwaterError:
        """The error that an answer other than 200 stands for; the caller adds provider and model."""
        ...
