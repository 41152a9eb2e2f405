"""The callers of a running server: asks each kind of caller in turn, and ends the calls of those that may no longer.

| a call with | is asked of |
| --- | --- |
| the metadata `authorization` | the tokens of `headwater token`, then the issuers of JWT, then the hook |
| none, over a connection with a certificate | the certificates, then the hook |
| neither | the hook |

The first that knows the call decides. While a server has no kind of caller at all, it answers everybody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from headwater_server.callers.admission import Admission, Answer, IncomingCall, bearer_token, refused
from headwater_server.callers.caller import EVERYBODY
from headwater_server.callers.certificates.certificate_callers import CertificateCallers
from headwater_server.callers.hook import HookedCallers
from headwater_server.callers.issuers.jwt_issuers import JwtIssuer, JwtIssuers
from headwater_server.callers.running_calls import RunningCalls
from headwater_server.callers.static_tokens import StaticTokens
from headwater_server.callers.tokens import TOKEN_PREFIX
from headwater_server.domain.errors import HeadwaterError

CHECK_SECONDS = 1.0


class Door(Protocol):
    """Lets calls in."""

    async def admit(self, call: IncomingCall) -> Admission:
        """Whose call it is. Raises HeadwaterError for one that is not let in."""
        ...


@dataclass(frozen=True, slots=True)
class ConfiguredCallers:
    """The callers that the configuration names; a reload replaces them.

    Attributes:
        issuers: of JWT; None for none.
        certificates: of callers; None for none.
    """

    issuers: JwtIssuers | None = None
    certificates: CertificateCallers | None = None

    @property
    def trusted(self) -> tuple[JwtIssuer, ...]:
        """The issuers, one by one."""
        return tuple(self.issuers.by_issuer.values()) if self.issuers else ()


NO_ONE = ConfiguredCallers()


class KnownCallers:
    """The callers of a server.

    Args:
        folder: the data directory, whose file has the tokens.
        configured: the callers that the configuration names.
        hook: knows further ones; None for no hook.
        clock: the time in seconds since the epoch.
        audits: whether this process writes changes of tokens into the log.

    Attributes:
        running: the calls that were let in and have not ended.

    Raises TokenError for a file of tokens that cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        configured: ConfiguredCallers = NO_ONE,
        hook: HookedCallers | None = None,
        clock: Callable[[], float] = time.time,
        *,
        audits: bool = False,
    ) -> None:
        self._tokens = StaticTokens(folder, clock, audits=audits)
        self._configured = configured
        self._hook = hook
        self._everybody = Admission(EVERYBODY, lambda: "" if self.are_all_let_in else _NO_TOKEN)
        self.running = RunningCalls()

    @property
    def are_all_let_in(self) -> bool:
        """Whether there is no kind of caller at all."""
        configured = self._configured
        return not (self._tokens.are_there or self._hook or configured.issuers or configured.certificates)

    async def admit(self, call: IncomingCall) -> Admission:
        """Whose call it is. Raises HeadwaterError (CALLER_UNAUTHENTICATED, INTERNAL) for one that is not let in."""
        self._tokens.follow()
        if self.are_all_let_in:
            return self._everybody
        answer = await self._by_credential(call)
        if self._hook and isinstance(answer, str) and isinstance(found := await self._hook.admit(call), Admission):
            answer = found
        if isinstance(answer, str):
            raise refused(answer)
        return answer

    async def _by_credential(self, call: IncomingCall) -> Answer:
        """The caller of a call that has a token or a certificate."""
        issuers, certificates = self._configured.issuers, self._configured.certificates
        if authorizations := call.authorizations:
            if (text := bearer_token(authorizations)) is None:
                return "the metadata `authorization` must be there once, as `Bearer TOKEN`"
            answer = self._tokens.admit(text)
            is_ours = text.startswith(TOKEN_PREFIX)
            return await issuers.admit(text) if isinstance(answer, str) and issuers and not is_ours else answer
        if certificates and (pem := call.certificate):
            answer = certificates.admit(pem)
            if isinstance(answer, Admission):
                name = answer.caller.name
                return Admission(answer.caller, lambda: self._why_certificate_is_over(pem, name))
            return answer
        return _NO_TOKEN

    def _why_certificate_is_over(self, pem: bytes, name: str) -> str:
        """Why a call with this certificate may not continue as this caller; empty while it may."""
        certificates = self._configured.certificates
        try:
            answer = certificates.admit(pem) if certificates else ""
        except HeadwaterError as error:
            return error.message
        is_same = isinstance(answer, Admission) and answer.caller.name == name
        return "" if is_same else "the certificate of the connection is no longer one of this caller's"

    @property
    def configured(self) -> ConfiguredCallers:
        """The callers that the configuration names."""
        return self._configured

    async def replace(self, configured: ConfiguredCallers) -> None:
        """Lets calls in as this says from now on. An issuer that is in both keeps its keys."""
        before, self._configured = self._configured, configured
        for issuer in before.trusted:
            if issuer not in configured.trusted:
                issuer.is_trusted = False
                await issuer.keys.aclose()
        for issuer in configured.trusted:
            issuer.keys.tend()

    async def watch(self) -> None:
        """Follows all that changes, and ends the calls whose callers may no longer call, until it is cancelled."""
        try:
            while True:
                self._tokens.follow()
                for issuer in self._configured.trusted:
                    issuer.keys.tend()
                await self.running.check()
                await asyncio.sleep(CHECK_SECONDS)
        finally:
            for issuer in self._configured.trusted:
                await issuer.keys.aclose()


_NO_TOKEN = "the call has no token; send the metadata `authorization: Bearer TOKEN` (in Python token=)"  # noqa: S105
