"""What is known of Anthropic's models by their names."""

from __future__ import annotations

import re

from headwater_server.providers.model_names import base_name, version

_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_WITHOUT_SAMPLING = re.compile(r"claude-(fable|mythos)(-|$)")
_LAST_WITH_SAMPLING = (4, 6)


def takes_sampling(model: str) -> bool:
    """Whether the model takes temperature and top_p; unknown names, such as a local model's, do."""
    name = base_name(model)
    if _WITHOUT_SAMPLING.match(name):
        return False
    found = _VERSION.match(name)
    return found is None or version(found) <= _LAST_WITH_SAMPLING
