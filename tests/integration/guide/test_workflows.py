"""The guide's snippets with handlers, and the shapes of AgentiCraft's examples, as equal programs."""

from __future__ import annotations

import pytest

from headwater.testing import ScriptedServer
from tests.support.guide import run


def test_the_handler_pattern(headwater: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    names = run(
        """
        from agenticraft.agents.workflow import WorkflowAgent
        from agenticraft.core.streaming import create_mock_stream

        def add(a: int, b: int) -> float:
            \"\"\"Add two numbers.\"\"\"
            return float(a + b)

        async def adding(agent, step, context):
            numbers = context.get("numbers", {})
            async for piece in create_mock_stream(f"Adding {numbers}...\\n", chunk_size=5, delay=0):
                print(piece.content, end="", flush=True)
            total = add(**numbers)
            context["total"] = total
            async for piece in create_mock_stream(f"Total: {total}\\n", chunk_size=5, delay=0):
                print(piece.content, end="", flush=True)
            return str(total)

        clerk = WorkflowAgent(name="Clerk")
        clerk.register_handler("adding", adding)
        workflow = clerk.create_workflow("sums")
        workflow.add_step(name="sum", handler="adding", action="Adding up...")
        context = {"numbers": {"a": 1, "b": 2}}
        result = await clerk.execute_workflow(workflow, context=context)
        """
    )
    assert capsys.readouterr().out == "Adding {'a': 1, 'b': 2}...\nTotal: 3.0\n"
    assert names["result"].successful
    assert names["context"] == names["result"].context == {
        "numbers": {"a": 1, "b": 2}, "total": 3.0, "sum_result": "3.0",
    }  # fmt: skip


WRAPPER = """
    from agenticraft.agents.workflow import StepStatus, WorkflowAgent
    from agenticraft.core.streaming import create_mock_stream

    class Wrapper:
        \"\"\"Makes handlers of a function.\"\"\"

        def __init__(self, name, description, func):
            self.name, self.description, self.func = name, description, func
            self.calls = []

        def create_streaming_handler(self, step_name, progress=None):
            async def handler(agent, step, context):
                arguments = context.get(f"{step_name}_params", {})
                if progress:
                    await progress(step_name, "started", 0)
                async for piece in create_mock_stream(f"{self.name}...\\n", delay=0):
                    print(piece.content, end="", flush=True)
                found = await self.execute(**arguments)
                context[f"{step_name}_result"] = found
                if progress:
                    await progress(step_name, "completed", 100)
                return str(found)

            return handler

        async def execute(self, *args, **kwargs):
            found = self.func(*args, **kwargs)
            self.calls.append({"args": kwargs, "result": found})
            return found
    """


def test_the_wrapper_keeps_its_value_for_the_next_step(
    headwater: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    names = run(
        WRAPPER
        + """
    steps = []

    async def progress(name, status, percent):
        steps.append((name, status, percent))

    counter = Wrapper("count", "Counts words.", lambda text: {"words": len(text.split())})
    agent = WorkflowAgent(name="Counter", instructions="Count with care")
    agent.register_handler("count", counter.create_streaming_handler("count", progress))

    async def report(agent, step, context):
        return f"{context.get('count_result', {}).get('words')} words"

    agent.register_handler("report", report)
    workflow = agent.create_workflow(name="counting", description="Count, then report")
    workflow.add_step(name="count", handler="count", action="Counting...")
    workflow.add_step(name="report", handler="report", action="Reporting...", depends_on=["count"])
    result = await agent.execute_workflow(workflow, context={"count_params": {"text": "a b c"}})
    for name, step in result.step_results.items():
        print("ok" if step.status == StepStatus.COMPLETED else "no", name)
    """
    )
    assert capsys.readouterr().out == "count...\nok count\nok report\n"
    assert names["result"].step_results["report"].result == "3 words"
    assert names["steps"] == [("count", "started", 0), ("count", "completed", 100)]
    assert names["counter"].calls == [{"args": {"text": "a b c"}, "result": {"words": 3}}]


def test_branches_at_once_and_their_join(headwater: ScriptedServer) -> None:
    names = run(
        WRAPPER
        + """
    agent = WorkflowAgent(name="Merger", instructions="Work in parallel")
    for name in "abc":
        tool = Wrapper(f"process_{name}", "", lambda data: {"records": len(data)})
        agent.register_handler(f"process_{name}", tool.create_streaming_handler(f"process_{name}"))

    async def merge(agent, step, context):
        found = [context.get(f"process_{name}_result") for name in "abc"]
        context["merged_result"] = {"total": sum(each["records"] for each in found)}
        return "merged"

    agent.register_handler("merge", merge)
    workflow = agent.create_workflow(name="merging", description="Process, then merge")
    for name in "abc":
        workflow.add_step(name=f"process_{name}", handler=f"process_{name}", action=f"Processing {name}...")
    workflow.add_step(
        name="merge", handler="merge", action="Merging...", depends_on=["process_a", "process_b", "process_c"]
    )
    context = {f"process_{name}_params": {"data": name * 4} for name in "abc"}
    result = await agent.execute_workflow(workflow, context=context, parallel=True)
    """
    )
    assert names["context"]["merged_result"] == {"total": 12}
    assert names["result"].duration >= 0


def test_retries_inside_a_wrapper(headwater: ScriptedServer) -> None:
    names = run(
        WRAPPER
        + """
    class Retrying(Wrapper):
        async def execute(self, *args, **kwargs):
            for number in range(1, 4):
                try:
                    return await super().execute(*args, **kwargs)
                except Exception:
                    if number == 3:
                        raise

    answers = iter([None, None, "third"])

    def unreliable(query):
        answer = next(answers)
        if answer is None:
            raise Exception("not yet")
        return f"{query}: {answer}"

    agent = WorkflowAgent(name="Patient")
    agent.register_handler("ask", Retrying("ask", "", unreliable).create_streaming_handler("ask"))
    workflow = agent.create_workflow("asking")
    workflow.add_step("ask", handler="ask", max_retries=0)
    result = await agent.execute_workflow(workflow, context={"ask_params": {"query": "q"}})
    """
    )
    assert names["result"].context["ask_result"] == "q: third"


def test_a_plain_function_and_its_handler(headwater: ScriptedServer) -> None:
    names = run(
        """
        from agenticraft.agents.workflow import WorkflowAgent

        def shout(word):
            return word.upper()

        async def shouting(agent, step, context):
            return shout(**context.get("params", {}))

        agent = WorkflowAgent()
        agent.register_handler("shouting", shouting)
        workflow = agent.create_workflow("w")
        workflow.add_step("shout", handler="shouting")
        result = await agent.execute_workflow(workflow, context={"params": {"word": "hi"}})
        """
    )
    assert names["result"].context["shout_result"] == "HI"


def test_a_decorated_tool_works_in_an_action_too(headwater: ScriptedServer) -> None:
    headwater.reply(tool_call={"name": "shout", "arguments": {"word": "hi"}})
    headwater.reply("I said HI.")
    names = run(
        """
        from agenticraft import tool
        from agenticraft.agents.workflow import WorkflowAgent

        @tool
        def shout(word: str) -> str:
            \"\"\"Say a word loudly.\"\"\"
            return word.upper()

        agent = WorkflowAgent(tools=[shout])
        workflow = agent.create_workflow("w")
        workflow.add_step("say", "Say hi loudly")
        result = await agent.execute_workflow(workflow)
        """
    )
    assert names["result"].get_step_result("say").result == "I said HI."
    assert headwater.requests[1].tool_results[0]["content"] == "HI"


def test_data_flows_through_the_context(headwater: ScriptedServer) -> None:
    names = run(
        """
        from agenticraft.agents.workflow import WorkflowAgent

        async def first(agent, step, context):
            context["one_result"] = [1, 2, 3]

        async def second(agent, step, context):
            return sum(context.get("one_result"))

        agent = WorkflowAgent()
        agent.register_handler("first", first)
        agent.register_handler("second", second)
        workflow = agent.create_workflow("w")
        workflow.add_step("one", handler="first")
        workflow.add_step("two", handler="second", depends_on=["one"])
        context = {}
        await agent.execute_workflow(workflow, context=context)
        """
    )
    assert names["context"] == {"one_result": [1, 2, 3], "two_result": 6}


def test_steps_that_a_model_answers(headwater: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    headwater.reply("twelve rows", when="Load the data")
    headwater.reply("a report", when="Write a report")
    run(
        """
        from agenticraft.agents.workflow import StepStatus, WorkflowAgent

        agent = WorkflowAgent(name="Analyst", instructions="Go step by step")
        workflow = agent.create_workflow("report", "From data to a report")
        workflow.add_step("load", "Load the data")
        workflow.add_step("write", "Write a report", depends_on=["load"])
        workflow.add_step("never", "Not this", depends_on=["load"], condition="context.missing")
        print(agent.visualize_workflow(workflow).splitlines()[0])
        result = await agent.execute_workflow(workflow, context={"missing": False})
        for name, step in result.step_results.items():
            if step.status != StepStatus.SKIPPED:
                print(f"{name}: {step.status}, {step.result}")
            else:
                print(f"{name}: skipped")
        print(result.status)
        """
    )
    assert capsys.readouterr().out.splitlines()[1:] == [
        "load: completed, twelve rows",
        "write: completed, a report",
        "never: skipped",
        "completed",
    ]
    assert "twelve rows" in headwater.requests[1].prompt


def test_a_handler_streams_a_model(headwater: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    headwater.reply(["Bon", "jour"])
    names = run(
        """
        from agenticraft.agents.workflow import WorkflowAgent

        async def translate(agent, step, context):
            text = ""
            async for piece in agent.stream(f"Translate {context['word']}"):
                print(piece.content, end="", flush=True)
                text += piece.content
            return text

        agent = WorkflowAgent(name="Translator", model="gpt-4o")
        agent.register_handler("translate", translate)
        workflow = agent.create_workflow("w")
        workflow.add_step("translate", handler="translate")
        result = await agent.execute_workflow(workflow, context={"word": "hello"})
        """
    )
    assert capsys.readouterr().out == names["result"].context["translate_result"] == "Bonjour"


def test_where_a_failed_step_is_seen(headwater: ScriptedServer) -> None:
    """As in AgentiCraft it is in the result and raises nothing; here the run has failed too."""
    names = run(
        """
        from agenticraft.agents.workflow import StepStatus, WorkflowAgent

        def fails(agent, step, context):
            raise ValueError("no such file")

        agent = WorkflowAgent()
        agent.register_handler("fails", fails)
        workflow = agent.create_workflow("w")
        workflow.add_step("read", handler="fails", max_retries=0)
        workflow.add_step("use", handler="fails", depends_on=["read"])
        result = await agent.execute_workflow(workflow)
        """
    )
    result = names["result"]
    assert (result.status, result.failed_steps, result.successful) == ("failed", ["read"], False)
    assert (result.step_results["read"].status, result.step_results["read"].error) == (
        "failed",
        "ValueError: no such file",
    )
    assert result.step_results["use"].status == "skipped"
