"""The cost of a Python client to its caller: CPU of the reading process per delta. Reads one job as JSON.

Runs in the environment of the client that it measures, so it imports nothing of the benchmarks.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

DELTA_LENGTH = 13


async def headwater_texts(job: dict[str, Any]) -> AsyncIterator[str]:
    """A stream through Headwater's own client."""
    from headwater import Agent

    agent = Agent(model=job["model"], provider="openai", target=job["address"], history=0)
    async for chunk in agent.stream(job["prompt"]):
        yield chunk.content


async def openai_texts(job: dict[str, Any], client: Any) -> AsyncIterator[str]:
    """A stream through OpenAI's own client."""
    messages = [{"role": "user", "content": job["prompt"]}]
    stream = await client.chat.completions.create(model=job["model"], messages=messages, stream=True)
    async for chunk in stream:
        if chunk.choices:
            yield chunk.choices[0].delta.content or ""


async def measure(job: dict[str, Any]) -> dict[str, float]:
    """Reads streams to their end. CPU from `lead` seconds after the start for `seconds`; with no lead, over it all."""
    deltas = 0
    messages = 0
    client = None
    if job["client"] == "openai":
        from openai import AsyncOpenAI  # type: ignore[import-not-found, unused-ignore]

        client = AsyncOpenAI(base_url=f"http://{job['address']}/v1", api_key=job["key"], max_retries=0)

    async def one(number: int) -> int:
        nonlocal deltas, messages
        await asyncio.sleep(job["lead"] / 2 * number / job["streams"])
        mine = 0
        async for text in headwater_texts(job) if client is None else openai_texts(job, client):
            mine += len(text) // DELTA_LENGTH
            deltas += len(text) // DELTA_LENGTH
            messages += bool(text)
        return mine

    await one(0)  # imports, connections and caches
    before = deltas, messages, time.process_time()
    tasks = [asyncio.create_task(one(number)) for number in range(job["streams"])]
    if job["lead"]:
        await asyncio.sleep(job["lead"])
        before = deltas, messages, time.process_time()
        await asyncio.sleep(job["seconds"])
        after = deltas, messages, time.process_time()
        read = await asyncio.gather(*tasks)
    else:
        read = await asyncio.gather(*tasks)
        after = deltas, messages, time.process_time()
    if client is not None:
        await client.close()
    wrong = [count for count in read if count != job["count"]]
    if wrong:
        raise RuntimeError(f"{len(wrong)} streams were not whole: {wrong[:3]} deltas of {job['count']}")
    counted, said, used = (now - then for now, then in zip(after, before, strict=True))
    return {"chunks": counted, "messages_per_chunk": said / counted, "client_us_per_chunk": used / counted * 1e6}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(json.load(sys.stdin)))))
