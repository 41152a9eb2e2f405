"""A misspelt keyword or attribute is refused with the nearest name, in all of the public API."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import headwater
from headwater import (
    Agent,
    Connection,
    HeadwaterError,
    Image,
    RetryPolicy,
    Step,
    StreamingManager,
    Workflow,
    WorkflowAgent,
    collect_stream,
    create_mock_stream,
    tool,
)
from headwater.tools import Tool


def handler(agent: Any, step: Any, context: Any) -> None:
    """Nothing."""


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


AGENT: Any = WorkflowAgent()
WORKFLOW: Any = AGENT.create_workflow("w")


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda: Agent(max_token=5), "max_tokens"),  # type: ignore[call-arg]
        (lambda: Agent(instruction="x"), "instructions"),  # type: ignore[call-arg]
        (lambda: AGENT.stream("x", max_token=5), "max_tokens"),
        (lambda: AGENT.run("x", temprature=0.5), "temperature"),
        (lambda: AGENT.stream_sync("x", timout=5), "timeout"),
        (lambda: AGENT.set_provider("x", modle="y"), "model"),
        (lambda: AGENT.create_workflow("x", descripton="y"), "description"),
        (lambda: AGENT.register_handler("x", handlr=handler), "handler"),
        (lambda: AGENT.stream_workflow(WORKFLOW, contxt={}), "context"),
        (lambda: AGENT.execute_workflow_sync(WORKFLOW, contxt={}), "context"),
        (lambda: Workflow("x", descripton="y"), "description"),  # type: ignore[call-arg]
        (lambda: WORKFLOW.add_step("a", handlr="y"), "handler"),
        (lambda: WORKFLOW.add_step("a", handler="y", max_retry=1), "max_retries"),
        (lambda: WORKFLOW.add_step("a", action="y", temprature=1), "temperature"),
        (lambda: WORKFLOW.get_step(nme="a"), "name"),
        (lambda: Step("a", depend_on=()), "depends_on"),  # type: ignore[call-arg]
        (lambda: RetryPolicy(max_attempt=3), "max_attempts"),  # type: ignore[call-arg]
        (lambda: RetryPolicy(backof=3), "backoff"),  # type: ignore[call-arg]
        (lambda: Connection(targt="x"), "target"),  # type: ignore[call-arg]
        (lambda: tool(nmae="x"), "name"),  # type: ignore[call-overload]
        (lambda: Tool(add, thred=False), "thread"),  # type: ignore[call-arg]
        (lambda: Image(data=b"1", mediatype="image/png"), "media_type"),  # type: ignore[call-arg]
        (lambda: StreamingManager(timout=1), "timeout"),  # type: ignore[call-arg]
        (lambda: create_mock_stream("x", dely=1), "delay"),  # type: ignore[call-arg]
    ],
)
def test_a_misspelt_keyword(call: Callable[[], Any], meant: str) -> None:
    with pytest.raises((TypeError, HeadwaterError), match=rf"did you mean {meant}\?"):
        call()


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda: AGENT.execute_workflow(WORKFLOW, contxt={}), "context"),
        (lambda: AGENT.start_workflow(WORKFLOW, requst_id="x"), "request_id"),
        (lambda: AGENT.run_worker("q", concurency=1), "concurrency"),
        (lambda: AGENT.arun("x", max_token=1), "max_tokens"),
        (lambda: collect_stream(strem=1), "stream"),  # type: ignore[call-arg]
    ],
)
async def test_a_misspelt_keyword_of_an_async_function(call: Callable[[], Any], meant: str) -> None:
    with pytest.raises((TypeError, HeadwaterError), match=rf"did you mean {meant}\?"):
        await call()


@pytest.mark.parametrize(
    ("instance", "name", "meant"),
    [
        (Agent(), "temprature", "temperature"),
        (Agent(), "mesages", "messages"),
        (AGENT, "modle", "model"),
        (Workflow("w"), "descripton", "description"),
        (Workflow("w"), "stps", "steps"),
        (Workflow("w").add_step("s", action="x"), "handlr", "handler"),
        (RetryPolicy(), "max_attempt", "max_attempts"),
        (Connection(), "tokn", "token"),
        (Tool(add), "descripton", "description"),
        (Image(url="https://a"), "ulr", "url"),
    ],
)
def test_a_misspelt_attribute_is_neither_set_nor_read(instance: Any, name: str, meant: str) -> None:
    with pytest.raises(AttributeError, match=rf"has no setting '{name}'; did you mean {meant}\?"):
        setattr(instance, name, 1)
    with pytest.raises(AttributeError, match=rf"has no attribute '{name}'; did you mean {meant}\?"):
        getattr(instance, name)


def test_a_misspelt_method_or_name_of_the_package() -> None:
    with pytest.raises(AttributeError, match=r"did you mean stream_sync\?"):
        AGENT.stream_snyc("x")
    with pytest.raises(AttributeError, match=r"did you mean WorkflowAgent\?"):
        headwater.WorkflwAgent  # noqa: B018


def test_a_name_that_is_like_none_is_answered_with_all() -> None:
    with pytest.raises(TypeError, match=r"RetryPolicy\(\) has no argument 'xyzzy'; there are initial_delay, backoff, "):
        RetryPolicy(xyzzy=1)  # type: ignore[call-arg]


def test_a_subclass_may_have_attributes_and_methods_of_its_own() -> None:
    class Mine(Agent):
        def __init__(self, database: str) -> None:
            super().__init__(model="m")
            self.database = database
            self.streams: list[str] = []

        def shout(self, **anything: Any) -> Any:
            return anything

    mine = Mine("d")
    assert (mine.database, mine.streams, mine.shout(max_token=1)) == ("d", [], {"max_token": 1})


def test_methods_stay_what_they_were() -> None:
    assert inspect.iscoroutinefunction(WorkflowAgent.execute_workflow)
    assert not inspect.iscoroutinefunction(WorkflowAgent.create_workflow)
    assert list(inspect.signature(RetryPolicy).parameters) == ["initial_delay", "backoff", "max_delay", "max_attempts"]
    assert pickle.loads(pickle.dumps(RetryPolicy(0.5))) == RetryPolicy(0.5)  # noqa: S301
    assert copy.copy(Image(url="https://a")) == Image(url="https://a")
    assert not hasattr(Agent(), "nothing_of_ours")


async def test_a_connection_takes_a_new_token() -> None:
    connection = Connection("localhost:1", token="old")
    connection.token = "new"  # noqa: S105
    assert await connection.server_of_call().headers() == (("authorization", "Bearer new"),)
