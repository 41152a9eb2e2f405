"""Anthropic's Messages, OpenAI's Responses and Google's contents, as strict as the services themselves.

The answer follows from the request alone. Anthropic's signatures are digests of the conversation before the thinking,
so that thinking behind another conversation is known.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from tests.support.upstream.strict.rules import ROUNDS, refuse, sse

_BETA = "thinking-binding-controls-2026-08-01"
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Anthropic:
    """Messages with a model that binds its thinking. `rounds`: the calls after a prompt."""

    def __init__(self, rounds: int = ROUNDS) -> None:
        self._rounds = rounds

    def answer(self, body: dict[str, Any], headers: Mapping[str, str]) -> bytes:
        messages = body["messages"]
        self._check_messages(messages)
        self._check_binding(body, headers)
        number = self._round(messages)
        signature = _digest(body, messages, [])
        thinking = {"type": "thinking", "thinking": "Look.", "signature": signature}
        hidden = {"type": "redacted_thinking", "data": _digest(body, messages, [thinking])}
        if number == self._rounds:
            return _message([thinking, {"type": "text", "text": "Done."}], "end_turn")
        call = {
            "type": "tool_use",
            "id": f"toolu_{len(messages)}",
            "name": "get_weather",
            "input": {"city": f"{number}"},
        }
        return _message([thinking, hidden, {"type": "text", "text": "\n\n"}, call], "tool_use")

    @staticmethod
    def _round(messages: list[dict[str, Any]]) -> int:
        prompts = [
            place
            for place, message in enumerate(messages)
            if message["role"] == "user" and any(block["type"] == "text" for block in message["content"])
        ]
        return (len(messages) - 1 - prompts[-1]) // 2

    @staticmethod
    def _check_messages(messages: list[dict[str, Any]]) -> None:
        refuse(messages[0]["role"] != "user", "the first message must be the user's")
        refuse(any(a["role"] == b["role"] for a, b in pairwise(messages)), "roles must alternate")
        ids: list[str] = []
        calls: list[str] = []
        for message in messages:
            blocks = message["content"]
            results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
            refuse(sorted(results) != sorted(calls), f"results {results} do not answer the calls {calls}")
            kinds = [block["type"] == "tool_result" for block in blocks]
            refuse(kinds != sorted(kinds, reverse=True), "results must come before text")
            texts = [block["text"] for block in blocks if block["type"] == "text"]
            refuse(any(not text.strip() for text in texts), "a text block holds nothing but white space")
            calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
            refuse(any(not _ID.fullmatch(id) or id in ids for id in calls), f"ids {calls}")
            ids += calls
        refuse(bool(calls), f"calls without results: {calls}")

    @staticmethod
    def _check_binding(body: dict[str, Any], headers: Mapping[str, str]) -> None:
        binding = body.get("thinking", {}).get("block_binding")
        knows = _BETA in headers.get("anthropic-beta", "").split(",")
        refuse(binding is not None and not knows, "thinking.block_binding: Extra inputs are not permitted")
        if binding == {"prefix_mismatch_behavior": "drop_block"}:
            return
        for number, message in enumerate(body["messages"]):
            for place, block in enumerate(message["content"]):
                mark = block.get("signature") or (block["data"] if block["type"] == "redacted_thinking" else None)
                bound = _digest(body, body["messages"][:number], message["content"][:place])
                refuse(mark is not None and mark != bound, "The block is bound to a different conversation")


def _digest(body: dict[str, Any], messages: list[dict[str, Any]], blocks: list[dict[str, Any]]) -> str:
    prefix = [body.get("system"), body.get("tools"), messages, blocks]
    return hashlib.sha256(json.dumps(prefix, sort_keys=True).encode()).hexdigest()


def _message(blocks: list[dict[str, Any]], reason: str) -> bytes:
    start = {
        "id": "msg",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "usage": {"input_tokens": 1},
    }
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(blocks):
        texts = {"thinking": "", "text": ""} if block["type"] in ("thinking", "text") else {}
        begun = block | {key: value for key, value in texts.items() if key in block}
        begun = (
            begun | ({"signature": ""} if "signature" in block else {}) | ({"input": {}} if "input" in block else {})
        )
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        for delta in _deltas(block):
            events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 1}})
    events.append({"type": "message_stop"})
    return b"".join(sse(event, event["type"]) for event in events)


def _deltas(block: dict[str, Any]) -> list[dict[str, Any]]:
    match block["type"]:
        case "thinking":
            return [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        case "text":
            return [{"type": "text_delta", "text": block["text"]}]
        case "tool_use":
            return [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
    return []


class Responses:
    """OpenAI's Responses with a model that reasons, without a store."""

    def answer(self, body: dict[str, Any], headers: Mapping[str, str]) -> bytes:
        refuse(body.get("include") != ["reasoning.encrypted_content"], "the encrypted reasoning is not asked for")
        refuse(body.get("store") is not False, "the response would be stored")
        number = 0
        waiting: list[str] = []
        reasoning: list[dict[str, Any]] = []
        for item in body["input"]:
            kind = item["type"]
            if kind == "reasoning":
                reasoning.append(item)
            elif kind == "function_call":
                refuse(reasoning != [_reasoning(number)], f"call {number} came without its reasoning: {reasoning}")
                reasoning = []
                waiting.append(item["call_id"])
                number += 1
            elif kind == "function_call_output":
                refuse(item["call_id"] not in waiting, f"no call {item['call_id']}")
                waiting.remove(item["call_id"])
        refuse(bool(waiting or reasoning), f"left over: {waiting} {reasoning}")
        if number == ROUNDS:
            said = {"id": "msg", "type": "message", "role": "assistant", "status": "completed"}
            return _response([said | {"content": [{"type": "output_text", "text": "Done.", "annotations": []}]}])
        arguments = json.dumps({"city": f"{number}"})
        call = {"id": f"fc_{number}", "call_id": f"call_{number}", "name": "get_weather", "arguments": arguments}
        return _response([_reasoning(number), {"type": "function_call", "status": "completed", **call}])


