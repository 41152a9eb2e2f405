"""The provider's own words and codes about an error, wherever they stand in its body.

Every vendor and every proxy nests them otherwise: in `error`, in the first of `errors`, in `message` as JSON text, in
`metadata.raw`, in a list of mistakes, in the title of a page. The walk goes the same way for words and for codes.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from headwater_server.providers.wires.json import read_json
from headwater_server.providers.wires.surrogates import without_surrogates

MAX_MESSAGE = 500
"""Most characters of a provider's message."""

_MAX_TEXT = 64 * 1024
_DEEPEST = 6
_MOST_ITEMS = 5

_WORDS = (
    "error", "errors", "message", "msg", "detail", "errordescription", "errormessage", "errormsg", "errmsg",
    "statusmsg", "baseresp", "faultstring", "fault", "exception", "description", "title", "reason",
)  # fmt: skip
"""The keys that lead to words, in order, in lower case and without underscores: `Message`, `errorMessage`."""

_INNER = ("metadata", "raw", "upstreamerror", "innererror", "cause")
"""The keys that lead to the words of a server behind the one that answers; they are added to its own."""

_CODES = ("errorcode", "code", "reason", "status", "statuscode", "errcode")
_TYPES = ("type", "errortype")
_PLACES = ("error", "errors", "message", "detail", "details", "fault", *_INNER)

_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_HEADING = re.compile(r"<h1[^>]*>(.*?)</h1", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]*>")


@dataclass(slots=True)
class Report:
    """The provider's facts about an error; empty where it gives none.

    Attributes:
        message: one line, at most MAX_MESSAGE characters.
        codes: the words that are meant for programs, the most special first.
        types: kinds of errors, which say less than codes.
        status: an HTTP status that the body repeats; None for none.
        is_page: the body is HTML, so that something in front of the provider has answered.
        value: the body, parsed.
    """

    message: str = ""
    codes: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    request_id: str = ""
    status: int | None = None
    is_page: bool = False
    value: Any = None

    @property
    def code(self) -> str:
        """The code for callers, and where there is none the type."""
        return next(iter(self.codes), "") or next(iter(self.types), "")


def read_body(body: bytes) -> Report:
    """The report in a body of any form."""
    try:
        value = read_json(body)
    except (ValueError, RecursionError):
        text = body[:_MAX_TEXT].decode("utf-8", "replace").strip()
        if _is_page(text):
            return Report(one_line(_page_title(text)), is_page=True)
        return Report("" if "\ufffd" in text else one_line(text))
    return read_value(value)


def read_value(value: Any) -> Report:
    """The report in a JSON value."""
    report = Report(one_line(_words(value, 0)), value=value)
    for kind, found in _facts(value, 0):
        if kind == "request_id":
            report.request_id = report.request_id or found
        elif kind == "type":
            report.types.append(found)
        elif kind == "status" or (found.isdigit() and 400 <= int(found) <= 599):
            report.status = report.status or int(found)
            if kind == "code":
                report.codes.append(found)
        else:
            report.codes.append(found)
    return report


def one_line(text: str) -> str:
    """A message fit for a status: one line without control characters, cut to MAX_MESSAGE."""
    line = "".join(c if c.isprintable() else " " for c in without_surrogates(text[:4000])).strip()
    return line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 1] + "…"


def fields(value: dict[Any, Any]) -> dict[str, Any]:
    """An object by its keys in lower case and without underscores; the first of several alike."""
    found: dict[str, Any] = {}
    for key, each in value.items():
        found.setdefault(str(key).lower().replace("_", ""), each)
    return found


def _words(value: Any, depth: int) -> str:
    if depth > _DEEPEST:
        return ""
    if isinstance(value, str):
        return _words_in_text(value.strip(), depth)
    if isinstance(value, list):
        found = [words for item in value[:_MOST_ITEMS] if (words := _words(item, depth + 1))]
        return "; ".join(dict.fromkeys(found))
    return _words_of_object(value, depth) if isinstance(value, dict) else ""


def _words_in_text(text: str, depth: int) -> str:
    if text[:1] in ("{", "["):
        try:
            return _words(read_json(text[:_MAX_TEXT]), depth + 1) or text
        except (ValueError, RecursionError):
            return text
    return _page_title(text) if _is_page(text) else text


def _words_of_object(value: dict[Any, Any], depth: int) -> str:
    by_key = fields(value)
    where = by_key.get("loc")
    place = ".".join(str(step) for step in where) + ": " if isinstance(where, list) and where else ""
    found = [words for key in _WORDS if key in by_key and (words := _words(by_key[key], depth + 1))]
    if isinstance(by_key.get("error"), str) and len(found) > 1 and " " not in found[0]:
        found = found[1:]  # `{"error": "invalid_request", "error_description": ...}`: the first is a code
    words = next(iter(found), "")
    for key in _INNER:
        inner = _words(by_key.get(key), depth + 1)
        if inner and inner not in words:
            words = f"{words}: {inner}" if words else inner
    return place + words if words else ""


def _facts(value: Any, depth: int) -> Iterator[tuple[str, str]]:
    """The codes, types and ids of an error, each with its kind: the outer object's, then those within."""
    if depth > _DEEPEST:
        return
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            value = read_json(value[:_MAX_TEXT])
        except (ValueError, RecursionError):
            return
    if isinstance(value, list):
        for item in value[:_MOST_ITEMS]:
            yield from _facts(item, depth + 1)
    if not isinstance(value, dict):
        return
    by_key = fields(value)
    inner = [fact for key in _PLACES for fact in _facts(by_key.get(key), depth + 1)]
    details = by_key.get("details")
    if isinstance(details, dict | list):  # a detail is more special than the error that has it
        special = [fact for fact in _facts(details, depth + 1) if fact[0] == "code"]
        yield from special
        inner = [fact for fact in inner if fact not in special]
    minimax = by_key.get("baseresp")
    if isinstance(minimax, dict) and (number := _word(minimax.get("status_code"))):
        yield "code", f"base_resp-{number}"
    yield from _own_facts(by_key)
    yield from inner


def _own_facts(by_key: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key in _CODES:
        word = _word(by_key.get(key))
        if key in ("status", "statuscode") and word.isdigit():
            if 400 <= int(word[:9]) <= 599:
                yield "status", word
        elif word and " " not in word:
            yield "code", word
    if isinstance(error := by_key.get("error"), str) and re.fullmatch(r"[\w.-]+", error):
        yield "type", _word(error)
    for key in _TYPES:  # AWS writes a type behind a namespace, `com.amazon.coral#ThrottlingException`
        word = _word(by_key.get(key)).rpartition("#")[2]
        if word and word != "error":
            yield "type", word
    for key in ("requestid", "xrequestid"):
        if word := _word(by_key.get(key)):
            yield "request_id", word


def _word(value: Any) -> str:
    """A code as a string: providers send strings and integers."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return one_line(value)[:100] if isinstance(value, str) else format(value, "d")[:100]


def _is_page(text: str) -> bool:
    return re.match(r"<[!?a-zA-Z]", text) is not None


def _page_title(text: str) -> str:
    found = _TITLE.search(text) or _HEADING.search(text)
    return " ".join(html.unescape(_TAG.sub(" ", found[1])).split()) if found else ""
