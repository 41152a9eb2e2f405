"""A model's reply to an action is the JSON that was asked for, also where the model wraps it."""

from __future__ import annotations

import json

import pytest

from headwater_server.domain.chunks import FinishReason, ReplyFacts
from headwater_server.domain.failure import StepError
from headwater_server.domain.messages import AgentConfig, ResponseFormat, ResponseFormatType
from headwater_server.domain.workflow import Outcome, Step
from headwater_server.workflows.engine.replies import whole_outcome

AGENT = AgentConfig(response_format=ResponseFormat(ResponseFormatType.JSON_OBJECT))


def result(text: str) -> str:
    facts = ReplyFacts(FinishReason.STOP, None, "m", "p")
    return whole_outcome(Step("a", action="x"), AGENT, Outcome(json.dumps(text), reply=facts)).result


@pytest.mark.parametrize(
    "text",
    [
        ' {"a": 3.0} ',
        '```json\n{"a": 3.0}\n```',
        '\n```\n{"a": 3.0}\n```\n',
        '```JSON \r\n{"a": 3.0}\r\n  ```',
        '\ufeff{"a": 3.0}',
    ],
)
def test_a_fence_of_markdown_and_a_byte_order_mark_are_no_part_of_the_json(text: str) -> None:
    assert result(text) == '{"a": 3.0}'


@pytest.mark.parametrize("text", ['Sure: {"a": 3.0}', '```json\n{"a": 3.0\n```', "```json\n```", ""])
def test_a_reply_that_is_no_json_fails_the_step(text: str) -> None:
    with pytest.raises(StepError, match="is not JSON"):
        result(text)


def test_a_fence_inside_a_string_stays() -> None:
    assert result('{"code": "```\\nx\\n```"}') == '{"code": "```\\nx\\n```"}'
