"""The tokens that a request is counted with: those that providers report, and an estimate where one reports none.

A provider reports them at the end of its reply. A reply that is cut, by its caller too, has no report: it counts with
about the tokens of its prompt and one for each delta.
"""

from __future__ import annotations

from headwater_server.domain.chunks import Usage


def tokens_of(usage: Usage | None, prompt: int, deltas: int = 0) -> int:
    """The tokens of one attempt.

    Args:
        usage: the report of the provider; None for none.
        prompt: about how many tokens its prompt has.
        deltas: how many came.
    """
    if usage is not None:
        if usage.total_tokens is not None:
            return usage.total_tokens
        if usage.input_tokens is not None or usage.output_tokens is not None:
            tokens_in = prompt if usage.input_tokens is None else usage.input_tokens
            return tokens_in + (deltas if usage.output_tokens is None else usage.output_tokens)
    return prompt + deltas
