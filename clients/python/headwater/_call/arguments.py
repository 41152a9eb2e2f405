"""Checks of a caller's arguments to an agent or a call. Each raises ValidationError naming the argument."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NoReturn, TypeAlias, cast

from headwater._values.names import nearest
from headwater._values.validation import finite, header, int32, invalid, text
from headwater.v1 import agent_pb2

MAX_KEY = 4_096
MAX_LABELS = 16
MAX_LABEL = 256
MAX_LOGPROBS = 20
MAX_USER = 256

ReasoningEffort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

_FLOATS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_INTS = ("max_tokens", "seed")
_NO_OPTIONS = {
    name: f"is a setting of the agent, not of a call: Agent({name}=...)"
    for name in ("name", "target", "connection", "token", "tool_timeout", "max_tool_rounds")
}
_ALMOST_OURS = frozenset({"models"})  # fields of providers
_NO_OPTIONS["system"] = "is called instructions"
_REASONING_EFFORTS: dict[str, agent_pb2.ReasoningEffort] = {
    value.name.removeprefix("REASONING_EFFORT_").lower(): value.number  # type: ignore[misc]
    for value in agent_pb2.ReasoningEffort.DESCRIPTOR.values
    if value.number
}
_LABEL = re.compile(r"[a-z0-9_.-]{1,63}")
_HEADER_NAME = re.compile(r"[a-z0-9_.-]{1,100}")


def refuse_base_url() -> NoReturn:
    """Providers belong to the server's configuration; the error shows how."""
    raise invalid(
        "base_url",
        "providers are configured in the server. Write there\n"
        "    [providers.NAME]\n"
        '    type = "openai"\n'
        '    base_url = "https://..."\n'
        '    api_key_env = "NAME_API_KEY"\n'
        'and call with provider="NAME".',
    )


def check_options(options: Iterable[str], own: Iterable[str]) -> None:
    """Refuse keywords that are no options of a provider: a token must not leave the house.

    Args:
        options: the keywords that are none of the call's own.
        own: those that are.
    """
    for name in options:
        meant = None if name in _NO_OPTIONS or name in _ALMOST_OURS else nearest(name, [*own, *_NO_OPTIONS])
        if meant is not None:
            raise invalid(name, f"is not known; did you mean {meant}? A provider's field goes into provider_options=")
        if name in _NO_OPTIONS:
            raise invalid(name, f"{_NO_OPTIONS[name]}; a provider's field of this name goes into provider_options=")


def message_count(value: Any) -> int:
    """How many messages of the history a call sends."""
    count = int32("history", value)
    if count < 0:
        raise invalid("history", "must be 0 or more messages")
    return count


def tool_rounds(value: Any) -> int:
    """How often a model may ask for tools in one call."""
    count = int32("max_tool_rounds", value)
    if count < 1:
        raise invalid("max_tool_rounds", "must be at least 1")
    return count


def sampling(values: Mapping[str, Any]) -> dict[str, Any]:
    """The sampling fields that are set (not None), checked for type; their ranges are the provider's matter."""
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if value is None:
            continue
        if name in _FLOATS:
            checked[name] = finite(name, value)
        elif name in _INTS:
            checked[name] = int32(name, value)
        else:
            checked[name] = _stop(value)
    return checked


def _stop(value: Any) -> list[str]:
    if not isinstance(value, str | list | tuple):
        raise invalid("stop", "must be a str or a list of str")
    sequences = [value] if isinstance(value, str) else value
    stop = [text(f"stop[{index}]", sequence) for index, sequence in enumerate(sequences)]
    if "" in stop:
        raise invalid("stop", "holds an empty sequence; leave it out")
    return stop


def effort(value: Any) -> agent_pb2.ReasoningEffort:
    """How hard the model thinks, as the contract has it."""
    number = _REASONING_EFFORTS.get(value) if isinstance(value, str) else None
    if number is None:
        raise invalid("reasoning_effort", f"must be one of {', '.join(_REASONING_EFFORTS)}, not {value!r:.80}")
    return number


