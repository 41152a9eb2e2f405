"""A run's context on the caller's side: values out as JSON, JSON values back into the caller's own dict."""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from typing import Any

from headwater._values.json_values import NotJsonError, checked_json, converted
from headwater._values.validation import invalid


def context_text(context: Any) -> str:
    """The context that a run begins with, as JSON text.

    Raises:
        ValidationError: it is no dict, holds what does not convert to JSON (the key is named), or is over 1 MiB.
    """
    if context is None:
        return "{}"
    if not isinstance(context, MutableMapping):  # it will hold the final context
        raise invalid("context", f"must be a dict, not {type(context).__name__}")
    return checked_json("context", dict(context))


def update(own: MutableMapping[str, Any], final: Mapping[str, Any]) -> None:
    """Make the caller's dict hold the final context. A value that is the same as before stays the very object."""
    for key in [key for key in own if key not in final]:
        del own[key]
    for key, value in final.items():
        if key not in own or not _same(own[key], value):
            own[key] = value


def _same(before: Any, now: Any) -> bool:
    """As JSON: 3, 3.0 and True are equal in Python, and a model is the same as what it converts to."""
    try:
        return json.dumps(converted("", before), sort_keys=True) == json.dumps(now, sort_keys=True)
    except NotJsonError:  # it was changed to something else meanwhile
        return False
