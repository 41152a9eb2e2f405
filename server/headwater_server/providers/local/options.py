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
        *("grammar", "grammar_lazy", "grammar_triggers", "preserved_tokens", "json_schema", "response_format"),
        *("tools", "tool_choice", "parallel_tool_calls", "parse_tool_calls", "chat_format", "chat_template_kwargs"),
        *("add_generation_prompt", "continue_final_message", "reasoning_format", "enable_thinking"),
        *("reasoning_budget_tokens", "thinking_budget_tokens", "reasoning_control", "lora", "id_slot"),
        *("cache_prompt", "n_cache_reuse", "return_tokens", "return_progress", "timings_per_token", "verbose"),
        *("response_fields", "speculative.n_min", "speculative.n_max", "speculative.p_min", "stream_options", "api"),
    }
)


def check_options(provider: str, options: Mapping[str, Any]) -> None:
    """Raises HeadwaterError (INVALID_REQUEST) that names each unknown option and the nearest known one."""
    unknown = [
        FieldViolation(f"provider_options.{provider}.{name[:100]}", f"is no option of llama.cpp{_advice(name)}")
        for name in options
        if name not in OPTIONS
    ]
    if unknown:
        raise invalid_request(unknown)


def _advice(name: str) -> str:
    close = difflib.get_close_matches(name[:100].lower(), OPTIONS, n=1)
    return f"; did you mean {close[0]}?" if close else "; docs/configuration.md says which there are"
