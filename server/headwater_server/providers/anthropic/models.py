"""Facts about Anthropic's models that follow from their names."""

from __future__ import annotations

import re

from headwater_server.domain.messages import ALL_EFFORTS
from headwater_server.providers.model_names import base_name, version

_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_WITHOUT_SAMPLING = re.compile(r"claude-(fable|mythos)(-|$)")
_LAST_WITH_SAMPLING = (4, 6)
_FIRST_WITH_THINKING = (3, 7)
_FIRST_WITH_EFFORT = (4, 6)
_FIRST_THAT_ALWAYS_THINKS = (5, 5)
_FIRST_THAT_BINDS_THINKING = (5, 1)
_ANYWHERE = re.compile(rf"(?:^|[./]){_VERSION.pattern}")  # behind `anthropic.` or `anthropic/` at other services


def takes_sampling(model: str) -> bool:
    """Whether the model takes temperature and top_p; unknown names, such as a local model's, do."""
    name = base_name(model)
    if _WITHOUT_SAMPLING.match(name):
        return False
    found = _VERSION.match(name)
    return found is None or version(found) <= _LAST_WITH_SAMPLING


def efforts(model: str) -> frozenset[str]:
    """The efforts that the model takes; unknown names, such as a local model's, take none."""
    name = base_name(model)
    if _WITHOUT_SAMPLING.match(name):
        return ALL_EFFORTS - {"none"}
    found = _VERSION.match(name)
    number = version(found) if found else (0, 0)
    if number < _FIRST_WITH_THINKING:
        return frozenset()
    if number < _FIRST_WITH_EFFORT:
        return frozenset({"none"})
    taken = ALL_EFFORTS if number > _FIRST_WITH_EFFORT else ALL_EFFORTS - {"xhigh"}
    always_thinks = number >= _FIRST_THAT_ALWAYS_THINKS and not name.startswith("claude-haiku-")
    return taken - {"none"} if always_thinks else taken


def binds_thinking(model: str) -> bool:
    """Whether the model takes thinking back only in the conversation in which it came. Mythos 5.1 takes any."""
    name = base_name(model)
    found = _ANYWHERE.search(name)
    return found is not None and version(found) >= _FIRST_THAT_BINDS_THINKING and "claude-mythos-5-1" not in name


def thinks_when_asked(model: str) -> bool:
    """Whether the model takes an effort, but thinks only where the request says so."""
    found = _VERSION.match(base_name(model))
    return found is not None and version(found) == _FIRST_WITH_EFFORT
