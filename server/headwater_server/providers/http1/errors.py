"""The faults of a connection that the system has no words for."""

from __future__ import annotations


class ClosedError(ConnectionError):
    """The connection was closed before the answer came."""


class CutError(ConnectionError):
    """The connection was closed in the middle of the answer."""


class BadAnswerError(ConnectionError):
    """The answer is not HTTP, or over a limit."""
