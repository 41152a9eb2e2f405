"""Handlers, further: live events, branches, retries, a failed run that is mended and resumed, one that is left.

Start a server first (`headwater serve --scripted` needs no key), then: python advanced_streaming_handlers.py
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from headwater.agents.workflow import WorkflowAgent, WorkflowEvent, WorkflowEventType
from headwater.exceptions import NonRetryableError, StepExecutionError

Context = dict[str, Any]


async def draft(agent: WorkflowAgent, step: Any, context: Context) -> AsyncIterator[str]:
    """A generator forwards the model's reply to every watcher of the run."""
    async for chunk in agent.stream(f"Write about {step.metadata['topic']}", max_tokens=20):
        yield chunk.content


def count(agent: WorkflowAgent, step: Any, context: Context) -> int:
    return sum(len(context[f"{name}_result"].split()) for name in step.depends_on)


async def live_events_of_branches(agent: WorkflowAgent) -> None:
    """Three drafts at once; the events of the run say which step each chunk belongs to."""
    workflow = agent.create_workflow("drafts")
    topics = ("rivers", "brooks", "streams")
    for topic in topics:
        workflow.add_step(topic, handler="draft", metadata={"topic": topic})
    workflow.add_step("count", handler="count", depends_on=topics)
    characters = dict.fromkeys(topics, 0)
    stream = agent.stream_workflow(workflow)
    async for event in stream:
        if event.type == WorkflowEventType.CHUNK:
            characters[event.step] += len(event.content)
            print(f"\r{characters}", end="", flush=True)
    assert stream.result is not None
    print(f"\n{stream.result.context['count_result']} words, status {stream.result.status}")


async def retries(agent: WorkflowAgent) -> None:
    """A handler that fails is tried again, after up to 0.2 s, 0.4 s and so on."""

    def flaky(agent: WorkflowAgent, step: Any, context: Context) -> str:
        if step.attempt < 3:
            raise ConnectionError("the line is busy")
        return "got through"

    agent.register_handler("flaky", flaky)
    workflow = agent.create_workflow("call")
    workflow.add_step("flaky", handler="flaky", max_retries=5)
    async for event in agent.stream_workflow(workflow):
        if event.type == WorkflowEventType.STEP_RETRYING:
            print(f"attempt {event.attempt}: {event.error}; again in {event.delay:.1f} s")
        elif event.type == WorkflowEventType.STEP_COMPLETED:
            print(f"attempt {event.attempt}: {event.result}")


async def a_failed_run_goes_on(agent: WorkflowAgent) -> None:
    """Completed steps are kept; only the failed step, and those that were skipped for it, run again."""

    def broken(agent: WorkflowAgent, step: Any, context: Context) -> str:
        raise NonRetryableError("a bug")

    agent.register_handler("prepare", lambda agent, step, context: "prepared once")
    agent.register_handler("publish", broken)
    workflow = agent.create_workflow("release")
    workflow.add_step("prepare", handler="prepare")
    workflow.add_step("publish", handler="publish", depends_on=["prepare"])
    result = await agent.execute_workflow(workflow)
    try:
        result.raise_for_failure()
    except StepExecutionError as error:
        print(f"step {error.step} failed")
    agent.register_handler("publish", lambda agent, step, context: f"{context['prepare_result']}, then published")
    result = await agent.resume_workflow(result.run_id)
    print(result.context["publish_result"])


async def a_run_in_the_background(agent: WorkflowAgent) -> None:
    """A handle tells of a run that continues by itself; anyone with its id can watch it too."""
    workflow = agent.create_workflow("background")
    workflow.add_step("write", handler="draft", metadata={"topic": "patience"})
    handle = await agent.start_workflow(workflow)
    seen: list[WorkflowEvent] = []
    await agent.stream_workflow_progress(handle.id, callback=seen.append)
    result = await handle.result()
    print(f"{len(seen)} events, {result.status}")
    print(agent.visualize_workflow(workflow, result))


async def leaving_early(agent: WorkflowAgent) -> None:
    """To leave the loop is to cancel the run, with the step that runs and the reply of the model in it."""
    workflow = agent.create_workflow("essay")
    workflow.add_step("write", action="Write a very long essay")
    run_id = ""
    stream = agent.stream_workflow(workflow)
    async for event in stream:
        run_id = event.run_id
        if event.type == WorkflowEventType.CHUNK:
            break
    await stream.aclose()
    print(f"the run is {(await agent.get_workflow_status(run_id)).status}")


async def main() -> None:
    logging.getLogger("headwater").setLevel(logging.ERROR)  # it would show the failures, which are meant to be here
    agent = WorkflowAgent(name="Advanced")
    agent.register_handler("draft", draft)
    agent.register_handler("count", count)
    for step in (live_events_of_branches, retries, a_failed_run_goes_on, a_run_in_the_background, leaving_early):
        print(f"--- {step.__name__}")
        await step(agent)


asyncio.run(main())
