"""Replies as values of a class."""

from __future__ import annotations

import dataclasses
import json

import pytest
from pydantic import BaseModel

from headwater import Agent, HeadwaterError, ValidationError
from tests.support.services.fake_agent_service import FakeAgentService, say


class Weather(BaseModel):
    city: str
    degrees: int


@dataclasses.dataclass
class Forecast:
    days: list[Weather]


async def test_a_reply_is_parsed_as_the_class_that_the_call_gave(agent: Agent, service: FakeAgentService) -> None:
    service.reply = lambda request, context: say('{"city": "Bern", ', '"degrees": 20}')
    reply = await agent.arun("?", response_format=Weather)
    assert reply.parsed == Weather(city="Bern", degrees=20)
    sent = service.requests[0].agent.response_format
    assert (sent.name, json.loads(sent.schema_json)["required"]) == ("Weather", ["city", "degrees"])


def test_a_dataclass_is_a_form_of_a_reply_too(agent: Agent, service: FakeAgentService) -> None:
    service.reply = lambda request, context: say('{"days": [{"city": "Bern", "degrees": 20}]}')
    assert agent.run("?", response_format=Forecast).parsed == Forecast([Weather(city="Bern", degrees=20)])


def test_a_fence_of_markdown_is_no_part_of_the_value(agent: Agent, service: FakeAgentService) -> None:
    service.reply = lambda request, context: say('```json\n{"city": "Bern", ', '"degrees": 20}\n```')
    assert agent.run("?", response_format=Weather).parsed == Weather(city="Bern", degrees=20)


async def test_a_reply_that_is_none_of_its_class_keeps_its_text(agent: Agent, service: FakeAgentService) -> None:
    service.reply = lambda request, context: say('{"city": "Bern", "degrees": "hot"}')
    reply = await agent.arun("?", response_format=Weather)
    assert reply.content == '{"city": "Bern", "degrees": "hot"}'
    with pytest.raises(HeadwaterError, match="the reply is no Weather: degrees: Input should be a valid integer"):
        _ = reply.parsed


async def test_a_reply_without_a_class_has_nothing_parsed(agent: Agent) -> None:
    assert (await agent.arun("?")).parsed is None


def test_a_class_without_fields_is_no_form_of_a_reply(agent: Agent) -> None:
    with pytest.raises(ValidationError, match="response_format: must be a class with fields"):
        agent.stream("?", response_format=int)
