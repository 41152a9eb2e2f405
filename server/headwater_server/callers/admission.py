"""Letting a call in: its facts, its caller, and the error of one that is refused.

Each kind of caller (tokens, JWT, certificates, the hook) looks at a call and gives one of three answers: an Admission;
a text, because it does not know the call; or the error CALLER_UNAUTHENTICATED, because it knows the call and refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from headwater_server.callers.caller import Caller
from headwater_server.domain.errors import HeadwaterError, Reason

AUTHORIZATION = "authorization"
MAX_TOKEN = 16 * 1024


class IncomingCall(msgspec.Struct, frozen=True):
    """A call that wants in.

    Attributes:
        metadata: its metadata, as it came.
        peer: the address of the other side, as gRPC writes it.
        read_certificate: gives the certificate of the other side in PEM; empty where TLS has not asked for one.
    """

    metadata: Sequence[tuple[str, str | bytes]] = ()
    peer: str = ""
    read_certificate: Callable[[], bytes] = bytes

    @property
    def certificate(self) -> bytes:
        """The certificate of the other side in PEM, which its authority has signed; empty for none."""
        return self.read_certificate()

    @property
    def authorizations(self) -> list[str]:
        """The values of the metadata `authorization`."""
        return [str(value) for key, value in self.metadata if key == AUTHORIZATION]


@dataclass(frozen=True, slots=True)
class Admission:
    """A call that is let in.

    Attributes:
        caller: whose it is.
        why_over: says why the call may not continue; empty while it may. None: that is for another process to say.
    """

    caller: Caller
    why_over: Callable[[], str] | None = None


Answer: TypeAlias = Admission | str
"""An admission; or why a call is not known, which becomes the error if nothing else knows it."""


def refused(text: str) -> HeadwaterError:
    """The error of a call that is not let in, or may not continue; the text has the cure and never the token."""
    return HeadwaterError(Reason.CALLER_UNAUTHENTICATED, text)


def bearer_token(authorizations: Sequence[str]) -> str | None:
    """The token that a call has; None for anything else."""
    scheme, _, text = authorizations[0].partition(" ")
    text = text.strip()
    is_one = len(authorizations) == 1 and scheme.lower() == "bearer" and 0 < len(text) <= MAX_TOKEN
    return text if is_one else None
