"""The caller of a call: its name, to which streams and runs belong, and its scopes, which allow it methods.

A server without callers answers everybody. Everything that it has is everybody's then.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field

from headwater_server.domain.errors import HeadwaterError, Reason

STREAM = "stream"
WORKFLOW = "workflow"
OPERATOR = "operator"
WORKER = "worker:"
"""A scope that begins so names the queue of a worker; the rest is the queue."""
SCOPES = (STREAM, WORKFLOW, OPERATOR, f"{WORKER}QUEUE")


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller.

    Attributes:
        name: its name; empty for everybody, of a server without callers.
        scopes: those that it has.
    """

    name: str
    scopes: frozenset[str] = field(default_factory=frozenset)

    @property
    def sees_all(self) -> bool:
        """Whether the streams and runs of others are there for it."""
        return not self.name or OPERATOR in self.scopes

    def sees(self, owner: str) -> bool:
        """Whether what belongs to this caller is there for it."""
        return self.sees_all or self.name == owner

    def check_scope(self, scope: str) -> None:
        """Raises HeadwaterError (CALLER_FORBIDDEN) without the scope; an operator needs none."""
        if not (self.sees_all or scope in self.scopes):
            raise self._forbidden(scope)

    def check_queue(self, queue: str) -> None:
        """Raises HeadwaterError (CALLER_FORBIDDEN) for a worker of a queue that no scope names.

        An operator needs the scope too: a worker gets the tasks of others.
        """
        if self.name and f"{WORKER}{queue}" not in self.scopes:
            raise self._forbidden(f"{WORKER}{queue}")

    def check_worker(self) -> None:
        """Raises HeadwaterError (CALLER_FORBIDDEN) for a caller that may be a worker of no queue."""
        if self.name and not any(scope.startswith(WORKER) for scope in self.scopes):
            raise self._forbidden(f"{WORKER}QUEUE")

    def _forbidden(self, scope: str) -> HeadwaterError:
        text = f"the token of {self.name} lacks the scope {scope}; make one that has it: "
        cure = f"headwater token create {self.name} --scope {scope}"
        return HeadwaterError(Reason.CALLER_FORBIDDEN, text + cure, metadata={"caller": self.name, "scope": scope})


EVERYBODY = Caller("")

caller: ContextVar[Caller] = ContextVar("caller", default=EVERYBODY)
"""The caller of the call, or the owner of the run, that this task serves."""


def visible_owner() -> str | None:
    """The owner whose streams and runs are there for the caller of this task; None: those of all are."""
    this = caller.get()
    return None if this.sees_all else this.name
