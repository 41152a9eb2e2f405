"""The same question to every provider that the server has, at the same time, side by side.

Start a server first (`headwater serve --scripted` needs no key), then: python multi_provider_stream.py "A question?"
"""

import asyncio
import sys
from dataclasses import dataclass

from headwater import Agent, HeadwaterError, collect_stream


@dataclass
class Answer:
    provider: str
    text: str = ""
    first_token: float | None = None
    duration: float = 0.0
    tokens: int | None = None
    error: str = ""


async def ask(provider: str, question: str) -> Answer:
    agent = Agent(instructions="Answer in two sentences.")
    agent.set_provider(provider)
    try:
        reply = await collect_stream(agent.stream(question, max_tokens=60, timeout=60))
    except HeadwaterError as error:
        return Answer(provider, error=f"{type(error).__name__}: {error}")
    stats = reply.metadata["stats"]
    return Answer(
        provider, reply.complete_text, stats.get("time_to_first_token"), stats["duration"], reply.total_tokens
    )


async def main(question: str) -> None:
    providers = Agent().list_available_providers()
    print(f"Asking {', '.join(providers)}: {question}\n")
    answers = await asyncio.gather(*(ask(provider, question) for provider in providers))
    for answer in answers:
        print(f"== {answer.provider}")
        if answer.error:
            print(answer.error)
            continue
        first = "-" if answer.first_token is None else f"{answer.first_token:.3f} s"
        print(f"{answer.text}\n-- first token {first}, {answer.duration:.2f} s in all, {answer.tokens} tokens\n")


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "Why is the sky blue?"))
