"""The decoder of Ollama's chat for requests that ask for log probabilities."""

from __future__ import annotations

from typing import Any

import msgspec

from headwater_server.domain.chunks import Delta
from headwater_server.providers.ollama.decoder import ChatDecoder
from headwater_server.providers.wires.beside_text.logprobs import add_tokens
from headwater_server.providers.wires.events.sse import ServerSentEvent
from headwater_server.providers.wires.json import JSONShape


class _Line(msgspec.Struct):
    logprobs: Any = None


_LINE = JSONShape(_Line, "a line of Ollama's chat")


class LogprobsDecoder(ChatDecoder):
    """Reads the replies with their tokens."""

    def _object(self, event: ServerSentEvent) -> Delta | None:
        first = len(self._more)
        said = super()._object(event)
        add_tokens(_LINE.decode(event.data).logprobs, said, self._more, first)
        return said
