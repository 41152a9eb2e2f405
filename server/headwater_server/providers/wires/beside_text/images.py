"""Pictures of a reply.

Most servers send a picture as a `data:` URL or as base64, somewhere in an object of a few shapes; some give an address.
Pictures come once: with the item and once more with the whole they are the same.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

from headwater_server.domain.limits import MAX_IMAGE_BYTES
from headwater_server.domain.messages import Image
from headwater_server.providers.wires.surrogates import without_surrogates

MAX_IMAGES = 1000
MAX_URL = 8 * 1024

_DEEPEST = 4
_MEDIA_TYPE = re.compile(r"image/[a-z0-9.+-]{1,64}")
_DATA_URL = re.compile(r"data:([^;,]{0,100})(?:;[^;,]{0,100}){0,5}?;base64,", re.IGNORECASE)
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_NESTED = ("image_url", "imageUrl", "inlineData", "fileData", "source", "image")
_BASE64 = ("data", "b64_json", "result")
_URLS = ("url", "fileUri", "image_url")
_MEDIA_TYPES = ("media_type", "mimeType", "mime_type")
_MAGIC = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)


class Images:
    """The pictures of one reply.

    Attributes:
        dropped: the number of those that were too many or too large, or had no data that can be read.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._known: set[int] = set()

    def new(self, value: Any) -> list[Image]:
        """The pictures in a value of any shape that have not come before."""
        return [image for image in self._images(value, 0) if self._is_new(image)]

    def _is_new(self, image: Image) -> bool:
        mark = hash(image)
        if mark in self._known:
            return False
        if len(image.data) > MAX_IMAGE_BYTES or len(image.url) > MAX_URL or len(self._known) >= MAX_IMAGES:
            self.dropped += 1
            return False
        self._known.add(mark)
        return True

    def _images(self, value: Any, depth: int, media_type: str = "") -> Iterator[Image]:
        if isinstance(value, str):
            yield from self._at(value, media_type)
        elif depth > _DEEPEST:
            return
        elif isinstance(value, list):
            for item in value:
                yield from self._images(item, depth + 1)
        elif isinstance(value, dict):
            yield from self._object(value, depth)

    def _object(self, value: dict[str, Any], depth: int) -> Iterator[Image]:
        media_type = next((str(value[name]).lower() for name in _MEDIA_TYPES if value.get(name)), "")
        if media_type and not _MEDIA_TYPE.fullmatch(media_type):
            return  # a sound or a document
        for name in _NESTED:
            if isinstance(value.get(name), dict):
                yield from self._images(value[name], depth + 1)
                return
        for name in _BASE64:
            if isinstance(value.get(name), str) and value[name]:
                yield from self._decoded(value[name], media_type)
                return
        for name in _URLS:
            if isinstance(value.get(name), str):
                yield from self._at(value[name], media_type)
                return

    def _at(self, url: str, media_type: str) -> Iterator[Image]:
        if url.startswith(("https://", "http://")):
            yield Image(url=without_surrogates(url))
        elif head := _DATA_URL.match(url):
            yield from self._decoded(url[head.end() :], head[1].lower() or media_type)

    def _decoded(self, text: str, media_type: str) -> Iterator[Image]:
        if head := _DATA_URL.match(text):
            text, media_type = text[head.end() :], head[1].lower() or media_type
        try:
            coded = text.encode("ascii").translate(_URL_SAFE, b" \t\r\n").rstrip(b"=")
            data = base64.b64decode(coded + b"=" * (-len(coded) % 4), validate=True)
        except ValueError:
            data = b""
        kind = next((kind for magic, kind in _MAGIC if data.startswith(magic)), media_type or "image/png")
        if data and _MEDIA_TYPE.fullmatch(kind):
            yield Image(data, kind)
        else:
            self.dropped += 1


def parts_with_images(content: Any) -> list[Any]:
    """The parts of a content that hold a picture."""
    parts = content if isinstance(content, list) else []
    return [part for part in parts if isinstance(part, dict) and "image" in str(part.get("type"))]
