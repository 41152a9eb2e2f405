"""Data that providers want back with the parts of a conversation: kept for its owner, left out for any other."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import replace

from headwater_server.domain.errors import invalid
from headwater_server.domain.messages import (
    ChatRequest,
    Image,
    Message,
    Part,
    ProviderData,
    RedactedThinking,
    Thinking,
    ToolResult,
)

_WITHOUT_DATA = (Image, ToolResult)


@lru_cache(maxsize=256)
def account_fingerprint(base_url: str, key: str) -> str:
    """Tells accounts apart, without a way back to address or key: 16 hexadecimal digits."""
    return hashlib.blake2b(base_url.encode(), key=hashlib.sha256(key.encode()).digest(), digest_size=8).hexdigest()


def only_data_of(request: ChatRequest, provider: str, account: str) -> ChatRequest:
    """The request with the data of this provider and account alone; that of others is left out."""
    known = []
    for message in request.messages:
        for part in message.parts:
            if not isinstance(part, _WITHOUT_DATA) and part.provider_data:
                known.append(part.provider_data)
    if not known or all((data.provider, data.account) == (provider, account) for data in known):
        return request

    def is_foreign(part: Part) -> bool:
        data = provider_data(part)
        return data is not None and (data.provider, data.account) != (provider, account)

    def own(message: Message) -> Message:
        parts = (_without_data(part) if is_foreign(part) else part for part in message.parts)
        return replace(message, parts=tuple(parts))

    return replace(request, messages=tuple(own(message) for message in request.messages))


def without_thinking(request: ChatRequest) -> ChatRequest:
    """The request without the thinking of other accounts: that which has no data of the account asked."""

    def kept(message: Message) -> tuple[Part, ...]:
        is_thinking = Thinking | RedactedThinking
        return tuple(part for part in message.parts if not isinstance(part, is_thinking) or part.provider_data)

    messages = (replace(message, parts=kept(message)) for message in request.messages)
    return replace(request, messages=tuple(message for message in messages if message.parts))


def provider_data(part: Part) -> ProviderData | None:
    """The data that the provider wants back with the part."""
    return None if isinstance(part, Image | ToolResult) else part.provider_data


def _without_data(part: Part) -> Part:
    return part if isinstance(part, Image | ToolResult) else replace(part, provider_data=None)


def data_object(part: Part, field: str) -> dict[str, Any]:
    """The provider's data of a part as an object; empty when there is none.

    Raises HeadwaterError (INVALID_REQUEST) for text that is no JSON object: only a caller can have changed it.
    """
    data = provider_data(part)
    if data is None:
        return {}
    try:
        return msgspec.json.decode(data.data_json.encode(), type=dict[str, Any])
    except (ValueError, RecursionError, msgspec.MsgspecError):
        raise invalid(
            f"{field}.provider_data.data_json", "is not as the provider sent it; copy it from the reply's message"
        ) from None
