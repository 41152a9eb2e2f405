"""The official clients of OpenAI, Anthropic and Google on canned answers; runs in an environment that holds only them.

Usage: `python sdks.py URL`, with one `{"reader": ..., "model": ...}` a line on standard input. Writes the outcome of each
as a line of JSON: text and calls, or the error. A reader is one of the two ways of each client: the plain stream, whose
pieces its users join themselves, and the helper that joins them.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from typing import Any

import anthropic
import openai
from google import genai
from google.genai import types

SECONDS = 20.0
PROMPT = "Hi"
TOOL: Any = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}},
}


class Outcome:
    """The text and the calls of a reply. Arguments are kept as the client gives them: text, or an object."""

    def __init__(self) -> None:
        self.text = ""
        self.calls: list[dict[str, Any]] = []

    def call(self, id: Any, name: Any, arguments: Any) -> None:
        self.calls.append({"id": id, "name": name, "arguments": arguments})


class Clients:
    """The clients, and a method for each way to read."""

    def __init__(self, url: str) -> None:
        self._openai = openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0, timeout=SECONDS)
        self._anthropic = anthropic.Anthropic(base_url=url, api_key="k", max_retries=0, timeout=SECONDS)
        options = types.HttpOptions(base_url=url, retry_options=types.HttpRetryOptions(attempts=1))
        self._google = genai.Client(api_key="k", http_options=options)

    def chat_stream(self, model: str) -> Outcome:
        """Chat Completions, joined as OpenAI's guide does: by the index of each call."""
        outcome, calls = Outcome(), {}
        with self._openai.chat.completions.create(model=model, messages=_messages(), stream=True) as stream:
            for chunk in stream:
                for choice in chunk.choices[:1]:
                    outcome.text += choice.delta.content or ""
                    for piece in choice.delta.tool_calls or ():
                        if piece.index not in calls:
                            calls[piece.index] = piece
                        else:
                            calls[piece.index].function.arguments += piece.function.arguments
        for call in calls.values():
            outcome.call(call.id, call.function.name, call.function.arguments)
        return outcome

    def chat_helper(self, model: str) -> Outcome:
        """Chat Completions, joined by the client."""
        outcome = Outcome()
        with self._openai.chat.completions.stream(model=model, messages=_messages(), tools=[TOOL]) as stream:
            message = stream.get_final_completion().choices[0].message
        outcome.text = message.content or ""
        for call in message.tool_calls or ():
            outcome.call(call.id, call.function.name, call.function.arguments)
        return outcome

    def responses_stream(self, model: str) -> Outcome:
        """Responses: the deltas of text, and the items that are done."""
        outcome = Outcome()
        with self._openai.responses.create(model=model, input=PROMPT, stream=True) as stream:
            for event in stream:
                if event.type == "response.output_text.delta":
                    outcome.text += event.delta
                elif event.type == "response.output_item.done" and event.item.type == "function_call":
                    outcome.call(event.item.call_id, event.item.name, event.item.arguments)
                elif event.type == "response.failed":
                    raise RuntimeError(f"response.failed: {event.response.error}")
        return outcome

    def responses_helper(self, model: str) -> Outcome:
        """Responses, joined by the client."""
        outcome = Outcome()
        with self._openai.responses.stream(model=model, input=PROMPT) as stream:
            response = stream.get_final_response()
        outcome.text = response.output_text
        for item in response.output:
            if item.type == "function_call":
                outcome.call(item.call_id, item.name, item.arguments)
        return outcome

    def messages_stream(self, model: str) -> Outcome:
        """Messages: the deltas of text and of input, joined by the block that they name."""
        outcome, calls = Outcome(), {}
        with self._anthropic.messages.create(model=model, max_tokens=99, messages=_messages(), stream=True) as stream:
            for event in stream:
                if event.type == "content_block_start" and event.content_block.type == "tool_use":
                    outcome.call(event.content_block.id, event.content_block.name, "")
                    calls[event.index] = outcome.calls[-1]
                elif event.type != "content_block_delta":
                    continue
                elif event.delta.type == "text_delta":
                    outcome.text += event.delta.text
                elif event.delta.type == "input_json_delta" and event.index in calls:
                    calls[event.index]["arguments"] += event.delta.partial_json
        return outcome

    def messages_helper(self, model: str) -> Outcome:
        """Messages, joined by the client."""
        outcome = Outcome()
        with self._anthropic.messages.stream(model=model, max_tokens=99, messages=_messages()) as stream:
            message = stream.get_final_message()
        for block in message.content:
            if block.type == "text":
                outcome.text += block.text
            elif block.type == "tool_use":
                outcome.call(block.id, block.name, block.input)
        return outcome

    def gemini_stream(self, model: str) -> Outcome:
        """`streamGenerateContent`: the text and the calls of each response."""
        outcome = Outcome()
        for response in self._google.models.generate_content_stream(model=model, contents=PROMPT):
            parts = response.parts or ()
            outcome.text += "".join(part.text for part in parts if part.text and not part.thought)
            for call in response.function_calls or ():
                outcome.call(call.id, call.name, call.args)
        return outcome


def _messages() -> Any:
    return [{"role": "user", "content": PROMPT}]


def play(read: Callable[[str], Outcome], model: str) -> dict[str, Any]:
    """The outcome of one answer; any exception is an outcome too."""
    try:
        outcome = read(model)
    except Exception as error:  # noqa: BLE001  # of any kind: the outcome is its words
        words = " ".join(str(error).split())
        return {"error": f"{type(error).__name__}: {words}"[:200], "text": "", "calls": []}
    return {"error": "", "text": outcome.text, "calls": outcome.calls}


def main(url: str, lines: Iterable[str]) -> None:
    """Plays all that is asked for."""
    warnings.simplefilter("ignore")  # of pydantic, about types that are odd on purpose
    clients = Clients(url)
    for line in lines:
        job = json.loads(line)
        with redirect_stdout(sys.stderr):
            outcome = play(getattr(clients, job["reader"]), job["model"])
        sys.stdout.write(json.dumps(outcome, default=str) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.stdin)
