"""What is known of models by their names: who has them, and what they take. Data and nothing else decides.

A name may end in `@something` (a date, a deployment), which says nothing here.
"""

from __future__ import annotations

import re

from headwater_server.domain.messages import ReasoningEffort

OPENAI, ANTHROPIC, OLLAMA = "openai", "anthropic", "ollama"

# The first prefix that fits decides; a name with a tag (`name:tag`) is decided before by _TAGGED.
_PREFIXES = (
    ("claude-", ANTHROPIC),
    ("gpt-oss", OLLAMA),
    ("gpt-", OPENAI),
    ("chatgpt-", OPENAI),
    ("codex-", OPENAI),
    ("computer-use-preview", OPENAI),
    ("o1-", OPENAI),
    ("o3-", OPENAI),
    ("o4-", OPENAI),
    *(
        (family, OLLAMA)
        for family in (
            "aya", "bakllava", "codegemma", "codellama", "codestral", "cogito", "command-r", "deepseek-coder",
            "deepseek-r1", "deepseek-v", "devstral", "dolphin", "exaone", "falcon", "gemma", "glm", "granite",
            "hermes", "llama", "llava", "magistral", "minicpm", "ministral", "mistral", "mixtral", "moondream",
            "nomic-embed", "nous-hermes", "olmo", "openchat", "openthinker", "orca", "phi", "qwen", "qwq", "smollm",
            "solar", "stablelm", "starcoder", "tinyllama", "vicuna", "wizard", "zephyr",
        )
    ),
)  # fmt: skip

_NAMES = {"o1": OPENAI, "o3": OPENAI, "o4": OPENAI}

# `ft:gpt-4.1:org::id` is a fine-tuned model of OpenAI's; every other colon is Ollama's tag.
_TAGGED = (("ft:", OPENAI), ("", OLLAMA))

_RESPONSES_ONLY = re.compile(
    r"-(pro|codex|deep-research|cyber|rosalind)(-|$)|^(computer-use-preview|gpt-daybreak|gpt-rosalind)(-|$)"
)
_FIRST_GPT_FOR_RESPONSES = (5, 4)  # from here on function tools with reasoning are refused in Chat Completions
_FIRST_REASONING_GPT = (5, 0)
_REASONING_SERIES = re.compile(r"(o[134]|codex-mini)(-|$)")
_PLAIN_CHAT = re.compile(r"gpt-5-chat(-|$)")  # of the fifth generation, but without reasoning
_NO_STOP = re.compile(r"(o3|o4-mini)(-\d{4}-\d{2}-\d{2})?$")

_GPT_VERSION = re.compile(r"gpt-(\d|1\d)(?:\.(\d{1,2}))?(?!\d|\.\d|o)")
_CLAUDE_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_CLAUDE_WITHOUT_SAMPLING = re.compile(r"claude-(fable|mythos)(-|$)")
_LAST_CLAUDE_WITH_SAMPLING = (4, 6)
_FIRST_CLAUDE_WITH_THINKING = (3, 7)
_FIRST_CLAUDE_WITH_EFFORT = (4, 6)
_FIRST_CLAUDE_THAT_ALWAYS_THINKS = (5, 5)

ALL_EFFORTS = frozenset(ReasoningEffort)
"""Every value of `reasoning_effort`."""


def provider_type_for(model: str) -> str | None:
    """The type of provider that has the model; None for a name that nothing is known of."""
    name = _base(model)
    if name in _NAMES:
        return _NAMES[name]
    table = _TAGGED if ":" in name else _PREFIXES
    if table is _PREFIXES and "/" in name:
        return None
    return next((provider for prefix, provider in table if name.startswith(prefix)), None)


def openai_api(model: str) -> str:
    """Which of OpenAI's APIs to use for one of its models: `responses` or `chat_completions`."""
    name = _openai_name(model)
    version = _gpt_version(name)
    if _RESPONSES_ONLY.search(name) or (version is not None and version >= _FIRST_GPT_FOR_RESPONSES):
        return "responses"
    return "chat_completions"


def is_openai_reasoning(model: str) -> bool:
    """Whether one of OpenAI's models reasons, and so takes neither temperature, top_p nor penalties."""
    name = _openai_name(model)
    version = _gpt_version(name)
    if version is not None and version >= _FIRST_REASONING_GPT:
        return not _PLAIN_CHAT.match(name)
    return _REASONING_SERIES.match(name) is not None


def openai_refused_params(model: str) -> frozenset[str]:
    """The sampling parameters that one of OpenAI's models does not take, over the API that has them."""
    name = _openai_name(model)
    refused = {"stop"} if _NO_STOP.match(name) else set()
    if is_openai_reasoning(model):
        refused |= {"temperature", "top_p", "frequency_penalty", "presence_penalty"}
    else:
        refused.add("reasoning_effort")
    if _REASONING_SERIES.match(name):
        refused.add("parallel_tool_calls")
    return frozenset(refused)


def anthropic_takes_sampling(model: str) -> bool:
    """Whether a model on Anthropic's API takes temperature and top_p; unknown names, such as a local model's, do."""
    name = _base(model)
    if _CLAUDE_WITHOUT_SAMPLING.match(name):
        return False
    found = _CLAUDE_VERSION.match(name)
    return found is None or _version(found) <= _LAST_CLAUDE_WITH_SAMPLING


def anthropic_efforts(model: str) -> frozenset[str]:
    """The efforts that a model on Anthropic's API takes; unknown names, such as a local model's, take none."""
    name = _base(model)
    if _CLAUDE_WITHOUT_SAMPLING.match(name):
        return ALL_EFFORTS - {"none"}
    found = _CLAUDE_VERSION.match(name)
    version = _version(found) if found else (0, 0)
    if version < _FIRST_CLAUDE_WITH_THINKING:
        return frozenset()
    if version < _FIRST_CLAUDE_WITH_EFFORT:
        return frozenset({"none"})
    efforts = ALL_EFFORTS if version > _FIRST_CLAUDE_WITH_EFFORT else ALL_EFFORTS - {"xhigh"}
    always_thinks = version >= _FIRST_CLAUDE_THAT_ALWAYS_THINKS and not name.startswith("claude-haiku-")
    return efforts - {"none"} if always_thinks else efforts


def anthropic_thinks_when_asked(model: str) -> bool:
    """Whether a model on Anthropic's API takes an effort, but thinks only where the request says so."""
    found = _CLAUDE_VERSION.match(_base(model))
    return found is not None and _version(found) == _FIRST_CLAUDE_WITH_EFFORT


def _base(model: str) -> str:
    return model.partition("@")[0]


def _openai_name(model: str) -> str:
    """The name; for a fine-tuned model (`ft:gpt-4.1:org::id`) that of the model it was made from."""
    name = _base(model)
    return name.split(":")[1] if name.startswith("ft:") else name


def _gpt_version(name: str) -> tuple[int, int] | None:
    found = _GPT_VERSION.match(name)
    return _version(found) if found else None


def _version(found: re.Match[str]) -> tuple[int, int]:
    major, minor = found.groups()
    return int(major), int(minor or 0)
