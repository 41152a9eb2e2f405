"""The results of calls of tools."""

from __future__ import annotations

from headwater import tool
from headwater._tools.calls import MAX_ERROR_TEXT, Toolbox, run_calls
from headwater.v1 import agent_pb2


async def test_the_long_text_of_an_exception_is_cut_for_the_model() -> None:
    @tool
    async def broken() -> None:
        raise ValueError("x" * 2_000_000)

    call = agent_pb2.ToolCall(id="1", name="broken", arguments_json="{}")
    [result] = await run_calls(Toolbox({"broken": broken}, None, 1), [call])
    assert result.content == f"ValueError: {'x' * 2_000_000}"[:MAX_ERROR_TEXT]
