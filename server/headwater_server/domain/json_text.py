"""Reads and writes JSON in the narrow sense that all languages share: no NaN, no lone surrogate, no great depth."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

MAX_DEPTH = 100

_FENCE = re.compile(r"\s*```(?:json)?[ \t\r]*\n(.*)\n[ \t]*```\s*", re.DOTALL | re.IGNORECASE)


def parse_json(text: str, depth: int = MAX_DEPTH) -> Any:
    """The value. Raises ValueError that names the fault of the text, as the end of a sentence about it."""
    try:
        value = json.loads(text, parse_constant=_no_such_number, parse_float=_finite)
        to_json(value).encode()
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} at character {error.pos}") from error
    except UnicodeEncodeError as error:
        raise ValueError("is not JSON: it has half of a surrogate pair, which is not text") from error
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        raise ValueError(f"is not JSON: it has a number that JSON does not have: {error}") from error
    if text.count("[") + text.count("{") > depth and is_deep(value, depth):
        raise _too_deep()
    return value


def unfenced(text: str) -> str:
    """A reply that is to be JSON, without the byte order mark and fence of Markdown that some models put around it."""
    text = text.removeprefix("\ufeff")
    fenced = _FENCE.fullmatch(text)
    return (fenced[1] if fenced else text).strip()


def to_json(value: Any) -> str:
    """The text of a value; numbers stay what they are, keys keep their order."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _too_deep() -> ValueError:
    return ValueError(f"is not JSON that can be kept: it is too deep, nested more than {MAX_DEPTH} levels")


def _no_such_number(name: str) -> NoReturn:
    raise ValueError(f"{name}; send null or a string")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is too large for a float")
    return number


def is_deep(value: Any, depth: int = MAX_DEPTH) -> bool:
    """Whether a JSON value is nested more than so many levels."""
    level = [value]
    for _ in range(depth):
        level = [
            item
            for container in level
            if isinstance(container, dict | list)
            for item in (container.values() if isinstance(container, dict) else container)
        ]
    return any(isinstance(item, dict | list) for item in level)
