"""The facts that the lines of a call have in the log."""

from __future__ import annotations

import asyncio

from headwater_server.telemetry.call_facts import add_facts, begin_facts, call_facts, merge_facts, part_facts


def line(**event: object) -> dict[str, object]:
    return dict(merge_facts(None, "", event))


async def test_facts_that_are_added_stand_in_later_lines_and_the_line_has_the_last_word() -> None:
    begin_facts(peer="p", model="a")
    add_facts(model="b")
    assert line(event="rpc", peer="q") == {"peer": "q", "model": "b", "event": "rpc"}


async def test_a_call_begins_without_the_facts_of_the_one_before() -> None:
    add_facts(left="over")
    begin_facts(peer="p")
    assert line() == {"peer": "p"}


async def test_the_tasks_of_a_call_share_its_facts() -> None:
    begin_facts(peer="p")

    async def inner() -> None:
        add_facts(model="m")

    await asyncio.create_task(inner())
    assert call_facts() == {"peer": "p", "model": "m"}


async def test_a_task_that_parts_has_those_of_before_and_gives_none_back() -> None:
    begin_facts(peer="p")

    async def step() -> None:
        part_facts(step="s")
        assert call_facts() == {"peer": "p", "step": "s"}

    await asyncio.gather(asyncio.create_task(step()), asyncio.create_task(step()))
    assert call_facts() == {"peer": "p"}


def test_without_a_call_a_line_is_as_it_is() -> None:
    event = {"event": "ready"}
    assert merge_facts(None, "", event) is event
