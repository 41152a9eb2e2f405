"""The caller that one process tells another: opened with the secret of the server alone."""

from __future__ import annotations

import os

import pytest

from headwater_server.callers.admission import IncomingCall
from headwater_server.callers.caller import EVERYBODY, Caller, Source
from headwater_server.callers.sealed_caller import KEY, CallerSeal
from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.process_identity import ProcessIdentity

SEAL = CallerSeal(os.urandom(32))
ALICE = Caller("alice|é/1", frozenset(["stream", "worker:q"]), Source.HOOK)


async def opened(*values: str | bytes) -> Caller:
    admission = await SEAL.admit(IncomingCall([(KEY, value) for value in values]))
    assert admission.why_over is None  # the process to which the call came ends it
    return admission.caller


@pytest.mark.parametrize("who", [ALICE, EVERYBODY, Caller("x", frozenset(["operator"]), Source.CERTIFICATE)])
async def test_a_process_opens_the_seal_of_another(who):
    key, value = SEAL.sealed(who)
    assert key == KEY
    found = await opened(value)
    assert (found, found.source) == (who, who.source)


async def test_nothing_else_is_opened():
    _, sealed = SEAL.sealed(ALICE)
    _, others = CallerSeal(os.urandom(32)).sealed(ALICE)
    changed = sealed[:32] + sealed[32:].replace(b"alice", b"carol")
    assert changed != sealed
    for values in (
        (),
        (others,),
        (changed,),
        (sealed[:-1],),
        (sealed + b" ",),
        (b"",),
        (sealed[:32],),
        (sealed, sealed),
        ("x",),
    ):
        with pytest.raises(HeadwaterError, match="was not passed on by a process of this server"):
            await opened(*values)


def test_the_secret_is_not_shown():
    secret = os.urandom(32)
    identity = ProcessIdentity(0, 2, secret=secret)
    for shown in (repr(CallerSeal(secret)), repr(identity)):
        assert repr(secret) not in shown
