"""The name beside the sign of life."""

from __future__ import annotations

from typing import Any

import pytest

from headwater import Agent
from headwater.cli.commands import _name
from headwater.cli.terminal import SignOfLife
from headwater.exceptions import ServerUnavailableError


class Answering(Agent):
    """Is answered by this provider, or not at all."""

    info: dict[str, Any] | None = None

    async def aget_provider_info(self) -> dict[str, Any]:
        if self.info is None:
            raise ServerUnavailableError("nobody is there")
        return self.info


@pytest.mark.parametrize(
    ("info", "name"),
    [
        ({"provider": "local", "model": "smollm2"}, "local/smollm2"),
        ({"provider": "mine", "model": None}, "mine/default"),
        ({"provider": "mine", "model": "a\x1b[2J"}, "mine/a\ufffd[2J"),
        (None, "the server's default model"),
    ],
)
async def test_the_model_that_answers_is_named_as_soon_as_it_is_known(info, name):
    agent = Answering()
    agent.info = info
    sign = SignOfLife("the server's default model")
    await _name(sign, agent)
    assert sign.name == name
