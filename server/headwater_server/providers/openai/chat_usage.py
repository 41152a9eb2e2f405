"""Token counts of Chat Completions, under the names that servers give them."""

from __future__ import annotations

import msgspec

from headwater_server.domain.chunks import Usage
from headwater_server.providers.wires.decoder import MAX_COUNT, Count, total


class _InputDetails(msgspec.Struct, gc=False):
    cached_tokens: Count = None
    cache_write_tokens: Count = None


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Count = None


class ChatUsage(msgspec.Struct, gc=False):
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


_NO_INPUT, _NO_OUTPUT, _NONE = _InputDetails(), _OutputDetails(), Usage()
_NO_CACHED, _NO_THOUGHT = (None, None, None), (None, None)


def usage_of(reported: ChatUsage, before: Usage | None) -> Usage:
    """The counts so far. Servers repeat them, count up from chunk to chunk, or send zeros last: the greatest holds."""
    before = before or _NONE
    prompt = reported.prompt_tokens_details or _NO_INPUT
    completion = reported.completion_tokens_details or _NO_OUTPUT
    tokens_in = _most(before.input_tokens, reported.prompt_tokens, reported.input_tokens)
    tokens_out = _most(before.output_tokens, reported.completion_tokens, reported.output_tokens)
    both = total(tokens_in, tokens_out)
    written, thought = prompt.cache_write_tokens, (completion.reasoning_tokens, reported.reasoning_tokens)
    cached = prompt.cached_tokens, reported.cached_tokens, reported.prompt_cache_hit_tokens
    return Usage(
        tokens_in,
        tokens_out,
        _most(before.total_tokens, reported.total_tokens) if both is None else both,
        before.cached_input_tokens if cached == _NO_CACHED else _most(before.cached_input_tokens, *cached),
        before.cache_write_tokens if written is None else _most(before.cache_write_tokens, written),
        before.reasoning_tokens if thought == _NO_THOUGHT else _most(before.reasoning_tokens, *thought),
    )


def _most(before: int | None, *counts: Count) -> int | None:
    """The greater of the count so far and the first of these that makes sense."""
    for count in counts:
        if count is not None and 0 <= count <= MAX_COUNT:
            number = int(count)
            return number if before is None or number > before else before
    return before
