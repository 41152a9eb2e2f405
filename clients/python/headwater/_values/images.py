"""Images, as callers write them and as the contract has them."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headwater._values.names import all_names_nearest
from headwater._values.validation import invalid, text
from headwater.v1 import agent_pb2

_MEDIA_TYPE = re.compile(r"image/[a-z0-9.+-]{1,64}")


@all_names_nearest
@dataclass(frozen=True, slots=True)
class Image:
    """An image: `data` with its `media_type` (such as `image/png`), or a `url` that the provider fetches."""

    data: bytes = field(default=b"", repr=False)
    media_type: str = ""
    url: str = ""


def to_image(name: str, image: Image | Mapping[str, Any]) -> agent_pb2.Image:
    """The message of an image, or of a dict with `data`, `media_type` and `url`. Raises ValidationError."""
    if isinstance(image, Image):
        image = {"data": image.data, "media_type": image.media_type, "url": image.url}
    data, url = image.get("data"), image.get("url")
    if bool(data) == bool(url):
        raise invalid(name, "needs either data (bytes, with media_type) or url")
    if url:
        return _at_url(name, text(f"{name}.url", url))
    if not isinstance(data, bytes | bytearray | memoryview):
        raise invalid(f"{name}.data", "must be bytes; decode base64 first")
    return agent_pb2.Image(data=bytes(data), media_type=_media_type(name, image.get("media_type") or ""))


def _at_url(name: str, url: str) -> agent_pb2.Image:
    if url.startswith(("https://", "http://")):
        return agent_pb2.Image(url=url)
    if not url.startswith("data:"):
        raise invalid(f"{name}.url", "must begin with https://, http:// or data:; give bytes as data instead")
    head, _, encoded = url.removeprefix("data:").partition(",")
    media_type, _, encoding = head.partition(";")
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError:
        data = b""
    if not (data and media_type and encoding == "base64"):
        raise invalid(name, "holds a data: URL that is not data:MEDIA_TYPE;base64,DATA; give bytes as data instead")
    return agent_pb2.Image(data=data, media_type=_media_type(name, media_type))


def _media_type(name: str, value: Any) -> str:
    media_type = text(f"{name}.media_type", value).lower()
    if not media_type:
        raise invalid(f"{name}.media_type", "is missing; write for example image/png")
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise invalid(f"{name}.media_type", f"must be an image's, such as image/png, not {media_type[:100]!r}")
    return media_type
