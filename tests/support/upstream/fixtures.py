"""The canned and the recorded responses of `tests/recorded`, in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parents[2] / "recorded"


@dataclass(frozen=True)
class Fixture:
    """A canned response: the bytes, and the result of a right client. See the README beside the files."""

    name: str
    body: bytes
    about: dict[str, Any]

    @property
    def endpoint(self) -> str:
        """Method and path, such as `POST /v1/messages`."""
        return str(self.about["endpoint"])

    @property
    def status(self) -> int:
        return int(self.about["status"])

    @property
    def headers(self) -> dict[str, str]:
        """Names in lower case."""
        return {name.lower(): value for name, value in self.about["headers"].items()}

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")

    @property
    def ends_clean(self) -> bool:
        """The body ended by the rules of HTTP."""
        return str(self.about["end"]) == "clean"

    @property
    def expected(self) -> dict[str, Any]:
        return dict(self.about["expected"])

    @property
    def then(self) -> Fixture | None:
        """The answer to results of tools; None when there is none."""
        later = self.about.get("then")
        if not later:
            return None
        about = {"endpoint": self.endpoint, **later[0]}
        return Fixture(f"{self.name}.2", (RECORDED / "field" / later[0]["body"]).read_bytes(), about)

    def pieces(self) -> list[bytes]:
        """The body, cut where the writes of the server ended."""
        cuts = [0, *self.about.get("boundaries", []), len(self.body)]
        return [self.body[a:b] for a, b in pairwise(cuts) if a < b]


@dataclass(frozen=True)
class Recorded:
    """A response of a real server, as it came over the socket."""

    name: str
    method: str
    path: str
    status: int
    headers: dict[str, str]
    pieces: tuple[bytes, ...]
    ends_clean: bool

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")


@cache
def load_fixtures() -> dict[str, Fixture]:
    """All canned responses, by name."""
    return {
        path.stem: Fixture(path.stem, path.with_suffix(".body").read_bytes(), json.loads(path.read_bytes()))
        for path in sorted((RECORDED / "fixtures").glob("*.json"))
    }


@cache
def load_gemini() -> dict[str, Fixture]:
    """All answers of `gemini`, by name."""
    return {
        path.stem: Fixture(path.stem, path.with_suffix(".body").read_bytes(), json.loads(path.read_bytes()))
        for path in sorted((RECORDED / "gemini").glob("*.json"))
    }


@cache
def load_field() -> dict[str, Fixture]:
    """All answers of `field`, by name; those of settings have no body."""
    return {
        path.stem: Fixture(path.stem, body.read_bytes() if body.exists() else b"", json.loads(path.read_bytes()))
        for path in sorted((RECORDED / "field").glob("*.json"))
        for body in [path.with_suffix(".body")]
    }


@cache
def load_recorded() -> dict[str, Recorded]:
    """All recorded responses, by folder and name (`special/utf8_emoji`)."""
    folder = RECORDED / "captures"
    return {
        recorded.name: recorded
        for path in sorted(folder.glob("*/*.response.raw"))
        for recorded in [_recorded(path, f"{path.parent.name}/{path.name.removesuffix('.response.raw')}")]
    }


def same_text(expected: str | dict[str, Any], text: str) -> bool:
    """Whether a text is the expected one, which may be given as a digest."""
    if isinstance(expected, dict):
        return hashlib.sha256(text.encode()).hexdigest() == str(expected["sha256"])
    return text == expected


def same_arguments(expected: Any, arguments: str) -> bool:
    """Whether JSON text of arguments is what is expected: a value, or the digest of its compact form."""
    value = json.loads(arguments)
    if isinstance(expected, dict) and expected.keys() == {"sha256"}:
        compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return same_text(expected, compact)
    return bool(value == expected)


def _recorded(path: Path, name: str) -> Recorded:
    request = next(path.parent.glob(path.name.removesuffix(".response.raw") + ".request.*")).read_bytes()
    method, target, _ = request.split(b"\r\n" if b"\r\n" in request else b"\n", 1)[0].decode().split(" ")
    head, _, rest = path.read_bytes().partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines)
    headers = {field.lower(): value.strip() for field, _, value in fields}
    if headers.get("transfer-encoding") == "chunked":
        pieces = tuple(_chunks(rest))
        ends_clean = rest.endswith(b"0\r\n\r\n")
    else:
        pieces = (rest,)
        ends_clean = len(rest) == int(headers["content-length"])
    return Recorded(name, method, target, int(status_line.split(" ")[1]), headers, pieces, ends_clean)


def _chunks(rest: bytes) -> Iterator[bytes]:
    """The chunks of a chunked body; the last may have been cut."""
    while rest:
        size_line, _, rest = rest.partition(b"\r\n")
        size = int(size_line, 16)
        if size == 0:
            return
        yield rest[:size]
        rest = rest[size:].removeprefix(b"\r\n")
