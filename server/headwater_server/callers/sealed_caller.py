"""The caller of a call that one process of a server passes on to another.

Theory of operation. The process that a call comes to finds out whose it is. It passes the call on with the caller
under `headwater-caller-bin`, sealed with a secret that the processes of one server share: an HMAC over the caller.
The secret is made when the server starts and is handed to each process over its control socket, so nothing outside has
it. Only the sockets between processes read the seal. On the port it means nothing, and a call from outside that has
one is passed on without it.

Worked example: `billing` calls CancelStream at process 1 with its certificate. The stream is one of process 0, so
process 1 passes the call on with the seal of `{"name": "billing", ...}`. Process 0 sees no certificate, for Unix
sockets have none, and no token; it opens the seal, and the stream is cancelled if it belongs to `billing`.
"""

from __future__ import annotations

import hmac

import msgspec

from headwater_server.callers.admission import AUTHORIZATION, Admission, IncomingCall, refused
from headwater_server.callers.caller import Caller

KEY = "headwater-caller-bin"
NOT_PASSED_ON = frozenset({KEY, AUTHORIZATION})
"""Metadata that only the process needs to which a call comes."""
_SEAL_BYTES = 32


class CallerSeal:
    """Seals callers, and opens the seals of other processes.

    Args:
        secret: that the processes of a server share.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sealed(self, who: Caller) -> tuple[str, bytes]:
        """The caller as metadata."""
        content = msgspec.json.encode(who)
        return KEY, self._seal(content) + content

    async def admit(self, call: IncomingCall) -> Admission:
        """The caller of a call that another process passes on. Raises HeadwaterError (CALLER_UNAUTHENTICATED)."""
        values = [value for key, value in call.metadata if key == KEY and isinstance(value, bytes)]
        if len(values) == 1:
            seal, content = values[0][:_SEAL_BYTES], values[0][_SEAL_BYTES:]
            if hmac.compare_digest(seal, self._seal(content)):
                return Admission(msgspec.json.decode(content, type=Caller))
        raise refused("the call was not passed on by a process of this server")

    def _seal(self, content: bytes) -> bytes:
        return hmac.digest(self._secret, content, "sha256")
