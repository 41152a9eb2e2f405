"""Refuses names that are almost one of ours: a misspelt one would have no effect, and no error would say so."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])

_ALIKE = 0.88
"""Of difflib: `max_token` and `temprature` are alike enough, `top_k` and `min_tokens` are not."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a misspelt one almost is; None when there is none."""
    lowered = name.lower()
    names = [each for each in known if each != name]
    for each in names:
        if sorted(each) == sorted(lowered):  # two letters changed places
            return each
    found = difflib.get_close_matches(lowered, names, 1, _ALIKE)
    return found[0] if found else None


def names_nearest(function: F) -> F:
    """Name the nearest argument in the TypeError for one that a function does not have."""
    known = [name for name in inspect.signature(function).parameters if name != "self"]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for name in kwargs:
            if name not in known:
                meant = nearest(name, known)
                advice = f"; did you mean {meant}?" if meant else f"; there are {', '.join(known)}"
                raise TypeError(f"{_called(function, args)}() has no argument {name!r}{advice}")
        return function(*args, **kwargs)

    return cast("F", call)


def _called(function: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """The name under which the caller knows the function."""
    return type(args[0]).__name__ if function.__name__ == "__init__" else function.__name__
