"""Public reports about tools, tried on this client: each test names its reports."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import validate_call

from headwater import Agent, Image, ValidationError, tool
from tests.support.servers.server import ServerProcess


def ask(server: ServerProcess, *tools: Callable[..., Any]) -> Agent:
    return Agent(model="scripted/echo", target=server.target, timeout=20, tools=tools)


def call(name: str, arguments: Any = None) -> dict[str, Any]:
    return {"name": name, "arguments": {} if arguments is None else arguments}


def results(agent: Agent, *calls: dict[str, Any]) -> list[str]:
    """The results of these calls, as the model gets them; it is done when it has them."""
    script = {"tool_calls": list(calls), "after_tools": {"text": "done"}}
    chunks = list(agent.stream_sync("go", provider_options={"scripted": script}))
    assert chunks[-1].is_final
    return [result["content"] for chunk in chunks for result in chunk.metadata.get("tool_results", [])]


def test_null_and_doubly_encoded_arguments_are_read_as_they_are_meant(server: ServerProcess) -> None:
    """microsoft/agent-framework#6514, agno-agi/agno#4631, spring-projects/spring-ai#3236."""

    def now() -> str:
        return "noon"

    def add(a: int, b: int) -> int:
        return a + b

    encoded = json.dumps(json.dumps({"a": 1, "b": 2}))
    calls = [call("now", "null"), call("now", '""'), call("now", "[]"), call("add", encoded)]
    assert results(ask(server, now, add), *calls) == ["noon", "noon", "noon", "3"]


@pytest.mark.parametrize("name", ["functions.get weather", "天気", "get_weather" * 20, "<|tool|>", "a/b"])
def test_an_invented_name_is_told_to_the_model_and_sent_back_harmless(server: ServerProcess, name: str) -> None:
    """mcp-use/mcp-use#90, mcp-use/mcp-use#94."""

    def get_weather(city: str) -> str:
        return "sunny"

    agent = ask(server, get_weather)
    [told] = results(agent, call(name, {"city": "Bern"}))
    assert told.startswith("there is no tool")
    [sent] = [part["name"] for message in agent.messages for part in message["content"] if "arguments" in part]
    assert re.fullmatch("[a-zA-Z0-9_-]{1,64}", sent)


def test_a_tool_may_return_a_picture(server: ServerProcess) -> None:
    """openai/openai-agents-python#341, microsoft/agent-framework#4272."""

    def screenshot() -> Image:
        return Image(data=b"\x89PNG\r\n\x1a\n" + b"\x00\xff" * 50, media_type="image/png")

    assert results(ask(server, screenshot), call("screenshot")) == ["[image/png, 108 bytes]"]


def test_a_tool_may_use_what_is_bound_to_the_calling_thread(server: ServerProcess) -> None:
    """holoviz/holonote#10, peter-wangxu/persist-queue#175."""
    connection = sqlite3.connect(":memory:")

    @tool(thread=False)
    def query(sql: str) -> list[Any]:
        return connection.execute(sql).fetchall()

    assert results(ask(server, query), call("query", {"sql": "select 42"})) == ["[[42]]"]
    connection.close()


def test_functions_behind_decorators_are_tools(server: ServerProcess) -> None:
    """openonion/connectonion#184."""

    @functools.lru_cache
    def cached(n: int) -> int:
        return n * 2

    def retrying(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)  # gives a coroutine

        return wrapper

    @retrying
    async def fetched(n: int) -> int:
        await asyncio.sleep(0)
        return n * 3

    @validate_call
    def checked(n: int) -> int:
        return n * 4

    agent = ask(server, cached, fetched, checked)
    assert results(agent, *(call(name, {"n": 5}) for name in ("cached", "fetched", "checked"))) == ["10", "15", "20"]

    def careless(*args: Any) -> int:
        return 0

    with pytest.raises(ValidationError, match=r"takes \*args, which no schema can describe"):
        ask(server, careless)


def test_a_type_that_the_module_does_not_know_is_said_to_be_one() -> None:
    """python/typing#508, langchain-ai/langgraph#4186."""
    names: dict[str, Any] = {}
    exec('def search(query: "Query") -> "Nothing":\n    return query', names)  # noqa: S102
    with pytest.raises(ValidationError, match=r"not known in its module: name 'Query' is not defined"):
        Agent(tools=[names["search"]])


def numpy_style(city: str, days: int = 1) -> str:
    """Forecast the weather.

    Parameters
    ----------
    city : str
        Name of the city, in English.
    days : int, optional
        How many days ahead.

    Returns
    -------
    str
        A sentence.
    """
    return ""


def sphinx_style(city: str, days: int = 1) -> str:
    """Forecast the weather.

    :param city: Name of the city, in English.
    :param int days: How many days ahead.
    :returns: a sentence
    """
    return ""


def keyword_section(city: str, *, days: int = 1) -> str:
    """Forecast the weather.

    Args:
        city: Name of the city, in English.

    Keyword Args:
        days: How many days ahead.
    """
    return ""


@pytest.mark.parametrize("function", [numpy_style, sphinx_style, keyword_section])
def test_descriptions_in_docstrings_of_all_styles_reach_the_model(function: Callable[..., Any]) -> None:
    """run-llama/llama_index#22687, openai/openai-agents-python#4985."""
    made = tool(function)
    assert made.description.startswith("Forecast the weather.")
    assert made.parameters["properties"]["city"]["description"] == "Name of the city, in English."
    assert made.parameters["properties"]["days"]["description"] == "How many days ahead."
