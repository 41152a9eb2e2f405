"""Finds the addresses in a request that its provider may fetch, and refuses those that lead into a private network.

Headwater fetches none of them. They stand in images, in fields of the provider's own (`provider_options`), in data that
a caller brings back for it (`provider_data`) and in references of JSON Schemas. A text there is an address when it
begins with a scheme that programs fetch; of a longer text the first word is judged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import msgspec

from headwater_server.domain.errors import FieldViolation, invalid_request
from headwater_server.domain.limits import MAX_VIOLATIONS
from headwater_server.domain.messages import ChatRequest, Image, Part, Text, ToolResult
from headwater_server.providers.caller_urls.hosts import FORM, NOT_PUBLIC, mistake_of
from headwater_server.providers.own_data import provider_data

Judge: TypeAlias = Callable[[str], str]
"""Why a text may not be handed on; empty when it may."""
Found: TypeAlias = Iterator[tuple[str, str]]
"""Fields and their mistakes."""

_FETCHED = frozenset({"http", "https", "ws", "wss", "ftp", "ftps"})
_NEVER = frozenset({"file", "jar", "netdoc", "gopher", "dict", "ldap", "ldaps", "tftp", "sftp", "smb", "view-source"})
_DROPPED = re.compile(r"[\t\r\n]")
"""Signs that browsers take out of an address."""
_BEGINNING = re.compile(r"[\x00-\x20]*(?:([A-Za-z][A-Za-z0-9+.-]{0,20}):)?([/\\]*)([^\x00-\x20]*)")
_MAY_HOLD_ADDRESS = re.compile(r"\\|//|(?:https?|wss?|ftps?|file)\s*:", re.IGNORECASE)
_REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef", "$id", "$schema"})
_SHOWN_KEY = 64


def check_urls(chat: ChatRequest, provider: str, *, allow_private: bool) -> None:
    """Raises HeadwaterError (INVALID_REQUEST), which names each address that may not be handed to the provider.

    Args:
        chat: the request to the provider.
        provider: its name.
        allow_private: whether it may be asked to fetch from a private network.
    """
    if not (chat.provider_options or chat.tools or chat.response_format) and _has_text_alone(chat):
        return
    bad = []
    for field, what in _mistakes(chat, provider, partial(mistake_of, allow_private=allow_private)):
        cure = f"; send the data itself, or set allow_private_urls of {provider} in the server's configuration"
        bad.append(FieldViolation(field, what + (cure if what.endswith(NOT_PUBLIC) else "")))
        if len(bad) == MAX_VIOLATIONS:
            break
    if bad:
        raise invalid_request(bad)


def _has_text_alone(chat: ChatRequest) -> bool:
    for message in chat.messages:
        for part in message.parts:
            if not isinstance(part, Text) or part.provider_data is not None:
                return False
    return True


def _mistakes(chat: ChatRequest, provider: str, judge: Judge) -> Found:
    for number, message in enumerate(chat.messages):
        for place, part in enumerate(message.parts):
            if not isinstance(part, Text) or part.provider_data is not None:
                yield from _in_part(part, f"messages[{number}].parts[{place}]", judge)
    if chat.provider_options:
        yield from _in_value(chat.provider_options, f"provider_options.{provider}", judge)
    for number, tool in enumerate(chat.tools):
        yield from _references(tool.parameters, f"tools[{number}].function.parameters_json", judge)
    if chat.response_format is not None:
        yield from _references(chat.response_format.schema, "response_format.schema_json", judge)


def _in_part(part: Part, path: str, judge: Judge) -> Found:
    if isinstance(part, Image):
        if part.url and (what := judge(part.url)):
            yield f"{path}.image.url", what
    elif isinstance(part, ToolResult):
        for index, item in enumerate(part.parts):
            yield from _in_part(item, f"{path}.tool_result.parts[{index}]", judge)
    elif (data := provider_data(part)) is not None and _MAY_HOLD_ADDRESS.search(data.data_json):
        try:
            value = msgspec.json.decode(data.data_json.encode())
        except (ValueError, RecursionError, msgspec.MsgspecError):
            return  # the wire says so
        # Its paths are the provider's own, and mean nothing to the caller.
        for _, what in _in_value(value, "", judge):
            yield f"{path}.provider_data.data_json", what
            return


def _in_value(value: Any, path: str, judge: Judge) -> Found:
    """The bad addresses in a JSON value."""
    if isinstance(value, str):
        if what := _mistake_of_text(value, judge):
            yield path, what
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _in_value(item, f"{path}.{key[:_SHOWN_KEY]}", judge)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _in_value(item, f"{path}[{index}]", judge)


def _references(value: Any, path: str, judge: Judge) -> Found:
    """The bad addresses among the references of a JSON Schema: some programs fetch them."""
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str):
                if key in _REFERENCES and (what := _mistake_of_text(item, judge)):
                    yield path, f"has a {key} that {what}"
            else:
                yield from _references(item, path, judge)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item, path, judge)


def _mistake_of_text(text: str, judge: Judge) -> str:
    """Why a text is an address that may not be handed on; empty for one that may, and for other text."""
    if ":" not in text and "//" not in text and "\\" not in text:
        return ""
    found = _BEGINNING.match(_DROPPED.sub("", text))
    if found is None:
        return ""
    scheme, slashes, rest = (found[1] or "").lower(), found[2], found[3]
    if not rest or (not scheme and len(slashes) < 2):
        return ""
    if scheme in _NEVER and (slashes or ":" in rest):
        return f"begins with {scheme}:, which no provider may be asked to read; {FORM}"
    if scheme and scheme not in _FETCHED:
        return ""
    if slashes != "//":
        return f"begins with an address that programs read differently; {FORM}"
    return judge(f"{scheme or 'http'}://{rest}")
