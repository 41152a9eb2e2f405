"""Methods that take the arguments of another method, without writing those again."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")


def takes_arguments_of(
    source: Callable[Concatenate[Any, P], Any],
) -> Callable[[Callable[..., R]], Callable[Concatenate[Any, P], R]]:
    """Give a method the signature of `source`, to which it passes its arguments; for `help()` and type checkers."""

    def decorate(method: Callable[..., R]) -> Callable[Concatenate[Any, P], R]:
        result = inspect.signature(method).return_annotation
        method.__signature__ = inspect.signature(source).replace(return_annotation=result)  # type: ignore[attr-defined]
        return cast("Callable[Concatenate[Any, P], R]", method)

    return decorate
