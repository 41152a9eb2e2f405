"""The words with which providers say why a reply ended.

Proxies put one vendor's words on another's wire, and change their letters: `MAX_TOKENS`, `max_tokens` and `maxTokens`
are one word here. Words for a reply that was cut are apart: such a reply is never reported as ended.
"""

from __future__ import annotations

import re
from functools import lru_cache

from headwater_server.domain.chunks import FinishReason
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.wires.surrogates import without_surrogates

_WORDS = {
    FinishReason.STOP: (
        "stop end_turn stop_sequence stop_token stop_criteria eos eos_token end_of_sequence end_of_text complete "
        "completed finish finished done end normal success"
    ),
    FinishReason.LENGTH: (
        "length max_tokens max_output_tokens max_length max_new_tokens model_length model_max_length token_limit "
        "model_context_window_exceeded context_length_exceeded context_window_exceeded error_limit truncated "
        "continuation"
    ),
    FinishReason.TOOL_CALLS: "tool_calls tool_call tool_use function_call function_calls",
    FinishReason.CONTENT_FILTER: (
        "content_filter content_filtered safety recitation blocklist prohibited_content spii sensitive image_safety "
        "image_prohibited_content image_recitation error_toxic guardrail_intervened guardrails "
        "content_policy_violation model_armor jailbreak escalation pup_limited_disabled"
    ),
    FinishReason.REFUSAL: "refusal refused",
    FinishReason.PAUSE: "pause_turn pause",
}
"""OpenAI, Anthropic, Gemini, Ollama, Mistral (model_length), Cohere (COMPLETE, ERROR_LIMIT, ERROR_TOXIC), Zhipu
(sensitive), Bedrock (guardrail_intervened), text-generation-inference (eos_token), and others."""

_CUT = (
    "error insufficient_system_resource network_error abort aborted cancel cancelled canceled timeout timed_out failed "
    "failure interrupted server_error internal_error internal_server_error overloaded engine_overloaded disconnected"
)
"""Mistral (error), DeepSeek (insufficient_system_resource), Zhipu (network_error), vLLM and SGLang (abort)."""

_NO_WORD = "null none unknown unspecified"

_NO_LETTER = re.compile(r"[^a-z]")
_LONGEST = 100
"""More than any known word has: the rest of a longer one is not looked at."""


@lru_cache(maxsize=256)
def _letters(word: str) -> str:
    return _NO_LETTER.sub("", word.lower()).removeprefix("finishreason")


_REASONS = {_letters(word): reason for reason, words in _WORDS.items() for word in words.split()}
_CUTS = frozenset(_letters(word) for word in _CUT.split())
_NOTHING = frozenset(_letters(word) for word in _NO_WORD.split())


def says_nothing(word: str | None) -> bool:
    """Whether a word gives no reason, so that the reply continues."""
    return not word or _letters(word[:_LONGEST]) in _NOTHING


def finish_reason(word: str) -> FinishReason:
    """The reason that a word stands for; OTHER for an unknown one."""
    return _REASONS.get(_letters(word[:_LONGEST]), FinishReason.OTHER)


def cut_by(word: str) -> HeadwaterError | None:
    """The error of a reply that the provider itself calls cut; None for any other word."""
    if _letters(word[:_LONGEST]) not in _CUTS:
        return None
    shown = without_surrogates(word)[:100]
    message = f"the provider cut its reply and gives as the reason: {shown}"
    return HeadwaterError(Reason.PROVIDER_UNAVAILABLE, message, metadata={"provider_code": shown})
