"""The fixture `headwater`, as programs that test their agents use it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from headwater import Agent, Image, Workflow, WorkflowAgent
from headwater.exceptions import (
    AuthenticationError,
    ContextWindowError,
    HeadwaterError,
    ProviderAuthError,
    ProviderError,
    ProviderNotFoundError,
    ProviderRateLimitError,
    ServerUnavailableError,
    StepExecutionError,
    StreamInterruptedError,
    StreamTimeoutError,
    ToolError,
    ValidationError,
)
from headwater.testing import ScriptedServer
from headwater.testing.process import ControlledProcess


def population(city: str) -> int:
    """Count the people of a city."""
    return {"Bern": 137_000, "Basel": 177_000}[city]


def test_a_planned_reply_answers_the_call_and_the_request_can_be_read(headwater: ScriptedServer) -> None:
    headwater.reply("Hello!")
    agent = Agent(model="gpt-4o", instructions="Be brief.", temperature=0.5, user="u1")
    assert agent.run("Hi").content == "Hello!"
    [request] = headwater.requests
    assert (request.provider, request.model, request.instructions) == ("openai", "gpt-4o", "Be brief.")
    assert (request.prompt, request.parameters, request.user) == ("Hi", {"temperature": 0.5}, "u1")
    assert request.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]


@pytest.mark.parametrize(
    ("model", "provider", "answers"),
    [
        ("", "", ("scripted", "scripted")),
        ("claude-sonnet-5", "", ("anthropic", "claude-sonnet-5")),
        ("llama3.2:3b", "", ("ollama", "llama3.2:3b")),
        ("local/smollm2", "", ("local", "smollm2")),
        ("a-model-that-nobody-knows", "", ("scripted", "a-model-that-nobody-knows")),
        ("m", "acme", ("acme", "m")),
        ("", "openai", ("openai", "scripted")),
    ],
)
def test_every_provider_and_every_model_is_there(
    headwater: ScriptedServer, model: str, provider: str, answers: tuple[str, str]
) -> None:
    headwater.reply("yes")
    agent = Agent(model=model or None, provider=provider or None)
    assert agent.get_provider_info()["supports_streaming"]
    reply = agent.run("Hi")
    assert reply.content == "yes"
    [request] = headwater.requests
    assert (request.provider, request.model) == answers


def test_replies_come_in_their_order_and_the_conversation_goes_along(headwater: ScriptedServer) -> None:
    headwater.reply("one")
    headwater.reply("two")
    agent = Agent()
    assert [agent.run("1").content, agent.run("2").content] == ["one", "two"]
    assert headwater.requests[1].messages == agent.messages[:3]


def test_a_tool_is_called_and_its_result_comes_with_the_next_request(headwater: ScriptedServer) -> None:
    headwater.reply(tool_call={"name": "population", "arguments": {"city": "Bern"}})
    headwater.reply("137,000 people.")
    agent = Agent(tools=[population])
    assert agent.run("How many live in Bern?").content == "137,000 people."
    first, second = headwater.requests
    assert [tool["name"] for tool in first.tools] == ["population"]
    assert second.messages == agent.messages[:-1]
    [result] = second.tool_results
    assert (result["name"], result["content"], result["is_error"]) == ("population", "137000", False)
    assert first.tool_results == []
    assert second.prompt == "How many live in Bern?"


def test_several_tool_calls_in_one_round(headwater: ScriptedServer) -> None:
    calls = [{"name": "population", "arguments": {"city": city}} for city in ("Bern", "Basel")]
    headwater.reply("Let me see.", tool_calls=calls)
    headwater.reply("Done.")
    Agent(tools=[population]).run("Both?")
    assert [result["content"] for result in headwater.requests[1].tool_results] == ["137000", "177000"]


def test_images_can_be_read(headwater: ScriptedServer) -> None:
    headwater.reply("A pixel.")
    agent = Agent()
    agent.run(["What is ", Image(b"\x89PNG", "image/png"), Image(url="https://example.org/a.png"), "this?"])
    assert headwater.requests[0].messages == agent.messages[:1]
    assert headwater.requests[0].prompt == "What is this?"


async def test_a_list_has_the_chunks(headwater: ScriptedServer) -> None:
    headwater.reply(["Hel", "lo ", "world"])
    chunks = [chunk async for chunk in Agent().stream("Hi", max_tokens=1)]
    assert [chunk.content for chunk in chunks] == ["Hel", "lo ", "world", ""]
    assert chunks[-1].metadata["finish_reason"] == "stop"


async def test_the_options_of_a_script_hold(headwater: ScriptedServer) -> None:
    headwater.reply("a b", thinking="Hm.", finish_reason="content_filter", usage={"input_tokens": 3})
    chunks = [chunk async for chunk in Agent().stream("Hi")]
    assert chunks[0].metadata["thinking"] == "Hm."
    assert (chunks[-1].metadata["finish_reason"], chunks[-1].metadata["usage"]) == (
        "content_filter",
        {"input_tokens": 3},
    )


async def test_the_test_decides_when_each_chunk_comes(headwater: ScriptedServer) -> None:
    reply = headwater.stream()
    stream = Agent().stream("Hi")
    for piece in ("Hel", "lo"):
        reply.send(piece)
        assert (await anext(stream)).content == piece
    reply.end()
    assert (await anext(stream)).is_final
    await reply.wait_closed()


def test_the_test_decides_when_each_chunk_comes_without_async(headwater: ScriptedServer) -> None:
    reply = headwater.stream()
    stream = iter(Agent().stream_sync("Hi"))
    reply.send("Hel")
    assert next(stream).content == "Hel"
    reply.fail(ProviderError("gone"))
    with pytest.raises(StreamInterruptedError) as raised:
        next(stream)
    assert raised.value.partial_response == "Hel"
    reply.wait_closed()


async def test_leaving_a_stream_ends_the_work_on_its_reply(headwater: ScriptedServer) -> None:
    reply = headwater.stream()
    reply.send("so far")
    async for _ in Agent().stream("Write a long essay"):
        with pytest.raises(TimeoutError, match=r"not closed after 0\.01 seconds"):
            await reply.wait_closed(0.01)
        break
    await reply.wait_closed()


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ProviderRateLimitError("slow down", retry_after=2), ProviderRateLimitError),
        (ProviderError, ProviderError),
        (ProviderAuthError, ProviderAuthError),
        (ProviderNotFoundError, ProviderNotFoundError),
        (ContextWindowError("too long"), ContextWindowError),
        (ServerUnavailableError, ServerUnavailableError),
        (StreamInterruptedError, StreamInterruptedError),
        (StreamTimeoutError("late"), TimeoutError),
        (ValidationError("top_k: is too large"), ValidationError),
        (AuthenticationError("no such token"), AuthenticationError),
        (HeadwaterError("our fault"), HeadwaterError),
        (ProviderError("no", reason="PROVIDER_REJECTED_REQUEST", metadata={"http_status": "400"}), ProviderError),
    ],
)
def test_a_failure_is_raised_as_it_was_planned(headwater: ScriptedServer, error: HeadwaterError, raised: type) -> None:
    headwater.fail(error)
    with pytest.raises(raised) as caught:
        Agent().run("Hi")
    if isinstance(error, HeadwaterError):
        assert type(caught.value) is type(error)
        assert str(error) in str(caught.value)
        assert caught.value.retry_after == error.retry_after
        assert error.metadata.items() <= caught.value.metadata.items()
        assert error.reason in (None, caught.value.reason)


def test_a_failure_after_text_keeps_the_text(headwater: ScriptedServer) -> None:
    headwater.fail(ProviderRateLimitError("slow down"), after=["Once ", "upon"])
    with pytest.raises(StreamInterruptedError, match="slow down") as caught:
        Agent().run("Hi")
    assert caught.value.partial_response == "Once upon"


@pytest.mark.parametrize("error", [ToolError, StepExecutionError("x"), ValueError("x"), "late"])
def test_what_a_call_of_a_model_cannot_raise_is_refused(headwater: ScriptedServer, error: HeadwaterError) -> None:
    with pytest.raises(ValidationError, match=r"cannot fail with .*; possible are ValidationError, Provider"):
        headwater.fail(error)


def test_a_call_without_a_planned_reply_fails_at_once(headwater: ScriptedServer) -> None:
    with pytest.raises(ProviderError, match="planned no reply for this request, which is number 1"):
        Agent().run("Hi")
    assert len(headwater.requests) == 1


def test_a_wrong_option_is_refused_where_it_is_written(headwater: ScriptedServer) -> None:
    with pytest.raises(ValidationError, match=r"finish_reason: .*thinkin: .*did you mean thinking"):
        headwater.reply("x", thinkin="y", finish_reason="enough")  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="plan one reply for each round"):
        headwater.reply("x", after_tools={})  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="text: must be a str beside other options"):
        headwater.reply(["x"], thinking="y")


async def test_calls_at_once_get_the_reply_for_their_prompt(headwater: ScriptedServer) -> None:
    headwater.reply("Aare", when="Bern")
    headwater.reply("Rhine", when="Basel")
    agent = Agent(history=0)
    replies = await asyncio.gather(agent.arun("Basel?"), agent.arun("Bern?"))
    assert [reply.content for reply in replies] == ["Rhine", "Aare"]


def article(agent: WorkflowAgent) -> Workflow:
    workflow = agent.create_workflow("article")
    workflow.add_step("draft", action="Write on rivers.")
    workflow.add_step("publish", handler="publish", depends_on=["draft"])
    return workflow


def test_a_workflow_runs_without_async(headwater: ScriptedServer) -> None:
    headwater.fail(ProviderError("busy"))  # the step is tried again
    headwater.reply("Rivers run.")
    agent = WorkflowAgent(model="gpt-4o")
    agent.register_handler("publish", lambda agent, step, context: context["draft_result"].upper())
    result = agent.execute_workflow_sync(article(agent))
    assert result.get_step_result("publish").result == "RIVERS RUN."
    assert [request.model for request in headwater.requests] == ["gpt-4o", "gpt-4o"]


async def test_a_worker_serves_a_queue(headwater: ScriptedServer) -> None:
    fleet = WorkflowAgent(name="fleet")
    fleet.register_handler("resize", lambda agent, step, context: f"{context['picture']} at 50 %")
    with pytest.raises(TimeoutError, match="no worker serves the queue 'pictures' after"):
        await headwater.wait_for_worker("pictures", timeout=0.01)
    worker = asyncio.create_task(fleet.run_worker("pictures"))
    await headwater.wait_for_worker("pictures")
    agent = WorkflowAgent()
    workflow = agent.create_workflow("thumbnail")
    workflow.add_step("resize", handler="resize", queue="pictures")
    result = await agent.execute_workflow(workflow, {"picture": "cat.png"})
    assert result.context["resize_result"] == "cat.png at 50 %"
    worker.cancel()
    await asyncio.wait([worker])


def test_waiting_for_a_worker_blocks_where_no_loop_runs(headwater: ScriptedServer) -> None:
    with pytest.raises(TimeoutError, match="no worker"):
        headwater.wait_for_worker("nobody", timeout=0.01)


seen = itertools.count()


@pytest.mark.parametrize("_", range(2))
def test_no_test_sees_another(headwater: ScriptedServer, _: int) -> None:
    """A reply that was not taken, a request and a run stay behind in the first of two tests."""
    headwater.reply("left over" if next(seen) else "first")
    agent = WorkflowAgent()
    agent.register_handler("publish", lambda agent, step, context: "done")
    headwater.reply("never taken")
    result = agent.execute_workflow_sync(article(agent))
    assert result.context["draft_result"] in ("first", "left over")
    assert len(headwater.requests) == 1


@pytest.fixture(scope="module")
def process() -> Iterator[ControlledProcess]:
    with ControlledProcess() as process:
        yield process


def test_without_the_fixture_it_is_a_context_manager(process: ControlledProcess) -> None:
    with ScriptedServer(process) as first:
        first.reply("yes")
        assert Agent(target=first.target).run("Hi").content == "yes"
    with pytest.raises(ConnectionError):
        Agent(target=first.target).run("Hi")


def test_streams_and_runs_that_are_left_do_not_delay_the_end(process: ControlledProcess) -> None:
    server = ScriptedServer(process)
    with server:
        reply = server.stream()
        reply.send("so far")
        stream = iter(Agent(target=server.target).stream_sync("Hi"))
        assert next(stream).content == "so far"
    with pytest.raises(StreamInterruptedError):
        next(stream)


def test_a_process_that_died_is_reported_with_its_log() -> None:
    with pytest.raises(HeadwaterError, match=r"has ended; its log:"), ScriptedServer() as server:
        server._process._process.kill()
        Agent(target=server.target, timeout=10).run("Hi")
