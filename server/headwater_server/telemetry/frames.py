"""Frees the requests that exceptions hold."""

from __future__ import annotations


def forget_frames(error: BaseException) -> None:
    """Frees the frames of an exception that has been dealt with, and of those that it comes from.

    A frame has the request, and often the task that has failed, which has the exception: a cycle that only the garbage
    collector frees, and so many bytes do not make it run. gRPC itself keeps the exception with which a call is aborted.
    """
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
        one.__traceback__ = None
    error.__context__ = error.__cause__ = None
