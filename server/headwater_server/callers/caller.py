"""The caller of a call: its name, to which streams and runs belong, and its scopes, which allow it methods.

A server without callers answers everybody. Everything that it has is everybody's then.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.limits import MAX_NAME

STREAM = "stream"
WORKFLOW = "workflow"
OPERATOR = "operator"
WORKER = "worker:"
"""A scope that begins so names the queue of a worker; the rest is the queue."""
RUNS_ON = "workflow:"
"""A scope that begins so is `workflow` for runs whose steps use this queue alone; the rest is the queue."""
SCOPES = (STREAM, WORKFLOW, f"{RUNS_ON}QUEUE", OPERATOR, f"{WORKER}QUEUE")


def is_scope(scope: str) -> bool:
    """Whether there is such a scope. A queue in it can have any name that a queue can have."""
    if scope in (STREAM, WORKFLOW, OPERATOR):
        return True
    return any(scope.startswith(kind) and 0 < len(scope) - len(kind) <= MAX_NAME for kind in (WORKER, RUNS_ON))


class Source(StrEnum):
    """Where the scopes of a caller come from; the value is the cure for a missing one."""

    TOKEN = "headwater token create {name} --scope {scope}"  # noqa: S105
    JWT = "its issuer must put it into the claim with the scopes"
    CERTIFICATE = "add it to the scopes of callers.{name} in the configuration"
    HOOK = "the authentication hook of the server decides that"


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller.

    Attributes:
        name: its name; empty for everybody, of a server without callers.
        scopes: those that it has.
        source: where they come from.
    """

    name: str
    scopes: frozenset[str] = field(default_factory=frozenset)
    source: Source = field(default=Source.TOKEN, compare=False)

    @property
    def sees_all(self) -> bool:
        """Whether the streams and runs of others are there for it."""
        return not self.name or OPERATOR in self.scopes

    def sees(self, owner: str) -> bool:
        """Whether what belongs to this caller is there for it."""
        return self.sees_all or self.name == owner

    def check_scope(self, scope: str) -> None:
        """Raises HeadwaterError (CALLER_FORBIDDEN) without the scope; an operator needs none."""
        if self.name and scope not in self.scopes and OPERATOR not in self.scopes:  # one without a name sees all
            raise self._forbidden(scope)

    def check_workflow(self) -> None:
        """Raises HeadwaterError (CALLER_FORBIDDEN) for a caller that may have no runs; an operator may."""
        if not (self.sees_all or WORKFLOW in self.scopes or any(scope.startswith(RUNS_ON) for scope in self.scopes)):
            raise self._forbidden(WORKFLOW)

    def check_run_queues(self, queues: Iterable[str]) -> None:
        """Raises HeadwaterError (CALLER_FORBIDDEN) for a run whose steps use a queue that no scope allows."""
        if self.sees_all or WORKFLOW in self.scopes:
            return
        for queue in queues:
            if f"{RUNS_ON}{queue}" not in self.scopes:
                raise self._forbidden(f"{RUNS_ON}{queue}")

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
        cure = self.source.value.format(name=self.name, scope=scope)
        if self.source is Source.TOKEN:
            text = f"the token of {self.name} lacks the scope {scope}; make one that has it: {cure}"
        else:
            text = f"{self.name} lacks the scope {scope}; {cure}"
        return HeadwaterError(Reason.CALLER_FORBIDDEN, text, metadata={"caller": self.name, "scope": scope})


EVERYBODY = Caller("")

caller: ContextVar[Caller] = ContextVar("caller", default=EVERYBODY)
"""The caller of the call, or the owner of the run, that this task serves."""


def visible_owner() -> str | None:
    """The owner whose streams and runs are there for the caller of this task; None: those of all are."""
    this = caller.get()
    return None if this.sees_all else this.name
