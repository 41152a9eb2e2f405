"""The decoder of Gemini's wire for requests that ask for log probabilities."""

from __future__ import annotations

from typing import Any

import msgspec

from headwater_server.domain.chunks import Delta
from headwater_server.providers.gemini.decoder import GeminiDecoder
from headwater_server.providers.wires.beside_text.logprobs import add_tokens
from headwater_server.providers.wires.decoder import Count
from headwater_server.providers.wires.events.sse import ServerSentEvent
from headwater_server.providers.wires.json import JSONShape


class _Candidate(msgspec.Struct, rename="camel"):
    index: Count = None
    logprobs_result: Any = None


class _Response(msgspec.Struct):
    candidates: list[_Candidate] | None = None


_RESPONSE = JSONShape(_Response, "a response of streamGenerateContent")


class GeminiLogprobsDecoder(GeminiDecoder):
    """Reads the replies with the tokens of the candidate that is read."""

    def _object(self, event: ServerSentEvent) -> Delta | None:
        first = len(self._more)
        said = super()._object(event)
        candidates = _RESPONSE.decode(event.data).candidates or ()
        add_tokens([each.logprobs_result for each in candidates if not each.index], said, self._more, first)
        return said
