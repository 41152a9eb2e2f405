"""The events of Responses, and their token counts."""

from __future__ import annotations

from typing import Any

import msgspec

from headwater_server.domain.chunks import Usage
from headwater_server.providers.wires.decoder import Count, token_count, total
from headwater_server.providers.wires.json import JSONShape


class _InputDetails(msgspec.Struct, gc=False):
    cached_tokens: Count = None
    cache_write_tokens: Count = None


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Count = None


class ResponseUsage(msgspec.Struct, gc=False):
    """The counts of a whole response."""

    input_tokens: Count = None
    output_tokens: Count = None
    total_tokens: Count = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class TextPiece(msgspec.Struct, gc=False):
    """A piece of text, refusal, reasoning or arguments, and where it belongs."""

    delta: Any = None
    item_id: str | None = None
    output_index: Count = None
    content_index: Count = None
    summary_index: Count = None


class Piece(msgspec.Struct, gc=False):
    """A piece, or the whole."""

    delta: Any = None
    text: Any = None
    refusal: Any = None
    arguments: Any = None
    name: str | None = None
    item_id: str | None = None
    output_index: Count = None
    content_index: Count = None
    summary_index: Count = None


class Item(msgspec.Struct, gc=False):
    """An item of the output."""

    type: str | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: Any = None  # text for a function call; items of other types have what they like
    content: Any = None
    summary: Any = None
    results: Any = None
    action: Any = None
    result: Any = None  # of a generated picture


class ItemEvent(msgspec.Struct, gc=False):
    """An item begins or is done."""

    item: Item | None = None
    output_index: Count = None


class ReasoningEvent(msgspec.Struct, gc=False):
    """The same, of a reasoning."""

    item: dict[str, Any] = {}


class Incomplete(msgspec.Struct, gc=False):
    """Why a response is not whole."""

    reason: str | None = None


class Response(msgspec.Struct, gc=False):
    """A whole response."""

    object: str | None = None
    status: str | None = None
    error: Any = None
    incomplete_details: Incomplete | None = None
    usage: ResponseUsage | None = None
    output: list[Item] | None = None
    output_text: Any = None
    citations: Any = None


class PartEvent(msgspec.Struct, gc=False):
    """A part of an item is done."""

    part: Any = None


class SourceEvent(msgspec.Struct, gc=False):
    """A source of a text, or the results of a search."""

    annotation: Any = None
    results: Any = None
    search_results: Any = None


class End(msgspec.Struct, gc=False):
    """The last event."""

    response: Response | None = None


DELTA = JSONShape(TextPiece, "a delta of a response")
PIECE = JSONShape(Piece, "a delta of a response")
REASONING = JSONShape(ReasoningEvent, "a reasoning item of a response")
PART = JSONShape(PartEvent, "a part of a response")
SOURCE = JSONShape(SourceEvent, "an annotation of a response")
ITEM = JSONShape(ItemEvent, "an output item of a response")
END = JSONShape(End, "the end of a response")
WHOLE = JSONShape(Response, "a response")


def usage_of(usage: ResponseUsage) -> Usage:
    """The counts in our words."""
    details_in = usage.input_tokens_details or _InputDetails()
    details_out = usage.output_tokens_details or _OutputDetails()
    tokens_in, tokens_out = token_count(usage.input_tokens), token_count(usage.output_tokens)
    both = total(tokens_in, tokens_out)
    return Usage(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        total_tokens=token_count(usage.total_tokens) if both is None else both,
        cached_input_tokens=token_count(details_in.cached_tokens),
        cache_write_tokens=token_count(details_in.cache_write_tokens),
        reasoning_tokens=token_count(details_out.reasoning_tokens),
    )
