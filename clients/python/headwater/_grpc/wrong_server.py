"""The errors for answers that no right server gives: a broken one, another protocol's, or a hostile one's."""

from __future__ import annotations

import json
from typing import Any

from headwater.exceptions import HeadwaterError

_CURE = "the server is broken, or of another version than this client; update both, and see that target= is Headwater's"

MAX_PAGES = 1_000
UNREADABLE = "bytes that are no message of the contract"


def wrong(what: str) -> HeadwaterError:
    """The error for something that the server sent, in words that follow `the server sent`."""
    return HeadwaterError(wrong_text(what))


def wrong_text(what: str) -> str:
    """The message of such an error."""
    return f"the server sent {what}: {_CURE}"


def json_of(what: str, written: str) -> Any:
    """The value of a JSON text of the server; `what` names it. An empty text is None. Raises HeadwaterError."""
    try:
        return json.loads(written) if written else None
    except (ValueError, RecursionError) as error:
        raise wrong(f"{what} that is no JSON ({type(error).__name__})") from None


def object_of(what: str, written: str) -> dict[str, Any]:
    """The same for one that must be a JSON object. An empty text is an empty object."""
    value = json_of(what, written or "{}")
    if not isinstance(value, dict):
        raise wrong(f"{what} that is no JSON object")
    return value


def name_of(numbers: Any, number: int, prefix: str, label: str) -> str:
    """The name of an enum's value that must be set and known, without its prefix. Raises HeadwaterError.

    Args:
        numbers: the enum of the contract.
        number: the value.
        prefix: the beginning of all names.
        label: the value in the error.
    """
    known = numbers.DESCRIPTOR.values_by_number.get(number)
    if known is None or not number:
        raise wrong(f"{label} {number}, which this client does not know")
    return str(known.name.removeprefix(prefix))


class Pages:
    """The pages of a list so far: a right server's have an end."""

    def __init__(self) -> None:
        self._tokens: set[str] = set()

    def next(self, token: str) -> str:
        """The token of the next page. Raises HeadwaterError when it had come before, or after very many."""
        if token in self._tokens or len(self._tokens) >= MAX_PAGES:
            raise wrong("a list without an end")
        self._tokens.add(token)
        return token
