"""An introduction to streaming: print a reply as it comes, collect one, stop one early, see what it cost.

Start a server first (`headwater serve --scripted` needs no key), then: python basic_streaming.py
"""

import asyncio
import time

from headwater import Agent, StreamingResponse, StreamInterruptedError


async def print_as_it_comes(agent: Agent) -> None:
    async for chunk in agent.stream("Tell me a story", max_tokens=80):
        print(chunk.content, end="", flush=True)
    print()


async def collect(agent: Agent) -> None:
    response = StreamingResponse()
    async for chunk in agent.stream("List the planets", max_tokens=40):
        response.add_chunk(chunk)
        print(".", end="", flush=True)
    print(f"\n{len(response.complete_text)} characters in {response.chunk_count} chunks")
    print(f"{response.duration:.2f} s, {response.total_tokens} tokens")


async def stop_early(agent: Agent) -> None:
    """Leaving the loop ends the reply at the provider too: text that is not written is not paid for."""
    characters = 0
    try:
        async for chunk in agent.stream("Write a long essay"):
            characters += len(chunk.content)
            if characters > 100:
                break
    except StreamInterruptedError as error:
        print(f"Cut by somebody else, after: {error.partial_response}")
    print(f"Stopped after {characters} characters")


async def show_progress(agent: Agent) -> None:
    began = time.monotonic()
    words = 0
    async for chunk in agent.stream("Explain machine learning", max_tokens=40, temperature=0.2):
        words += len(chunk.content.split())
        print(f"\r{words} words, {words / (time.monotonic() - began):.0f} words/s", end="", flush=True)
        if chunk.is_final:
            print(f"\nThe server says: {chunk.metadata['stats']}")


async def main() -> None:
    agent = Agent(name="Basics", instructions="Be brief.")
    info = agent.get_provider_info()
    print(f"{info['provider']}/{info['model']} streams: {info['supports_streaming']}\n")
    for step in (print_as_it_comes, collect, stop_early, show_progress):
        print(f"--- {step.__name__}")
        await step(agent)
    print(f"--- the agent remembers {len(agent.messages)} messages")


asyncio.run(main())
