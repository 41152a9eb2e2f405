"""The list of models, in the shapes that servers give it.

OpenAI's and Anthropic's is `{"data": [{"id": …}, …]}`. Others call the list `models`, or send it alone; or call the id
`name` or `model`; or list the ids themselves. A server without models may say null.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.base import ModelInfo
from headwater_server.providers.wires.json import read_json
from headwater_server.providers.wires.surrogates import without_surrogates

_LISTS = ("data", "models", "body", "result", "items", "model_list")
_NAMES = ("id", "name", "model", "slug", "model_name")


def parse_models(body: bytes) -> list[ModelInfo]:
    """The models of such a list. Raises HeadwaterError for another answer."""
    try:
        value = without_surrogates(read_json(body))
    except (ValueError, RecursionError):
        value = body
    models = _list_in(value)
    if models is None:
        message = "The provider sent something that is not a list of models"
        raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, message)
    return [ModelInfo(name) for name in dict.fromkeys(_names(models))]


def _list_in(value: Any) -> list[Any] | None:
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return None
    for key in _LISTS:
        if key in value:
            found = value[key]
            if isinstance(found, dict):  # a list within a list's place, or ids as keys
                return _list_in(found) or list(found)
            return found if isinstance(found, list) else [] if found is None else None
    return None


def _names(models: list[Any]) -> Iterator[str]:
    for model in models:
        found = next((model[key] for key in _NAMES if model.get(key)), "") if isinstance(model, dict) else model
        if isinstance(found, str | int) and not isinstance(found, bool) and found != "":
            yield str(found)
