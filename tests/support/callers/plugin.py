"""An installed package with an authentication hook, in a folder for PYTHONPATH."""

from __future__ import annotations

from pathlib import Path

CODE = '''
"""Callers of a company, who show a ticket."""

import asyncio

from headwater_server.callers.hook import Caller, IncomingCall, Refusal


async def caller_of(call: IncomingCall) -> Caller | None:
    tickets = [value for key, value in call.metadata if key == "x-company-ticket"]
    if not tickets:
        return None
    name, _, secret = tickets[0].partition(" ")
    await asyncio.sleep(0)
    if secret == "expired":
        raise Refusal("the ticket has expired; run `company login`")
    if secret == "broken":
        raise RuntimeError(f"the ticket {secret} of {name} cannot be read")
    if secret == "slow":
        await asyncio.sleep(3_600)
    if secret == "odd":
        return name
    return Caller(name, frozenset(["stream", "workflow", "worker:mine"]))


def peer_of(call: IncomingCall) -> Caller | None:
    """Not async: the caller is the kind of its connection."""
    kind = "encrypted" if call.certificate else call.peer.partition(":")[0]
    return Caller(kind, frozenset(["stream"]))


number = 7
'''
POINTS = """[headwater.authentication]
company = company_callers:caller_of
peer = company_callers:peer_of
number = company_callers:number
missing = company_callers:missing
"""


def installed(folder: Path) -> str:
    """Installs the package there; the folder for PYTHONPATH."""
    (folder / "company_callers.py").write_text(CODE)
    facts = folder / "company_callers-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: company-callers\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(POINTS)
    return str(folder)
