"""Each snippet of AgentiCraft's guide to streaming, as an equal program: only the package has another name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headwater import Agent
from headwater.exceptions import ProviderError, ProviderRateLimitError, StreamTimeoutError
from headwater.testing import ScriptedServer
from tests.support.guide import run


def test_quick_start(headwater: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    headwater.reply("Once upon a time.")
    run(
        """
        import asyncio
        from agenticraft import Agent

        async def main():
            storyteller = Agent(name="Storyteller", model="gpt-4o-mini")
            async for piece in storyteller.stream("A short tale, please"):
                print(piece.content, end="", flush=True)

        asyncio.run(main())
        """
    )
    assert capsys.readouterr().out == "Once upon a time."
    assert headwater.requests[0].model == "gpt-4o-mini"


def test_simple_streaming(headwater: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    headwater.reply("Qubits are both.")
    run(
        """
        async for piece in agent.stream("What are qubits?"):
            print(piece.content, end="", flush=True)
        """,
        agent=Agent(),
    )
    assert capsys.readouterr().out == "Qubits are both."


def test_the_complete_response(headwater: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    headwater.reply(["Mars, ", "Venus"])
    run(
        """
        from agenticraft.core.streaming import StreamingResponse

        reply = StreamingResponse()
        async for piece in agent.stream("Name two planets"):
            reply.add_chunk(piece)
            print(".", end="", flush=True)
        print(f"|{reply.complete_text}|{reply.chunk_count}|{reply.duration:.2f}")
        """,
        agent=Agent(),
    )
    dots, text, count, seconds = capsys.readouterr().out.split("|")
    assert (dots, text, count) == ("...", "Mars, Venus", "3")
    assert float(seconds) >= 0


@pytest.mark.parametrize("supported", [True, False])
def test_what_the_provider_supports(headwater: ScriptedServer, supported: bool) -> None:
    headwater.reply("Hello")

    class AgentOfATest(Agent):
        def get_provider_info(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            info = super().get_provider_info(*args, **kwargs)
            assert info["supports_streaming"]
            return {**info, "supports_streaming": supported}

    program = """
        facts = agent.get_provider_info()
        text = ""
        if facts["supports_streaming"]:
            async for piece in agent.stream(prompt):
                text += piece.content
        else:
            answer = await agent.arun(prompt)
            text = answer.content
        """
    assert run(program, agent=AgentOfATest(), prompt="Hi")["text"] == "Hello"


def test_leaving_early_interrupts_the_reply(headwater: ScriptedServer) -> None:
    reply = headwater.stream()
    for _ in range(5):
        reply.send("forty characters of an essay, or nearly.")
    names = run(
        """
        from agenticraft.core.streaming import StreamInterruptedError

        seen = 0
        try:
            async for piece in agent.stream("A long essay"):
                seen += len(piece.content)
                if seen > 100:
                    break
        except StreamInterruptedError as error:
            print(f"cut: {error}", error.partial_response)
        """,
        agent=Agent(),
    )
    assert names["seen"] == 120
    reply.wait_closed()


def test_a_cut_reply_keeps_its_text(headwater: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    headwater.fail(ProviderError("gone"), after="the beginning")
    program = """
        from agenticraft.core.streaming import StreamInterruptedError

        kept = ""
        try:
            async for piece in agent.stream("A long essay"):
                kept += piece.content
        except StreamInterruptedError as error:
            if error.partial_response:
                print(f"so far: {error.partial_response}")
        """
    assert run(program, agent=Agent())["kept"] == "the beginning"
    assert capsys.readouterr().out == "so far: the beginning\n"


def test_parameters(headwater: ScriptedServer) -> None:
    headwater.reply("Once.")
    run(
        """
        async for piece in agent.stream(
            "Something new", temperature=0.9, max_tokens=500, top_p=0.95,
            frequency_penalty=0.1, presence_penalty=0.2, stop=["END"],
        ):
            print(piece.content, end="", flush=True)
        """,
        agent=Agent(),
    )
    assert headwater.requests[0].parameters == {
        "temperature": 0.9, "max_tokens": 500, "top_p": 0.95,
        "frequency_penalty": 0.1, "presence_penalty": 0.2, "stop": ["END"],
    }  # fmt: skip


def test_progress(headwater: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    headwater.reply("Machines learn from data")
    program = """
        import time

        began, words = time.time(), 0
        async for piece in agent.stream("How do machines learn?"):
            words += len(piece.content.split())
            seconds = time.time() - began
            pace = words / seconds if seconds > 0 else 0
            print(f"\\r[{words} words, {pace:.1f}/s]", end="", flush=True)
        """
    assert run(program, agent=Agent())["words"] == 4
    assert "[4 words, " in capsys.readouterr().out


def test_a_tool_of_a_plain_agent(headwater: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    headwater.reply(tool_call={"name": "calculator", "arguments": {"expression": "15% of $2,500"}})
    headwater.reply("It is 375.")
    run(
        """
        from agenticraft import Agent
        from agenticraft.tools import calculator_tool

        clerk = Agent()
        clerk.add_tool(calculator_tool)
        async for piece in clerk.stream("How much is 15% of $2,500?"):
            print(piece.content, end="", flush=True)
        """
    )
    assert capsys.readouterr().out == "It is 375."
    assert headwater.requests[1].tool_results[0]["content"] == "375"


def test_usage_in_the_metadata(headwater: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    headwater.reply("Hi", usage={"input_tokens": 3, "output_tokens": 1, "total_tokens": 4})
    run(
        """
        async for piece in agent.stream("Hello"):
            if piece.metadata.get("usage"):
                print("usage:", piece.metadata["usage"]["total_tokens"])
        """,
        agent=Agent(model="gpt-4o"),
    )
    assert capsys.readouterr().out == "usage: 4\n"


def test_the_events_of_anthropic(headwater: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    headwater.reply("A double helix.")
    run(
        """
        from agenticraft import Agent

        biologist = Agent(provider="anthropic", model="claude-3-5-sonnet-latest")
        async for piece in biologist.stream("What is DNA?"):
            if piece.metadata.get("event_type") == "content_block_delta":
                print(piece.content, end="", flush=True)
        """
    )
    assert capsys.readouterr().out == "A double helix."


def test_ollama(headwater: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    headwater.reply("Hello, world.")
    run(
        """
        from agenticraft import Agent

        local = Agent(provider="ollama", model="llama3.2")
        async for piece in local.stream("Greet the world"):
            print(piece.content, end="", flush=True)
        """
    )
    assert capsys.readouterr().out == "Hello, world."
    assert headwater.requests[0].provider == "ollama"


ERRORS = """
    import asyncio
    from agenticraft.core.exceptions import ProviderError
    from agenticraft.core.streaming import StreamInterruptedError

    met = "none"
    try:
        async for piece in agent.stream(prompt):
            take(piece)
    except StreamInterruptedError as error:
        met = "interrupted"
    except ProviderError as error:
        met = "provider"
    except asyncio.TimeoutError:
        met = "timeout"
    """


@pytest.mark.parametrize(
    ("error", "after", "met"),
    [
        (ProviderRateLimitError("slow down"), (), "provider"),
        (ProviderRateLimitError("slow down"), ("so far",), "interrupted"),
        (StreamTimeoutError("late"), (), "interrupted"),
    ],
)
def test_where_errors_go(headwater: ScriptedServer, error: ProviderError, after: tuple[str, ...], met: str) -> None:
    headwater.fail(error, after=after)
    assert run(ERRORS, agent=Agent(), prompt="Hi", take=[].append)["met"] == met


def test_a_retry_around_a_stream(headwater: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    headwater.fail(ProviderError("busy"))
    headwater.reply("here")

    async def no_pause(seconds: float) -> None:
        assert seconds == 1

    program = """
        async def patiently(agent, prompt, tries=3):
            for number in range(tries):
                try:
                    async for piece in agent.stream(prompt):
                        yield piece
                    break
                except Exception:
                    if number == tries - 1:
                        raise
                    print(f"again, {number + 1} of {tries}")
                    await pause(1)

        text = ""
        async for piece in patiently(agent, "Hi"):
            text += piece.content
        """
    assert run(program, agent=Agent(), pause=no_pause)["text"] == "here"
    assert capsys.readouterr().out == "again, 1 of 3\n"


def test_batches(headwater: ScriptedServer) -> None:
    headwater.reply([str(number) for number in range(23)])
    batches: list[list[str]] = []

    async def keep(batch: list[str]) -> None:
        batches.append(list(batch))

    run(
        """
        async def in_batches(agent, prompt):
            waiting = []
            async for piece in agent.stream(prompt):
                waiting.append(piece.content)
                if len(waiting) >= 10:
                    await keep(waiting)
                    waiting.clear()
            if waiting:
                await keep(waiting)

        await in_batches(agent, "Count")
        """,
        agent=Agent(),
        keep=keep,
    )
    assert [len(batch) for batch in batches] == [10, 10, 4]


def test_several_streams_at_once(headwater: ScriptedServer) -> None:
    for word in ("one", "two", "three"):
        headwater.reply(word.upper(), when=word)
    program = """
        import asyncio
        from agenticraft.core.streaming import collect_stream

        async def all_of(agent, prompts):
            work = []
            for prompt in prompts:
                work.append(asyncio.create_task(collect_stream(agent.stream(prompt))))
            return await asyncio.gather(*work)

        replies = await all_of(agent, ["one", "two", "three"])
        """
    replies = run(program, agent=Agent(history=0))["replies"]
    assert [reply.complete_text for reply in replies] == ["ONE", "TWO", "THREE"]


def test_a_large_stream_is_handed_on(headwater: ScriptedServer) -> None:
    headwater.reply("many words come by")
    sent: list[str] = []

    async def send(text: str) -> None:
        sent.append(text)

    program = """
        async def count_words(agent, prompt):
            words = 0
            async for piece in agent.stream(prompt):
                words += len(piece.content.split())
                await send(piece.content)
            return words

        words = await count_words(agent, "Go")
        """
    assert run(program, agent=Agent(), send=send)["words"] == 4
    assert "".join(sent) == "many words come by"


def test_stopping_when_something_else_says_so(headwater: ScriptedServer) -> None:
    headwater.reply(["a", "b", "c"])
    program = """
        from agenticraft.core.streaming import StreamInterruptedError

        kept = ""
        try:
            async for piece in agent.stream(prompt):
                kept += piece.content
                if enough():
                    break
        except StreamInterruptedError:
            pass
        """
    answers = iter([False, True])
    assert run(program, agent=Agent(), prompt="Hi", enough=lambda: next(answers))["kept"] == "ab"


def test_dots_for_the_user(headwater: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    headwater.reply(["a", "b"])
    run(
        """
        print("Writing", end="", flush=True)
        async for piece in agent.stream(prompt):
            print(".", end="", flush=True)
        """,
        agent=Agent(),
        prompt="Hi",
    )
    assert capsys.readouterr().out == "Writing..."


TIMEOUT = """
    from agenticraft.core.streaming import StreamingManager

    taken = []
    manager = StreamingManager(timeout=SECONDS)
    async for piece in manager.stream_with_timeout(agent.stream(prompt)):
        taken.append(piece.content)
    """


def test_a_timeout_for_the_whole_stream(headwater: ScriptedServer) -> None:
    headwater.reply(["in ", "time"])
    assert "".join(run(TIMEOUT, agent=Agent(), prompt="Hi", SECONDS=30.0)["taken"]) == "in time"
    late = headwater.stream()
    with pytest.raises(asyncio.TimeoutError):
        run(TIMEOUT, agent=Agent(), prompt="Hi", SECONDS=0.1)
    late.wait_closed()
