"""Token counts of Chat Completions, under the names that servers give them."""

from __future__ import annotations

from dataclasses import fields

import msgspec

from headwater_server.domain.chunks import Usage
from headwater_server.providers.wires.decoder import Count, token_count, total


class _InputDetails(msgspec.Struct):
    cached_tokens: Count = None
    cache_write_tokens: Count = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: Count = None


class ChatUsage(msgspec.Struct):
    """The counts of a chunk: beside OpenAI's names those of Anthropic's wire, and Moonshot's and DeepSeek's."""

    prompt_tokens: Count = None
    completion_tokens: Count = None
    total_tokens: Count = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    input_tokens: Count = None
    output_tokens: Count = None
    cached_tokens: Count = None
    prompt_cache_hit_tokens: Count = None
    reasoning_tokens: Count = None


def usage_of(reported: ChatUsage, before: Usage | None) -> Usage:
    """The counts so far. Servers repeat them, count up from chunk to chunk, or send zeros last: the greatest holds."""
    prompt = reported.prompt_tokens_details or _InputDetails()
    completion = reported.completion_tokens_details or _OutputDetails()
    tokens_in = _first(reported.prompt_tokens, reported.input_tokens)
    tokens_out = _first(reported.completion_tokens, reported.output_tokens)
    usage = Usage(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        total_tokens=token_count(reported.total_tokens),
        cached_input_tokens=_first(prompt.cached_tokens, reported.cached_tokens, reported.prompt_cache_hit_tokens),
        cache_write_tokens=token_count(prompt.cache_write_tokens),
        reasoning_tokens=_first(completion.reasoning_tokens, reported.reasoning_tokens),
    )
    if before is not None:
        for count in fields(Usage):
            known = [n for n in (getattr(usage, count.name), getattr(before, count.name)) if n is not None]
            setattr(usage, count.name, max(known, default=None))
    both = total(usage.input_tokens, usage.output_tokens)
    usage.total_tokens = usage.total_tokens if both is None else both
    return usage


def _first(*counts: Count) -> int | None:
    return next((number for count in counts if (number := token_count(count)) is not None), None)
