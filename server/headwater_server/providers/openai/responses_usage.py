"""Token counts of Responses."""

from __future__ import annotations

import msgspec

from headwater_server.domain.chunks import Usage
from headwater_server.providers.wires.decoder import Count, token_count, total


class _InputDetails(msgspec.Struct):
    cached_tokens: Count = None
    cache_write_tokens: Count = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: Count = None


class ResponseUsage(msgspec.Struct):
    """The counts of a whole response."""

    input_tokens: Count = None
    output_tokens: Count = None
    total_tokens: Count = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


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
