"""The list of models as OpenAI and Anthropic alike give it: `{"data": [{"id": …}, …]}`."""

from __future__ import annotations

import msgspec

from headwater_server.providers.base import ModelInfo
from headwater_server.providers.wires.json import JSONShape


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


_MODELS = JSONShape(_Models, "a list of models")


def parse_models(body: bytes) -> list[ModelInfo]:
    """The models of such a list. Raises HeadwaterError for another answer."""
    return [ModelInfo(model.id) for model in _MODELS.decode_answer(body).data]
