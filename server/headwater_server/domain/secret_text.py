"""Texts that may hold a secret, for messages and for the display of settings.

People paste keys where names belong: into `api_key_env`, a header, a program's arguments. So a setting is quoted only
as far as it does not look like a key.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from urllib.parse import quote, unquote

HIDDEN = "***"

SHORTEST_KEY = 8
"""A shorter text is no key of a provider's, and its letters stand in any sentence."""

_KEYS_AT_ONCE = 256
_SHORTEST_BEGINNING = 6

_VARIABLE = re.compile(r"[A-Z]{1,20}[0-9]{0,2}(?:_[A-Z]{0,20}[0-9]{0,2}){0,8}")
_SECRETIVE = re.compile(r"key|token|secret|auth|passw|pwd|cookie|signature|^sig$|credential", re.IGNORECASE)
_LOGIN = re.compile(r"(?<=//)[^/?#\s]*(?=@)|^[^/?#\s@]+:[^/?#\s@]*(?=@)")
_PREFIXED = re.compile(r"(?<![A-Za-z0-9])(?:sk|pk|rk|gsk|hf|r8|xai|ghp|glpat)[-_][A-Za-z0-9_-]{6,}")
_WORD = re.compile(r"(?<![/\w])[A-Za-z0-9+=~]{16,}(?![/\w])")
_UUID = re.compile(r"(?<![/\w-])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![/\w-])")
_NAME = re.compile(r"[A-Za-z0-9_.:/@+=~,%#|\[\]-]{1,200}")
_WITH_VARIABLES = re.compile(r"(?:(?:Bearer|Basic|Token) )?(?:\$\{\w+\})+")


def named_variable(text: str) -> str:
    """A variable of the environment for a message: its name, or no name where the text does not look like one."""
    return text if _VARIABLE.fullmatch(text) else "a variable"


def without_secrets(text: str) -> str:
    """The text without parts that look like keys, and without logins in addresses."""
    for pattern in (_LOGIN, _PREFIXED, _UUID):
        text = pattern.sub(HIDDEN, text)
    return _WORD.sub(lambda found: HIDDEN if _is_mixed(found[0]) else found[0], text)


def shown_value(name: str, text: str) -> str:
    """The value of a header, of a parameter or of an argument, for the display of settings.

    Args:
        name: of the header or so; after one that speaks of a key, only variables (`${NAME}`) are shown.
        text: the value.
    """
    if speaks_of_a_key(name):
        return text if _WITH_VARIABLES.fullmatch(text) else HIDDEN
    return without_secrets(text)


def speaks_of_a_key(name: str) -> bool:
    """Whether the value behind a name is a key, as far as the name says."""
    return _SECRETIVE.search(name) is not None


def shown_command(arguments: list[str]) -> list[str]:
    """A program and its arguments, for the display of settings: without the values of options that speak of a key."""
    shown: list[str] = []
    before = ""
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if equals:
            shown.append(f"{option}={shown_value(option, value)}")
        else:
            shown.append(shown_value(before if before.startswith("-") else "", argument))
        before = argument
    return shown


def without(secrets: Iterable[str], text: str) -> str:
    """The text without these secrets, however they are encoded there, nor a beginning of one where the text was cut."""
    for secret in secrets:
        if len(secret) >= SHORTEST_KEY:
            text = _without_beginning(secret, _pattern(secret).sub(HIDDEN, text))
    return text


@lru_cache(_KEYS_AT_ONCE)
def _pattern(secret: str) -> re.Pattern[str]:
    """Finds a secret: plain, in percent codes once or twice, in hexadecimal digits, and in base64 behind other text,
    such as the `user:` of a login.
    """
    data = secret.encode("utf-8", "surrogatepass")
    forms = {secret, data.hex()}
    for safe in ("", "/"):
        once = quote(data, safe)
        forms |= {once, quote(once, safe)}
    for offset in range(3):
        code = base64.b64encode(bytes(offset) + data).decode().rstrip("=")
        whole = code[(0, 2, 3)[offset] : -1]  # the letters at the ends depend on the neighbours too
        forms |= {whole, whole.replace("+", "-").replace("/", "_")}
    return re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))), re.IGNORECASE)


def _without_beginning(secret: str, text: str) -> str:
    if secret[:_SHORTEST_BEGINNING] not in text:
        return text
    bare = text.rstrip("….")
    for length in range(min(len(secret), len(bare)), _SHORTEST_BEGINNING - 1, -1):
        if bare.endswith(secret[:length]):
            return bare[:-length] + HIDDEN
    return text


def secrets_in(name: str, value: str) -> list[str]:
    """The texts that must not be repeated of the value of a header or a parameter: all of one that the display hides,
    and its words, for `Bearer KEY`.
    """
    return [value, *value.split()] if shown_value(name, value) != value else []


def _is_mixed(word: str) -> bool:
    """Whether letters and digits alternate as they do in keys, and not in names such as `sonnet20241022`."""
    return sum(one.isdigit() != other.isdigit() for one, other in pairwise(word)) >= 3


def looks_like_name(text: str) -> bool:
    """Whether a text of a caller or a provider may be shown where a name belongs."""
    return _NAME.fullmatch(text) is not None and ("%" not in text or _NAME.fullmatch(unquote(text)) is not None)
