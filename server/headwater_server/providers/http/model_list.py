"""The list of models, in the shapes that servers give it.

OpenAI's and Anthropic's is `{"data": [{"id": …}, …]}`. Others call the list `models`, or send it alone; or call the id
`name` or `model`; or list the ids themselves. A server without models may say null, or nothing at all. llama.cpp sends
its list twice, in OpenAI's shape and in Ollama's. Azure and Cloudflare have ids of a record, and names that are asked
for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.limits import MAX_NAME
from headwater_server.providers.base import ModelInfo
from headwater_server.providers.wires.errors import is_error, stream_error
from headwater_server.providers.wires.json import read_json
from headwater_server.providers.wires.surrogates import without_surrogates

_LISTS = (
    *("data", "models", "body", "result", "items", "model_list", "publisherModels", "modelSummaries"),
    *("model_names", "resources"),
)
_NAMES = ("id", "name", "model", "slug", "model_name", "key", "modelId", "model_id")
_RECORD = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[a-z]+://.*", re.IGNORECASE | re.DOTALL)
"""Ids that no server takes as a model while it has another name: a UUID, an address."""


def parse_models(body: bytes) -> list[ModelInfo]:
    """The models of such a list, each once, with their abilities where it has them.

    Raises HeadwaterError for another answer, in the provider's words where it is an error.
    """
    try:
        value = without_surrogates(read_json(body))
    except (ValueError, RecursionError):
        value = body
    models = _list_in(value)
    if models is None:
        if isinstance(value, dict) and is_error(value):
            raise stream_error(value)
        message = "The provider sent something that is not a list of models"
        raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, message)
    found: dict[str, ModelInfo] = {}
    for model in models:
        if 0 < len(name := _name(model)) <= MAX_NAME:
            found.setdefault(name, ModelInfo(name, _abilities(model)))
    return list(found.values())


def _list_in(value: Any) -> list[Any] | None:
    """The first list that is not empty; an empty one where there is no other, None where there is none at all."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return None
    lists = [_list_at(value[key]) for key in _LISTS if key in value] if value else [[]]
    return next(filter(None, lists), next((each for each in lists if each is not None), None))


def _list_at(found: Any) -> list[Any] | None:
    """The list in a list's place: a list within, ids as keys, or null for none."""
    if found is None:
        return []
    inner = _list_in(found)
    return list(found) if inner is None and isinstance(found, dict) else inner


def _name(model: Any) -> str:
    names = list(_words(model[key] for key in _NAMES if key in model) if isinstance(model, dict) else _words([model]))
    return next((name for name in names if not _RECORD.fullmatch(name)), names[0] if names else "")


def _words(values: Any) -> Iterator[str]:
    for value in values:
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            yield str(value)


def _abilities(model: Any) -> tuple[str, ...]:
    abilities = model.get("capabilities") if isinstance(model, dict) else None
    return tuple(each for each in abilities if isinstance(each, str)) if isinstance(abilities, list) else ()
