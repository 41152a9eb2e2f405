"""The steps that are prompts: each is a stream that only its run reads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from headwater_server.attempts.opening import StreamOpener
from headwater_server.attempts.request import ParsedRequest
from headwater_server.domain.chunks import FinalChunk, ReplyFacts
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.failure import StepError
from headwater_server.domain.messages import AgentConfig
from headwater_server.telemetry.logging import fault_facts
from headwater_server.transport.convert.failures import step_failure
from headwater_server.transport.convert.requests import user_message
from headwater_server.workflows.engine.replies import Reply

MAX_TEXT = 1024 * 1024

log = structlog.get_logger("headwater.workflows")


class Actions:
    """Answers prompts with the providers of this server; the streams are listed and cancelled like any others."""

    def __init__(self, opener: StreamOpener) -> None:
        self._opener = opener

    async def act(self, agent: AgentConfig, prompt: str, on_chunk: Callable[[str, str], Awaitable[None]]) -> Reply:
        """The whole reply to a prompt; `on_chunk` gets text and thinking as they come.

        Raises StepError, also for a reply of more than 1 MiB.
        """
        try:
            # The retry policy of the step repeats, so one failure is not answered twice, with the attempts multiplied.
            question = ParsedRequest(agent, (user_message(prompt),), asks_once=True)
            return await self._answer(question, on_chunk)
        except HeadwaterError as error:
            if error.reason is Reason.INTERNAL:
                log.error("fault", **fault_facts(error.__cause__ or error))
            raise StepError(step_failure(error)) from error

    async def _answer(self, request: ParsedRequest, on_chunk: Callable[[str, str], Awaitable[None]]) -> Reply:
        text: list[str] = []
        size = 0
        async with self._opener.open_stream(request) as stream:
            while not isinstance(chunk := await stream.next(), FinalChunk):
                piece = chunk.delta.content + chunk.delta.refusal
                size += len(piece)
                if size > MAX_TEXT:
                    raise HeadwaterError(Reason.REPLY_TOO_LARGE, "the reply is over 1 MiB, too much for a result")
                text.append(piece)
                await on_chunk(piece, chunk.delta.thinking)
        finish, answerer = chunk.finish, stream.answerer
        return Reply("".join(text), ReplyFacts(finish.reason, finish.usage, answerer.model, answerer.provider))
