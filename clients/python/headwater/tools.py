"""Tools for agents: functions that a model may call while it replies.

from headwater import Agent, tool
from headwater.tools import calculator_tool

@tool
def population(city: str) -> int:
    \"\"\"How many people live in a city.\"\"\"
    return {"Bern": 134_000}[city]

agent = Agent(tools=[population, calculator_tool])
"""

from __future__ import annotations

from headwater._tools.calculator import Number, calculate
from headwater._tools.tool import Tool, ToolLike, tool
from headwater.exceptions import ToolError

__all__ = ["Tool", "ToolError", "ToolLike", "calculator_tool", "tool"]

calculator_tool: Tool[[str], Number] = Tool(
    calculate,
    name="calculator",
    description="Calculate an arithmetic expression, such as 15% of 2,500 or (2 + 3) * sqrt(16).",
    parameters={
        "type": "object",
        "properties": {"expression": {"type": "string", "description": "The expression, such as 15 * 2500 / 100."}},
        "required": ["expression"],
        "additionalProperties": False,
    },
)
"""Arithmetic for models, which are bad at it: numbers, `+ - * / // % **`, percents and functions such as `sqrt`.

It evaluates no code, its time and the size of its numbers are bounded, and it needs nothing installed. Called directly,
`calculator_tool("2 + 2")`, it returns the number, or raises ValueError.
"""
