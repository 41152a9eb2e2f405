"""Streaming as it is used: a conversation, batches, many at once, a time limit, a retry, a web response.

Start a server first (`headwater serve --scripted` needs no key), then: python practical_streaming.py
"""

import asyncio
from collections.abc import AsyncIterator

from headwater import (
    Agent,
    HeadwaterError,
    StreamChunk,
    StreamingManager,
    StreamInterruptedError,
    StreamTimeoutError,
    collect_stream,
    stream_to_string,
)


async def a_conversation() -> None:
    """The agent sends what was said before; the server keeps nothing."""
    agent = Agent(instructions="You are a patient teacher.", max_tokens=30)
    for question in ("What is a stream?", "And a brook?"):
        print(f"> {question}\n{(await stream_to_string(agent.stream(question)))[:60]}...")
    print(f"({len(agent.messages)} messages remembered)")


async def in_batches(size: int = 10) -> None:
    """A chunk is often a word; a database or a speech engine wants more at a time."""
    batch: list[str] = []
    batches = 0
    async for chunk in Agent(max_tokens=50).stream("Explain rivers"):
        batch.append(chunk.content)
        if len(batch) >= size or chunk.is_final:
            batches += 1  # hand "".join(batch) on here
            batch.clear()
    print(f"{batches} batches")


async def many_at_once() -> None:
    agent = Agent(history=0, max_tokens=30)
    prompts = [f"Say something about the number {number}" for number in range(10)]
    replies = await asyncio.gather(*(collect_stream(agent.stream(prompt)) for prompt in prompts))
    print(f"{len(replies)} replies, {sum(reply.total_tokens or 0 for reply in replies)} tokens")


async def with_a_time_limit() -> None:
    """The limit holds for the whole reply; the text before it is kept."""
    try:
        async with StreamingManager(timeout=0.2) as manager:
            async for chunk in manager.stream_with_timeout(Agent().stream("Write a novel")):
                print(chunk.content, end="", flush=True)
    except StreamTimeoutError as error:
        print(f"\n(time is up after {len(error.partial_response or '')} characters)")


async def with_a_retry(prompt: str, attempts: int = 3) -> AsyncIterator[StreamChunk]:
    """Only what failed before its first chunk is worth asking again as it is."""
    agent = Agent(max_tokens=20)
    for attempt in range(1, attempts + 1):
        begun = False
        try:
            async for chunk in agent.stream(prompt):
                begun = True
                yield chunk
            return
        except StreamInterruptedError:
            raise
        except HeadwaterError as error:
            if begun or attempt == attempts:
                raise
            print(f"(attempt {attempt} failed: {error})")
            await asyncio.sleep(0.2 * attempt)


async def server_sent_events() -> None:
    """The events of a web endpoint; with FastAPI: StreamingResponse(events(), media_type="text/event-stream")."""

    async def events() -> AsyncIterator[str]:
        async for chunk in Agent(max_tokens=20).stream("Greet the visitor"):
            yield f"data: {chunk.content}\n\n"

    print(f"{len([event async for event in events()])} events")


async def main() -> None:
    for step in (a_conversation, in_batches, many_at_once, with_a_time_limit, server_sent_events):
        print(f"--- {step.__name__}")
        await step()
    print("--- with_a_retry")
    print(len([chunk async for chunk in with_a_retry("Once more")]), "chunks")


asyncio.run(main())
