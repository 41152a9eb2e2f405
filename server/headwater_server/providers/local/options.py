"""The options that the embedded model's server knows: llama.cpp ignores any other without a word."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from headwater_server.domain.errors import FieldViolation, invalid_request

# Of tools/server/README.md in llama.cpp, less what Headwater sets itself.
OPTIONS = frozenset(
    {
        *("temperature", "top_k", "top_p", "top_n_sigma", "min_p", "min_keep", "typical_p", "seed", "samplers"),
        *("dynatemp_range", "dynatemp_exponent", "xtc_probability", "xtc_threshold"),
        *("mirostat", "mirostat_tau", "mirostat_eta", "adaptive_target", "adaptive_decay", "backend_sampling"),
        *("repeat_last_n", "repeat_penalty", "frequency_penalty", "presence_penalty"),
        *("dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers"),
        *("max_tokens", "max_completion_tokens", "n_predict", "n_keep", "n_discard", "n_indent", "t_max_predict_ms"),
        *("stop", "ignore_eos", "logit_bias", "logprobs", "top_logprobs", "n_probs", "post_sampling_probs"),
        *("tool_choice", "parallel_tool_calls", "parse_tool_calls", "chat_template_kwargs"),
        *("add_generation_prompt", "continue_final_message", "reasoning_format", "enable_thinking"),
        *("reasoning_budget_tokens", "thinking_budget_tokens", "reasoning_control", "lora", "id_slot"),
        *("cache_prompt", "n_cache_reuse", "return_tokens", "return_progress", "timings_per_token", "verbose"),
        *("response_fields", "speculative.n_min", "speculative.n_max", "speculative.p_min", "stream_options", "api"),
    }
)

_NOT_A_CALLERS = {
    **dict.fromkeys(("grammar", "grammar_lazy", "grammar_triggers"), "send a JSON Schema as response_format instead"),
    **dict.fromkeys(("json_schema", "response_format"), "send response_format of the request instead"),
    "tools": "send tools of the request instead",
}
"""Options of llama.cpp that make a grammar, past the bounds on schemas, and what to send instead."""


def check_options(provider: str, options: Mapping[str, Any]) -> None:
    """Raises HeadwaterError (INVALID_REQUEST) that names each unknown option and the nearest known one."""
    unknown = [
        FieldViolation(f"provider_options.{provider}.{name[:100]}", _fault(name))
        for name in options
        if name not in OPTIONS
    ]
    if unknown:
        raise invalid_request(unknown)


def _fault(name: str) -> str:
    if name in _NOT_A_CALLERS:
        return f"is not taken from callers; {_NOT_A_CALLERS[name]}"
    close = difflib.get_close_matches(name[:100].lower(), OPTIONS, n=1)
    advice = f"did you mean {close[0]}?" if close else "docs/configuration.md says which there are"
    return f"is no option of llama.cpp; {advice}"