def _reasoning(number: int) -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": f"Look {number}."}]
    return {"id": f"rs_{number}", "type": "reasoning", "summary": summary, "encrypted_content": f"enc-{number}"}


def _response(items: list[dict[str, Any]]) -> bytes:
    events: list[dict[str, Any]] = [{"type": "response.created", "response": {"id": "r", "status": "in_progress"}}]
    for index, item in enumerate(items):
        for kind in ("added", "done"):
            events.append({"type": f"response.output_item.{kind}", "output_index": index, "item": item})
    response = {"id": "r", "status": "completed", "output": items, "usage": {"input_tokens": 1, "output_tokens": 1}}
    events.append({"type": "response.completed", "response": response})
    return b"".join(sse(event | {"sequence_number": n}, event["type"]) for n, event in enumerate(events))


class Gemini:
    """Google's own API with a model that signs its calls."""

    def answer(self, body: dict[str, Any], headers: Mapping[str, str]) -> bytes:
        turns = body["contents"]
        refuse(any(a["role"] == b["role"] for a, b in pairwise(turns)), "turns must alternate")
        number = 0
        for asked, answered in zip(turns[1::2], turns[2::2], strict=True):
            [call] = [part for part in asked["parts"] if "functionCall" in part]
            refuse(call.get("thoughtSignature") != f"c2ln{number:04}", "a function call lacks its thought_signature")
            [result] = [part["functionResponse"] for part in answered["parts"]]
            refuse(result["name"] != "get_weather" or not result["response"], "the result has no name or no content")
            number += 1
        if number == ROUNDS:
            return _candidate({"text": "Done."})
        call = {"functionCall": {"name": "get_weather", "args": {"city": f"{number}"}}}
        return _candidate({"text": "Look.", "thought": True}, call | {"thoughtSignature": f"c2ln{number:04}"})


def _candidate(*parts: dict[str, Any]) -> bytes:
    return sse({"candidates": [{"content": {"role": "model", "parts": list(parts)}, "finishReason": "STOP"}]})
