"""The fields of Chat Completions that each service takes: data, by the name of its preset.

A server that is not listed gets the fields that all servers know. Each row is from the service's own reference or
client library, or from its refusals as its users have reported them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headwater_server.domain.messages import ALL_EFFORTS
from headwater_server.providers import call_ids


@dataclass(frozen=True, slots=True)
class Profile:
    """The fields that a service takes.

    Attributes:
        max_tokens: its name of the limit; empty: `max_completion_tokens` for OpenAI's reasoning models, which refuse
            the other, and else `max_tokens`.
        renamed: its names of other parameters, by ours.
        lacks: our parameters that it refuses.
        omit: fields of ours that it refuses.
        efforts: its values of `reasoning_effort`.
        no_effort: the fields that it has instead of the effort `none`.
        names_results: whether it wants the name of the tool beside a result.
        takes_strict: whether a tool may be strict.
        unsigned_call: the fields of the first call of a turn that has no signature, for a service that wants one.
        hosts_openai: whether it serves OpenAI's models, which reason there as they do at OpenAI.
        takes_cache_marks: whether texts may have marks up to which the prompt is kept.
        wants_thinking: whether it wants thinking on every reply in the conversation.
        counts_logprobs: whether `logprobs` is the number of likely tokens, and not whether there are any.
        wants_replies: whether it wants a reply between results of tools and a question.
        is_known: False for a server of which only the model is known.
        call_ids: the shape of its ids of tool calls.
        foreign_ids: the shape of ids of calls that others made; None: the same.
    """

    max_tokens: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    lacks: frozenset[str] = frozenset()
    omit: frozenset[str] = frozenset()
    efforts: frozenset[str] = frozenset()
    no_effort: Mapping[str, Any] = field(default_factory=dict)
    names_results: bool = False
    takes_strict: bool = True
    unsigned_call: Mapping[str, Any] = field(default_factory=dict)
    hosts_openai: bool = False
    takes_cache_marks: bool = False
    wants_thinking: bool = False
    counts_logprobs: bool = False
    wants_replies: bool = False
    is_known: bool = True
    call_ids: re.Pattern[str] = call_ids.ANY
    foreign_ids: re.Pattern[str] | None = None


COMPATIBLE = Profile(is_known=False, foreign_ids=call_ids.MISTRAL)
"""A server that is not known."""

_PENALTIES = frozenset({"frequency_penalty", "presence_penalty"})
_THREE = frozenset({"low", "medium", "high"})
_GOOGLES_MARK = {"extra_content": {"google": {"thought_signature": "skip_thought_signature_validator"}}}
"""Stands for the signature of a call that Gemini did not make."""

PROFILES: Mapping[str, Profile] = {
    "azure": Profile(
        max_tokens="max_completion_tokens", efforts=ALL_EFFORTS, hosts_openai=True, call_ids=call_ids.OPENAI
    ),
    "azure-classic": Profile(efforts=ALL_EFFORTS, hosts_openai=True, call_ids=call_ids.OPENAI),
    "bedrock": Profile(efforts=_THREE),
    "bedrock-responses": Profile(hosts_openai=True),
    "gemini-openai": Profile(
        max_tokens="max_tokens",
        lacks=frozenset({"seed", "parallel_tool_calls"}) | _PENALTIES,
        efforts=frozenset({"none", "minimal"}) | _THREE,
        names_results=True,
        takes_strict=False,
        unsigned_call=_GOOGLES_MARK,
    ),
    "vertex-openai": Profile(
        max_tokens="max_tokens",
        lacks=frozenset({"parallel_tool_calls"}),
        efforts=_THREE,
        names_results=True,
        takes_strict=False,
        unsigned_call=_GOOGLES_MARK,
    ),
    "openrouter": Profile(max_tokens="max_tokens", efforts=ALL_EFFORTS, takes_cache_marks=True),
    "mistral": Profile(
        max_tokens="max_tokens",
        renamed={"seed": "random_seed"},
        lacks=frozenset({"logprobs"}),
        omit=frozenset({"stream_options"}),
        efforts=ALL_EFFORTS,
        call_ids=call_ids.MISTRAL,
        wants_replies=True,
    ),
    "deepseek": Profile(
        max_tokens="max_tokens",
        lacks=frozenset({"seed", "parallel_tool_calls"}) | _PENALTIES,
        efforts=ALL_EFFORTS,
        no_effort={"thinking": {"type": "disabled"}},
        wants_thinking=True,
    ),
    "xai": Profile(max_tokens="max_completion_tokens", efforts=_THREE | {"none"}),
    "groq": Profile(max_tokens="max_completion_tokens", lacks=_PENALTIES | {"logprobs"}, efforts=_THREE | {"none"}),
    "together": Profile(
        max_tokens="max_tokens", lacks=frozenset({"parallel_tool_calls"}), efforts=_THREE, counts_logprobs=True
    ),
    "fireworks": Profile(max_tokens="max_tokens", efforts=_THREE | {"none"}),
    "vllm": Profile(max_tokens="max_tokens", efforts=_THREE | {"none"}),
    "sglang": Profile(max_tokens="max_tokens", efforts=_THREE | {"none"}),
    "llama.cpp": Profile(max_tokens="max_tokens"),
    "lmstudio": Profile(max_tokens="max_tokens", efforts=_THREE | {"none"}),
}
"""By the name of the preset."""
