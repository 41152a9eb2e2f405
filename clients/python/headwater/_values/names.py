"""Refuses names that are almost one of ours: a misspelt one would have no effect, and no error would say so."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)

_ALIKE = 0.88
"""Of difflib: `max_token` and `temprature` are alike enough, `top_k` and `min_tokens` are not."""
_SOMEWHAT_ALIKE = 0.6
"""Where no other name is taken, so that the name is wrong anyhow."""


def nearest(name: str, known: Iterable[str], *, only_these: bool = False) -> str | None:
    """The known name that a misspelt one almost is; None when there is none.

    Args:
        name: the misspelt name.
        known: the names that it may be.
        only_these: no other name is taken, so that one that is less alike is worth naming too.
    """
    lowered = name.lower()
    names = [each for each in known if each != name]
    for each in names:
        if sorted(each.lower()) == sorted(lowered):  # two letters changed places
            return each
    by_lower = {each.lower(): each for each in names}
    found = difflib.get_close_matches(lowered, by_lower, 1, _SOMEWHAT_ALIKE if only_these else _ALIKE)
    return by_lower[found[0]] if found else None


def advice(name: str, known: Iterable[str]) -> str:
    """The end of an error for a name that is not among those that are taken."""
    names = list(known)
    meant = nearest(name, names, only_these=True)
    return f"; did you mean {meant}?" if meant else f"; there are {', '.join(names)}"


def names_nearest(function: F) -> F:
    """Name the nearest argument in the TypeError for one that a function does not have."""
    known = [name for name in inspect.signature(function).parameters if name != "self"]

    def check(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for name in kwargs:
            if name not in known:
                raise TypeError(f"{_called(function, args)}() has no argument {name!r}{advice(name, known)}")

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        check(args, kwargs)
        return function(*args, **kwargs)

    @functools.wraps(function)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        check(args, kwargs)
        return await function(*args, **kwargs)

    return cast("F", call_async if inspect.iscoroutinefunction(function) else call)


def all_names_nearest(kind: C) -> C:
    """`names_nearest` for the methods of a class, and the same for its attributes, where they are set and read."""
    for name, member in list(vars(kind).items()):
        if inspect.isfunction(member) and (name == "__init__" or not name.startswith("_")) and not _takes_any(member):
            setattr(kind, name, names_nearest(member))
    members = {name: member for name, member in inspect.getmembers(kind) if not name.startswith("_")}
    settings = {name for name in inspect.signature(kind).parameters if name not in ("args", "kwargs")}
    settings |= {name for name, member in members.items() if inspect.isdatadescriptor(member)}
    set_attribute = cast("Callable[[Any, str, Any], None]", kind.__setattr__)

    def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807
        if not name.startswith("_") and name not in settings and not hasattr(self, name):
            meant = nearest(name, settings)
            if meant is not None:
                raise AttributeError(f"{type(self).__name__} has no setting {name!r}; did you mean {meant}?")
        set_attribute(self, name, value)

    def __getattr__(self: Any, name: str) -> Any:  # noqa: N807
        meant = None if name.startswith("_") else nearest(name, {*settings, *members})
        advice = f"; did you mean {meant}?" if meant else ""
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{advice}")

    # Assigned by name, so that type checkers still refuse attributes that a class does not have.
    for method in (__setattr__, __getattr__):
        setattr(kind, method.__name__, method)
    return kind


def _takes_any(function: Callable[..., Any]) -> bool:
    """Whether it takes keywords of any name."""
    return any(each.kind is each.VAR_KEYWORD for each in inspect.signature(function).parameters.values())


def _called(function: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """The name under which the caller knows the function."""
    return type(args[0]).__name__ if function.__name__ == "__init__" else function.__name__
