"""A connection to a Headwater server that agents and workflows share.

    from headwater import Agent, Connection

    async with Connection("headwater.internal:50051") as connection:
        writer = Agent(instructions="Write.", connection=connection)
        critic = Agent(instructions="Find mistakes.", connection=connection)

Agents need none: those with the same `target` share a channel by themselves. A connection of your own has a channel
that is its alone, and closes it when you say so.
"""

from __future__ import annotations

from headwater._grpc.connection import Connection

__all__ = ["Connection"]