def effort_name(number: agent_pb2.ReasoningEffort) -> ReasoningEffort | None:
    """The same as a caller writes it; None for the provider's default."""
    names = {value: name for name, value in _REASONING_EFFORTS.items()}
    return cast("ReasoningEffort | None", names.get(number))


def check_labels(value: Any) -> dict[str, str]:
    """Labels of a call for the server's log."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise invalid("labels", f"must be a dict of str, not {type(value).__name__}")
    if len(value) > MAX_LABELS:
        raise invalid("labels", f"must be at most {MAX_LABELS}, not {len(value)}, those of the agent included")
    for key, label in value.items():
        if not isinstance(key, str) or not _LABEL.fullmatch(key):
            cure = "must be 1 to 63 lower-case letters, digits, `_`, `-` or `.`"
            raise invalid("labels", f"has the key {str(key)[:80]!a}, which {cure}")
        if len(text(f"labels.{key}", label)) > MAX_LABEL:
            raise invalid(f"labels.{key}", f"must be at most {MAX_LABEL} characters, not {len(label)}")
    return dict(value)


def check_user(value: Any) -> str:
    """The caller's id of the end user. The error does not repeat it."""
    user = "" if value is None else text("user", value)
    if len(user) > MAX_USER:
        raise invalid("user", f"must be at most {MAX_USER} characters, not {len(user)}")
    return user


def parallel_calls(value: Any) -> bool | None:
    """Whether the model may ask for several calls at once; None: as the provider does."""
    if value is not None and not isinstance(value, bool):
        raise invalid("parallel_tool_calls", f"must be True, False or None, not {type(value).__name__}")
    return value


def logprob_count(value: Any) -> int | None:
    """How many likely tokens are reported for each place of the reply; None for no log probabilities."""
    if value is None or isinstance(value, bool):
        return 0 if value else None
    count = int32("logprobs", value)
    if not 0 <= count <= MAX_LOGPROBS:
        raise invalid(
            "logprobs", f"must be 0 to {MAX_LOGPROBS} likely tokens, or True for the tokens of the reply alone"
        )
    return count


def provider_headers(value: Any) -> dict[str, str]:
    """The caller's own headers for a provider, names in lower case. The error does not repeat their values."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise invalid("provider_headers", f"must be a dict of str, not {type(value).__name__}")
    headers: dict[str, str] = {}
    for name, content in value.items():
        lower = name.lower() if isinstance(name, str) else ""
        if not _HEADER_NAME.fullmatch(lower) or lower.endswith("-bin"):
            cure = "must be 1 to 100 letters, digits, `-`, `_` or `.`, and not end in -bin"
            raise invalid("provider_headers", f"has the name {str(name)[:80]!a}, which {cure}")
        if lower in headers:
            raise invalid(f"provider_headers.{lower}", "is given twice; the case of letters does not count")
        headers[lower] = header(f"provider_headers.{lower}", content)
        if len(headers[lower]) > MAX_KEY:
            raise invalid(f"provider_headers.{lower}", f"must be at most {MAX_KEY:,} characters")
    return headers


def provider_key(value: Any) -> str:
    """The caller's own key for a provider. The error does not repeat it: it is a secret."""
    key = header("api_key", value) if value else ""
    if len(key) > MAX_KEY:
        raise invalid("api_key", f"must be at most {MAX_KEY:,} characters")
    return key


def fallbacks(models: Any) -> list[str]:
    """`fallback_models=`: names of models."""
    if models is None:
        return []
    if isinstance(models, str) or not isinstance(models, Sequence):
        raise invalid("fallback_models", 'must be a list of models, such as ["ollama/llama3.2"]')
    for number, name in enumerate(models):
        if not text(f"fallback_models[{number}]", name):
            raise invalid(f"fallback_models[{number}]", "is empty; write the name of a model")
    return list(models)


def attempts(count: Any) -> int | None:
    """`max_attempts=`: how often providers are asked at most."""
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 10):
        raise invalid("max_attempts", "must be a whole number from 1 to 10")
    return count
