"""A provider that tells the truth: an HTTP server that speaks Chat Completions, over plain TCP or TLS."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
from collections import Counter
from typing import Any, Self

from tests.support.faults.plan import chance_of
from tests.support.faults.truth import Truth, deltas, result_of, truth_named

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Source:
    """Answers the prompt with a truth's name by that truth, from `async with` to the end of its block.

    Args:
        tls: makes the connections encrypted.

    Attributes:
        port: the port at 127.0.0.1.
        asked: how often each round of each truth was asked for.
        wrong: requests that no caller has made, in words.
        open: how many connections it has.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.asked: Counter[tuple[str, int]] = Counter()
        self.wrong: list[str] = []
        self.open = 0
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.open += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                    length = re.search(r"(?i)^content-length: *(\d+)", head, re.MULTILINE)
                    body = json.loads(await reader.readexactly(int(length[1]) if length else 0))
                    await self._answer(writer, body["messages"])
        finally:
            self.open -= 1
            writer.transport.abort()

    async def _answer(self, writer: asyncio.StreamWriter, messages: list[dict[str, Any]]) -> None:
        truth = truth_named(next(each["content"] for each in messages if each["role"] == "user"))
        number = sum(each["role"] == "assistant" for each in messages)
        self.asked[truth.name, number] += 1
        self._check(truth, number, messages)
        answer, chance = truth.rounds[number], chance_of("pieces", truth.name, number)
        writer.write(_HEAD)
        for delta in deltas(answer, chance):
            _say(writer, {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
            await writer.drain()
            await asyncio.sleep(truth.pause)
        reason = "tool_calls" if answer.calls else "stop"
        _say(writer, {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        _write(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def _check(self, truth: Truth, number: int, messages: list[dict[str, Any]]) -> None:
        """Notes what a request has wrong about the rounds before."""
        for earlier, said in zip(truth.rounds[:number], _said(messages), strict=False):
            wanted = (earlier.text, [result_of(arguments["word"]) for _, arguments in earlier.calls])
            if said != wanted:
                self.wrong.append(f"{truth.name}: asked with {said} instead of {wanted}")


def _said(messages: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Text and results of each round so far."""
    found: list[tuple[str, list[str]]] = []
    for each in messages:
        if each["role"] == "assistant":
            found.append((each.get("content") or "", []))
        elif each["role"] == "tool":
            found[-1][1].append(each["content"])
    return found


def _say(writer: asyncio.StreamWriter, event: dict[str, Any]) -> None:
    _write(writer, b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n")


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))
