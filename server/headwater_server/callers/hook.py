"""The authentication hook: a function of an installed package that says whose a call is, where nothing else knows it.

A package names it as an entry point of the group `headwater.authentication`, and `authentication_hook` of the
configuration names the entry point:

    [project.entry-points."headwater.authentication"]
    company = "company_callers:caller_of"

    async def caller_of(call: IncomingCall) -> Caller | None:
        for key, value in call.metadata:
            if key == "x-company-ticket":
                ticket = await check(value)
                if ticket is None:
                    raise Refusal("the ticket has expired; run `company login`")
                return Caller(ticket.user, frozenset(["stream"]))
        return None

It returns the caller, None for a call that it does not know, or raises Refusal, whose text the caller of the call
reads. A function that is not `async` runs on the event loop, so it must not wait for anything. Any other exception,
another result and a function that takes too long refuse the call with INTERNAL; the log has the place, not the text.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from importlib.metadata import entry_points
from typing import Any, TypeAlias

import structlog

from headwater_server.callers.admission import Admission, Answer, IncomingCall, refused
from headwater_server.callers.caller import Caller, Source, is_scope
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.secret_text import looks_like_name

__all__ = ["Caller", "HookError", "HookedCallers", "IncomingCall", "Refusal", "find_hook"]

GROUP = "headwater.authentication"
HOOK_SECONDS = 5.0

Hook: TypeAlias = Callable[[IncomingCall], Caller | Awaitable[Caller | None] | None]

log = structlog.get_logger("headwater.callers")


class Refusal(Exception):  # noqa: N818  a plugin raises it to say no
    """A hook refuses a call: CALLER_UNAUTHENTICATED, with this text for its caller."""


class HookError(Exception):
    """There is no such hook, or it cannot be loaded; the text says why, in one line."""


def find_hook(name: str) -> Hook:
    """The function of the entry point with this name. Raises HookError."""
    found = list(entry_points(group=GROUP, name=name))
    if len(found) != 1:
        there = sorted({point.name for point in entry_points(group=GROUP)})
        which = f"there are {', '.join(there)}" if there else "no installed package has one"
        why = "is named by several packages" if found else "is not there"
        raise HookError(f"the entry point {name} of the group {GROUP} {why}; {which}")
    try:
        hook = found[0].load()
    except Exception as error:  # the package may do anything while it is imported
        raise HookError(f"the entry point {found[0].value} cannot be loaded: {type(error).__name__}") from error
    if not callable(hook):
        raise HookError(f"the entry point {found[0].value} is no function")
    checked: Hook = hook
    return checked


class HookedCallers:
    """The callers that a hook knows.

    Args:
        hook: the function.
        seconds: how long it may take.
    """

    def __init__(self, hook: Hook, seconds: float = HOOK_SECONDS) -> None:
        self._hook = hook
        self._seconds = seconds

    async def admit(self, call: IncomingCall) -> Answer:
        """The caller of a call. Raises HeadwaterError (CALLER_UNAUTHENTICATED, INTERNAL)."""
        try:
            async with asyncio.timeout(self._seconds):
                found: Any = self._hook(call)
                if inspect.isawaitable(found):
                    found = await found
        except Refusal as error:
            raise refused(str(error)) from None
        except Exception as error:
            raise _failed() from error  # the log gets the place
        if found is None:
            return "the authentication hook of the server does not know the call"
        if not _is_caller(found):
            why = (
                "it must return a Caller whose name has 1 to 200 letters, digits and ._:/@+=~,- and whose scopes exist"
            )
            log.error("authentication hook", why=why)
            raise _failed()
        return Admission(Caller(found.name, frozenset(found.scopes), Source.HOOK), lambda: "")


def _is_caller(found: object) -> bool:
    return isinstance(found, Caller) and looks_like_name(found.name) and all(map(is_scope, found.scopes))


def _failed() -> HeadwaterError:
    return HeadwaterError(Reason.INTERNAL, "the authentication hook of the server failed; its log says why")
