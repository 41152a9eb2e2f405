"""Facts about OpenAI's models that follow from their names: the API for them, and the parameters that they take."""

from __future__ import annotations

import re
from functools import lru_cache

from headwater_server.providers.model_names import MODELS, base_name, version

_RESPONSES_ONLY = re.compile(
    r"-(pro|codex|deep-research|cyber|rosalind)(-|$)|^(computer-use-preview|gpt-daybreak|gpt-rosalind)(-|$)"
)
_FIRST_GPT_FOR_RESPONSES = (5, 4)  # from here on function tools with reasoning are refused in Chat Completions
_FIRST_REASONING_GPT = (5, 0)
_REASONING_SERIES = re.compile(r"(o[134]|codex-mini)(-|$)")
_PLAIN_CHAT = re.compile(r"gpt-5-chat(-|$)")  # of the fifth generation, but without reasoning
_NO_STOP = re.compile(r"(o3|o4-mini)(-\d{4}-\d{2}-\d{2})?$")

_GPT_VERSION = re.compile(r"gpt-(\d|1\d)(?:\.(\d{1,2}))?(?!\d|\.\d|o)")


@lru_cache(maxsize=MODELS)
def api_of(model: str) -> str:
    """Which of OpenAI's APIs to use for the model: `responses` or `chat_completions`."""
    name = _name(model)
    found = _gpt_version(name)
    if _RESPONSES_ONLY.search(name) or (found is not None and found >= _FIRST_GPT_FOR_RESPONSES):
        return "responses"
    return "chat_completions"


@lru_cache(maxsize=MODELS)
def is_reasoning(model: str) -> bool:
    """Whether the model reasons, and so takes neither temperature, top_p nor penalties, and gives no logprobs."""
    name = _name(model)
    found = _gpt_version(name)
    if found is not None and found >= _FIRST_REASONING_GPT:
        return not _PLAIN_CHAT.match(name)
    return _REASONING_SERIES.match(name) is not None


@lru_cache(maxsize=MODELS)
def refused_params(model: str) -> frozenset[str]:
    """The sampling parameters that the model does not take, over the API that has them."""
    name = _name(model)
    refused = {"stop"} if _NO_STOP.match(name) else set()
    if is_reasoning(model):
        refused |= {"temperature", "top_p", "frequency_penalty", "presence_penalty", "logprobs"}
    else:
        refused.add("reasoning_effort")
    if _REASONING_SERIES.match(name):
        refused.add("parallel_tool_calls")
    return frozenset(refused)


def _name(model: str) -> str:
    """The name, without the vendor before it (`openai.gpt-5.4` at Bedrock, `openai/gpt-5` at routers); for a fine-tuned
    model (`ft:gpt-4.1:org::id`) that of the model it was made from.
    """
    name = base_name(model).rpartition("/")[2].removeprefix("openai.")
    return name.split(":")[1] if name.startswith("ft:") else name


def _gpt_version(name: str) -> tuple[int, int] | None:
    found = _GPT_VERSION.match(name)
    return version(found) if found else None
